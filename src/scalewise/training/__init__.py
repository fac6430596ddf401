"""One trainer: from labelled frames to a checkpoint, within a budget of minutes or epochs."""
