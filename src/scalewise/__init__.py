"""Which length scale a force field needs, where, and the proof of it."""

__version__ = "0.1.0"
