"""Damaged inputs by seed: every reader accepts them or raises InputError, and nothing else."""
