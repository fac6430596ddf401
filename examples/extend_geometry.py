"""Placeholder: the worked example of a geometry of one's own."""
