"""Branches: predictors at one scale."""
