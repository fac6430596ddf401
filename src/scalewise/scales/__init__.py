"""Scales: blends, oracles, differentiable updates, pool refinement, selectors and evidence."""
