"""Placeholder: the worked example of a reader of one's own."""
