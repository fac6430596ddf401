r"""How far a force spreads when all that a model sees stands still: a bound on its error.

With the environment E within a radius and the force F on the atom in its middle, drawn again and
again from what the rest can be, any function m of E has

.. math:: \langle |F - m(E)| \rangle \ge \tfrac12 \langle |F - F'| \rangle, \qquad
   \langle (F - m(E))^2 \rangle \ge \langle \mathrm{Var}(F | E) \rangle

with two independent draws F, F': the first by the triangle inequality, for whatever distribution.
Both sides are estimated without bias from a few draws. Draws that are not quite independent are
nearer to one another: the bound is then lower, and still one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def absolute_bound(forces: Float[np.ndarray, "samples 3"]) -> float:
    """Half the mean difference of two samples, mean over components.

    Examples
    --------
    >>> absolute_bound(np.array([[0.0, 0.0, 0.0], [2.0, 4.0, 0.0]]))
    1.0
    """
    first, second = np.triu_indices(len(forces), 1)
    return float(0.5 * np.abs(forces[first] - forces[second]).mean())


def square_bound(forces: Float[np.ndarray, "samples 3"]) -> float:
    """Variance of the samples, unbiased, mean over components."""
    return float(forces.var(axis=0, ddof=1).mean())


def memory(forces: Float[np.ndarray, "tagged samples 3"]) -> float | None:
    r"""Correlation of neighboring samples, pooled over tagged atoms; none if nothing varies.

    It is zero for independent draws, up to :math:`-1/K` because means are those of K samples.
    """
    centred = forces - forces.mean(axis=1, keepdims=True)
    square = float((centred**2).mean())
    if square == 0.0:
        return None
    return float((centred[:, 1:] * centred[:, :-1]).mean() / square)
