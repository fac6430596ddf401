"""Data: structures and their files, neighbors, regimes, duplicates and splits."""
