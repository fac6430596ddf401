"""Distillation of a cheap inner potential for simulations with two time steps (r-RESPA)."""
