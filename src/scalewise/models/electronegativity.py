"""Pauling's electronegativities, from which the initial charges of a training are made.

The energy is an even function of the charges. If training started from zero charges, the gradient
would vanish and the sign of the learned charges would be arbitrary; initial charges with the
correct sign avoid both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

#: By atomic number from hydrogen on; zero where Pauling's scale has no value. Values of the CRC
#: Handbook of Chemistry and Physics, 97th ed. (2016).
PAULING: Final = (
    *(2.20, 0.00, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, 0.00, 0.93, 1.31, 1.61, 1.90, 2.19),
    *(2.58, 3.16, 0.00, 0.82, 1.00, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88, 1.91, 1.90, 1.65),
    *(1.81, 2.01, 2.18, 2.55, 2.96, 3.00, 0.82, 0.95, 1.22, 1.33, 1.60, 2.16, 1.90, 2.20, 2.28),
    *(2.20, 1.93, 1.69, 1.78, 1.96, 2.05, 2.10, 2.66, 2.60, 0.79, 0.89, 1.10, 1.12, 1.13, 1.14),
    *(1.13, 1.17, 1.20, 1.20, 1.20, 1.22, 1.23, 1.24, 1.25, 1.10, 1.27, 1.30, 1.50, 2.36, 1.90),
    *(2.20, 2.20, 2.28, 2.54, 2.00, 1.62, 2.33, 2.02, 2.00, 2.20, 0.00, 0.70, 0.90, 1.10, 1.30),
    *(1.50, 1.38, 1.36, 1.28, 1.30),
)
#: Value for elements without one: neither donor nor acceptor.
NEUTRAL: Final = 2.2
#: Charge per unit of electronegativity, e: half of what water's hydrogens carry in TIP3P. Training
#: finds the size.
CHARGE: Final = -0.25


def first_charges(elements: Sequence[int]) -> Tensor:
    """Charges to start from [elements], e; only their differences count.

    Examples
    --------
    >>> [round(q, 2) for q in first_charges([1, 8, 11, 17]).tolist()]
    [0.0, -0.31, 0.32, -0.24]
    """
    values = [PAULING[z - 1] if z <= len(PAULING) else 0.0 for z in elements]
    return torch.tensor([CHARGE * ((v or NEUTRAL) - NEUTRAL) + 0.0 for v in values])
