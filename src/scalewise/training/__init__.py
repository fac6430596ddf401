"""One trainer: labelled frames to a checkpoint, within a budget of minutes, steps or epochs."""
