"""Interatomic potentials: what a model is, and the flexible one."""
