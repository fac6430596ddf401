r"""Selectors: a scale for every atom from its geometry alone.

A selector is *trained* on residuals (tuning data) and *applied* to :class:`SelectorInputs`, which
contain no labels; a choice with labels is made by oracles, which are another type. A selector
blends predicted forces. This shows whether selection pays, but the blend is not a conservative
force field.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from scalewise.core.errors import InputError
from scalewise.scales.blend import Residuals
from scalewise.scales.oracle import ContinuousOracle
from scalewise.scales.update import blend_tensors, loss_tensors


@dataclass(frozen=True, eq=False)
class SelectorInputs:
    """What a selector may see of every unit: features and the stratum it lies in. No labels."""

    features: Float[np.ndarray, "units features"]
    stratum: Int[np.ndarray, " units"]

    def subset(self, mask: Bool[np.ndarray, " units"]) -> SelectorInputs:
        """Keep the units where ``mask`` is true."""
        return SelectorInputs(self.features[mask], self.stratum[mask])


class Selector(ABC):
    """Gives every unit a scale in [0, 1]."""

    @abstractmethod
    def scales(self, geometry: SelectorInputs) -> Float[np.ndarray, " units"]:
        """Return one scale per unit."""


@dataclass(frozen=True)
class FixedSelector(Selector):
    """One scale for everything: the null that any selector has to beat."""

    scale: float

    def scales(self, geometry: SelectorInputs) -> Float[np.ndarray, " units"]:
        """Return the fixed scale for every unit."""
        return np.full(len(geometry.features), self.scale)


@dataclass(frozen=True)
class RegimeSelector(Selector):
    """One scale per stratum; strata not met in training take the fixed scale."""

    by_stratum: tuple[tuple[int, float], ...]
    otherwise: float

    def scales(self, geometry: SelectorInputs) -> Float[np.ndarray, " units"]:
        """Return the scale of each unit's stratum."""
        table = dict(self.by_stratum)
        return np.array([table.get(int(s), self.otherwise) for s in geometry.stratum])


@dataclass(frozen=True, eq=False)
class LearnedSelector(Selector):
    r"""The mean of small networks on standardised features, drawn towards the fixed scale.

    :math:`s = s_0 + \\lambda (\\bar s(x) - s_0)`, where :math:`\\lambda` is the share of the
    networks' opinion that out-of-fold data support; near zero where nothing is routable.
    """

    networks: tuple[Callable[[Float[np.ndarray, "units features"]], np.ndarray], ...]
    fixed: float
    share: float

    def scales(self, geometry: SelectorInputs) -> Float[np.ndarray, " units"]:
        """Return the networks' mean scale, drawn towards the fixed one."""
        mean = np.mean([network(geometry.features) for network in self.networks], axis=0)
        return np.clip(self.fixed + self.share * (mean - self.fixed), 0.0, 1.0)

    def with_full_share(self) -> LearnedSelector:
        """Return the networks' undiluted opinion."""
        return replace(self, share=1.0)


def fit_fixed(residuals: Residuals) -> FixedSelector:
    """Return the exact best single scale in [0, 1] on the given data."""
    merged = residuals.group(np.zeros(residuals.n_units, dtype=np.int64))
    return FixedSelector(float(ContinuousOracle().choose(merged).scale[0]))


def fit_regimes(residuals: Residuals, geometry: SelectorInputs) -> RegimeSelector:
    """Return the exact best scale of every stratum on the given data."""
    best = ContinuousOracle().choose(residuals.group(geometry.stratum)).scale
    strata = np.unique(geometry.stratum)
    table = tuple((int(s), float(v)) for s, v in zip(strata, best, strict=True))
    return RegimeSelector(table, fit_fixed(residuals).scale)


