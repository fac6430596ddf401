r"""The scale of every atom: its cutoff, and whether its charge acts at long range.

A network that is trained over a ladder of scales is conditioned on the scale of each atom. Its
envelope ends at the atom's cutoff, and its weights depend on functions of the cutoff and of the
atom's share in the long range.

.. math:: x = 2 \frac{r_i - r_\mathrm{short}}{r_\mathrm{long} - r_\mathrm{short}} - 1, \qquad
   \phi = (T_1(x), \dots, T_K(x), \lambda_i)

with Chebyshev polynomials: smooth, and of equal size over the whole ladder.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

#: Chebyshev polynomials of the cutoff: enough for a curve with one bend at either end.
ORDER: Final = 4


class ResolvedScale(NamedTuple):
    """The scale of every atom.

    Attributes
    ----------
    cutoffs
        Å [atoms].
    long_range
        Share of the atom's charge that acts at long range, from 0 to 1 [atoms]; none: no atom has
        long range, and its cost is saved.
    """

    cutoffs: Tensor
    long_range: Tensor | None


def condition(
    scale: ResolvedScale, shortest: float, longest: float, *, long_range_optional: bool
) -> Tensor:
    """Functions of the scale that condition a network [atoms, ``ORDER`` + long_range_optional].

    ``shortest`` and ``longest`` are the ends of the ladder's cutoffs, Å;
    ``long_range_optional`` says whether long range is a rung of the ladder.
    """
    x = (2.0 * scale.cutoffs - (longest + shortest)) / (longest - shortest)
    functions = [x, 2.0 * x * x - 1.0]
    while len(functions) < ORDER:
        functions.append(2.0 * x * functions[-1] - functions[-2])
    if long_range_optional:
        functions.append(torch.zeros_like(x) if scale.long_range is None else scale.long_range)
    return torch.stack(functions, dim=-1)
