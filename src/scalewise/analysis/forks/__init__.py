"""Forks: each scale of a ladder is trained further alone, to judge which range the system needs."""
