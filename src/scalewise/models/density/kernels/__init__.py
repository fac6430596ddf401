"""Kernels for the products of the density network, which compiled programs on the CPU call."""
