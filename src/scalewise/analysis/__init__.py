"""Analyses of trained models: errors, scales, what limits the error, and locality."""
