"""Molecular dynamics with a potential: ``scalewise md``."""
