r"""Spread of a force while the environment that a model sees is fixed: a bound on its error.

Let E be the environment within a radius of an atom and F the force on this atom, sampled with E
fixed and all other atoms free. Any model m, a function of E, then has

.. math:: \langle |F - m(E)| \rangle \ge \tfrac12 \langle |F - F'| \rangle, \qquad
   \langle (F - m(E))^2 \rangle \ge \langle \mathrm{Var}(F | E) \rangle

with two independent samples F and F'. The first inequality follows from the triangle inequality for
any distribution. The right-hand sides are estimated without bias from a few samples. Correlated
samples are closer to each other, which lowers the estimate: it is then still a bound.
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
