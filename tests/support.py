"""Small frames made without a simulation."""

from __future__ import annotations

import numpy as np

from scalewise.data.frames import Frame


def salt_frame(seed: int = 0, n: int = 8, box: float = 14.0, index: int = 0) -> Frame:
    """Ions of both signs at random, no closer than 2.2 Å, with noise for forces."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    while len(positions) < n:
        trial = rng.uniform(0, box, 3)
        delta = np.array(positions).reshape(-1, 3) - trial
        delta -= box * np.round(delta / box)
        if not positions or np.linalg.norm(delta, axis=1).min() > 2.2:
            positions.append(trial)
    return Frame(
        numbers=np.array([11, 17] * (n // 2)),
        positions=np.array(positions),
        cell=box * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        forces=0.3 * rng.standard_normal((n, 3)),
        energy=None,
        molecule=np.arange(n),
        index=index,
    )
