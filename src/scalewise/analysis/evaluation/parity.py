"""Counts behind the parity figure: predicted against labelled, and residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from scalewise.analysis.evaluation.role import RoleData
from scalewise.analysis.evaluation.subsets import symbol

#: Bins along each axis of the parity, and of the residuals (odd: one is centred on zero).
PARITY_BINS: Final = 90
RESIDUAL_BINS: Final = 61
#: Share of the components within the parity's axes.
PARITY_SHARE: Final = 0.9998
#: Half the axis of the residuals, in medians of their size: five standard deviations of a Gaussian.
RESIDUAL_REACH: Final = 7.5


def count_parity(role: RoleData) -> list[dict[str, Any]]:
    """Components in each cell of the labelled-predicted plane, by element; empty cells left out."""
    found = []
    for z in np.unique(role.numbers).tolist() if len(role.frames) else []:
        label = role.labels[role.numbers == z].ravel()
        predicted = label + role.errors[role.numbers == z].ravel()
        size = np.maximum(np.abs(label), np.abs(predicted))
        edge = 1.05 * float(np.quantile(size, PARITY_SHARE)) or 1.0
        edges = np.linspace(-edge, edge, PARITY_BINS + 1)
        counts = np.histogram2d(label, predicted, bins=(edges, edges))[0].astype(int)
        row, column = np.nonzero(counts)
        found.append(
            {
                "element": symbol(z),
                "edge": edge,
                "bins": PARITY_BINS,
                "labelled": row.tolist(),
                "predicted": column.tolist(),
                "count": counts[row, column].tolist(),
                "outside": int((size > edge).sum()),
            }
        )
    return found


def count_residuals(roles: Mapping[str, RoleData]) -> list[dict[str, Any]]:
    """Components by residual (predicted minus labelled), by element and role, in common bins."""
    found = []
    for z in np.unique(np.concatenate([r.numbers for r in roles.values()])).tolist():
        errors = {name: r.errors[r.numbers == z].ravel() for name, r in roles.items()}
        every = np.abs(np.concatenate(list(errors.values())))
        edge = RESIDUAL_REACH * float(np.median(every)) or 1.0
        edges = np.linspace(-edge, edge, RESIDUAL_BINS + 1)
        found.append(
            {
                "element": symbol(z),
                "edge": edge,
                "bins": RESIDUAL_BINS,
                "components": {name: len(e) for name, e in errors.items()},
                "counts": {n: np.histogram(e, bins=edges)[0].tolist() for n, e in errors.items()},
            }
        )
    return found
