"""Training of a potential on labelled frames, within a budget of minutes, steps or epochs."""
