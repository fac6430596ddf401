"""Forks: each scale of a ladder goes on alone, and what range the system needs is judged there."""
