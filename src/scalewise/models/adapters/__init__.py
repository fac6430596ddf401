"""Models of other people."""
