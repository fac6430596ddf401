"""Placeholder: the worked example of a model of one's own."""
