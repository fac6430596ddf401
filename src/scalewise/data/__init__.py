"""Data: frames, neighbors, regimes, splits, and the solution they come from."""