@dataclass(frozen=True)
class SelectorTrainer:
    """How a :class:`LearnedSelector` is trained; see ``config.Selector`` for the defaults."""

    hidden: int
    steps: int
    learning_rate: float
    weight_decay: float
    members: int
    seed: int = 0

    def fit(
        self, residuals: Residuals, geometry: SelectorInputs
    ) -> tuple[LearnedSelector, Float[np.ndarray, " units"]]:
        """Train one network per fold of blocks; return the selector and its out-of-fold scales.

        A network stops where the *next* fold likes it best, so the fold that it is judged on has
        taken no part. With two folds there is no third, and training runs to its end.

        Raises
        ------
        InputError
            Fewer than two blocks: nothing can be held out.
        """
        folds = make_folds(residuals.block, self.members)
        n_folds = int(folds.max()) + 1
        fixed = fit_fixed(residuals).scale
        networks, held = [], np.full(residuals.n_units, fixed)
        for fold in range(n_folds):
            out = folds == fold
            stop = folds == (fold + 1) % n_folds if n_folds > 2 else ~out
            inside = ~out & ~stop if n_folds > 2 else ~out
            start = fit_fixed(residuals.subset(inside)).scale
            network = self._train(residuals, geometry.features, inside, stop, start, fold)
            networks.append(network)
            held[out] = network(geometry.features[out])
        shares = (0.0, 0.25, 0.5, 0.75, 1.0)
        losses = [residuals.unit_losses(fixed + a * (held - fixed)).sum() for a in shares]
        share = shares[int(np.argmin(losses))]
        out_of_fold = np.clip(fixed + share * (held - fixed), 0.0, 1.0)
        return LearnedSelector(tuple(networks), fixed, share), out_of_fold

    def _train(
        self,
        residuals: Residuals,
        features: Float[np.ndarray, "units features"],
        inside: Bool[np.ndarray, " units"],
        stop: Bool[np.ndarray, " units"],
        fixed: float,
        fold: int,
    ) -> Callable[[Float[np.ndarray, "units features"]], np.ndarray]:
        """Full-batch AdamW; the state with the lowest loss on the stopping fold is kept."""
        network = _Network(features[inside], self.hidden, fixed, self.seed * 1009 + fold)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        train = _Batch(residuals.subset(inside), features[inside])
        check = _Batch(residuals.subset(stop), features[stop])
        best, kept = float("inf"), network.state()
        for step in range(self.steps + 1):
            if step % 10 == 0:
                with torch.no_grad():
                    value = float(check.loss(network))
                if value < best:
                    best, kept = value, network.state()
            optimiser.zero_grad()
            train.loss(network).backward()  # type: ignore[no-untyped-call]  # torch's stub
            optimiser.step()
        network.load_state_dict(kept)
        return network.predict


class _Network(torch.nn.Module):
    """Standardise, two smooth layers, sigmoid; starts at the fixed scale for every input."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self, features: Float[np.ndarray, "units features"], hidden: int, fixed: float, seed: int
    ) -> None:
        super().__init__()
        spread = features.std(axis=0)
        self.register_buffer("mean", torch.tensor(features.mean(axis=0)))
        self.register_buffer("spread", torch.tensor(np.where(spread > 1e-9, spread, 1.0)))
        generator = torch.Generator().manual_seed(seed)
        sizes = (features.shape[1], hidden, hidden, 1)
        self.weights = torch.nn.ParameterList()
        self.biases = torch.nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            scale = 0.0 if fan_out == 1 else fan_in**-0.5
            weight = scale * torch.randn(fan_in, fan_out, generator=generator, dtype=torch.float64)
            self.weights.append(torch.nn.Parameter(weight))
            self.biases.append(torch.nn.Parameter(torch.zeros(fan_out, dtype=torch.float64)))
        start = min(max(fixed, 0.02), 0.98)
        self.start = float(np.log(start / (1.0 - start)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Beyond four standard deviations a feature says "unlike anything seen", not "even more".
        x = ((features - self.mean) / self.spread).clamp(-4.0, 4.0)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.nn.functional.silu(x @ weight + bias)
        return torch.sigmoid(self.start + (x @ self.weights[-1] + self.biases[-1])[:, 0])

    def state(self) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in self.state_dict().items()}

    def predict(self, features: Float[np.ndarray, "units features"]) -> Float[np.ndarray, " units"]:
        with torch.no_grad():
            return self(torch.from_numpy(features)).numpy()


class _Batch:
    """Residuals and features as tensors, with the mean loss of a network on them."""

    def __init__(self, residuals: Residuals, features: Float[np.ndarray, "units features"]) -> None:
        self.values = torch.from_numpy(residuals.values)
        self.anchors = torch.from_numpy(residuals.anchors)
        self.features = torch.from_numpy(features)
        self.name, self.n = residuals.loss, residuals.n_components

    def loss(self, network: _Network) -> torch.Tensor:
        scales = network(self.features)
        blended = blend_tensors(self.values, self.anchors, scales)
        return loss_tensors(blended, self.name).sum() / self.n


def make_folds(block: Int[np.ndarray, " units"], members: int) -> Int[np.ndarray, " units"]:
    """Deal whole blocks to folds, neighboring blocks together.

    Raises
    ------
    InputError
        Fewer than two blocks.
    """
    _, index = np.unique(block, return_inverse=True)
    n = int(index.max()) + 1
    if n < 2:
        raise InputError("selector", "one block of tuning data", "Tune on at least two blocks.")
    return index * min(members, n) // n
