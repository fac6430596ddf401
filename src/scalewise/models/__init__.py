"""Interatomic potentials: the interface of models, and the density network with its potentials."""
