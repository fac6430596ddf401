"""Requirements of selectors and oracles, and synthetic residuals with a known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle, Oracle, best_single
from scalewise.scales.selectors import Selector, SelectorInputs


@dataclass(frozen=True, eq=False)
class Planted:
    """Synthetic branches with known best scales; ``replicate`` differs in the noise alone.

    Attributes
    ----------
    residuals, replicate
        Residuals of the two branches, with independent noise.
    geometry
        Features and stratum of each unit.
    best
        Best scale of each unit [units].
    """

    residuals: Residuals
    replicate: Residuals
    geometry: SelectorInputs
    best: np.ndarray


def planted(
    n_units: int,
    *,
    seed: int,
    optima: tuple[float, ...] = (0.5,),
    noise: float = 1.0,
    difference: float = 0.5,
    n_features: int = 4,
    block: int = 20,
) -> Planted:
    r"""Draw two branches whose best scale is ``optima[regime]``, the regime seen in a feature.

    The label is :math:`y = (1 - s) p_0 + s p_1 + \epsilon`; ``difference`` is the standard
    deviation of :math:`p_1 - p_0` and ``noise`` that of :math:`\epsilon`, per component. The first
    feature is the regime plus a little noise; the others are random. With a single optimum there is
    nothing to route.
    """
    rng = np.random.default_rng(seed)
    regime = rng.integers(len(optima), size=n_units)
    best = np.asarray(optima, dtype=float)[regime]
    d = difference * rng.standard_normal((n_units, 3))
    features = rng.standard_normal((n_units, n_features))
    features[:, 0] = regime + 0.1 * features[:, 0]
    blocks = np.arange(n_units) // block

    def draw() -> Residuals:
        epsilon = noise * rng.standard_normal((n_units, 3))
        first = -best[:, None] * d - epsilon
        return Residuals.of_vectors(np.stack([first, first + d]), blocks)

    geometry = SelectorInputs(features, regime if len(optima) > 1 else np.zeros(n_units, dtype=int))
    return Planted(draw(), draw(), geometry, best)


def check_selector(selector: Selector, geometry: SelectorInputs) -> None:
    """Check the requirements of a selector.

    It returns one finite scale in [0, 1] per unit. A second call gives the same scales. The scale
    of a unit does not depend on the other units or on their order. Inputs are not changed.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    before = geometry.features.copy()
    scales = selector.scales(geometry)
    assert scales.shape == (len(geometry.features),), "one scale per unit"
    assert np.isfinite(scales).all(), "scales are finite"
    assert scales.min() >= 0, "scales are at least 0"
    assert scales.max() <= 1, "scales are at most 1"
    np.testing.assert_array_equal(selector.scales(geometry), scales, "same input, same scales")
    order = np.random.default_rng(0).permutation(len(scales))
    shuffled = selector.scales(SelectorInputs(geometry.features[order], geometry.stratum[order]))
    np.testing.assert_allclose(shuffled, scales[order], atol=1e-12, err_msg="order of units")
    half = np.arange(len(scales)) < max(1, len(scales) // 2)
    alone = selector.scales(geometry.subset(half))
    np.testing.assert_allclose(alone, scales[half], atol=1e-12, err_msg="other units matter")
    np.testing.assert_array_equal(geometry.features, before, "features were changed")


def check_oracle(oracle: Oracle, residuals: Residuals) -> None:
    """Check the requirements of an oracle.

    Its loss is the loss at the scales that it returns. The total loss over all units is between
    that of the best single anchor and the exact continuous minimum. Residuals are not changed.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    before = residuals.values.copy()
    choice = oracle.choose(residuals)
    np.testing.assert_allclose(
        choice.loss, residuals.unit_losses(choice.scale), rtol=1e-12, err_msg="loss at the scales"
    )
    least = ContinuousOracle().choose(residuals).loss
    slack = 1e-12 * (1.0 + np.abs(least))
    assert (choice.loss >= least - slack).all(), "no choice beats the exact minimum"
    assert choice.loss.sum() <= best_single(residuals)[1].sum(), "no worse than one branch"
    np.testing.assert_array_equal(residuals.values, before, "residuals were changed")
