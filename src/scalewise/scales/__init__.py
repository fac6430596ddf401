"""Scales: blends, oracles, differentiable updates, pool refinement, routers and evidence."""
