"""Adapters that make models of ASE calculators and of files with predictions."""
