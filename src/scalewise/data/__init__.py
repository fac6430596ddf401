"""Data: frames, neighbours, regimes, splits, and the solution they come from."""
