"""Evaluation: what a trained potential predicts, and how far that is from the labels."""
