"""The error that no model of a given range can beat, from the reference alone."""
