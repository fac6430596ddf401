"""Compute all rows of the table: baselines, selectors, oracles, with intervals and nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from scalewise.scales.blend import Residuals, component_loss
from scalewise.scales.nulls import band, gaussian_null, permutation_null, whole_frames_null
from scalewise.scales.oracle import (
    ContinuousOracle,
    HardOracle,
    PoolOracle,
    TwoReplicateOracle,
    best_single,
)
from scalewise.statistics.bootstrap import Interval, Resampling
from scalewise.statistics.multiple import holm
from scalewise.study.mechanisms import UNITS, Selectors
from scalewise.study.samples import Replicates, Samples
from scalewise.study.settings import StudySettings
from scalewise.study.verdict import judge_routing

SELECTOR_ROWS = ("fixed_selector", "regime_selector", "learned_selector")
ORACLE_ROWS = ("hard_oracle", "pool_oracle", "continuous_oracle")
TWO_REPLICATE_ROW = "two_replicate_oracle"
#: A null drawn from at most this many atoms: its band is then a little too wide, never too narrow.
MOST_NULL_ATOMS = 100_000

Losses = Float[np.ndarray, " units"]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores one view on its test data."""

    view: str
    test: Samples
    replicates: Replicates | None
    selectors: Selectors
    pools: Mapping[str, tuple[float, ...]]
    branch_names: tuple[str, ...]
    settings: StudySettings

    @property
    def resampling(self) -> Resampling:
        """Of the blocks."""
        return Resampling(self.settings.seed, self.settings.evidence.bootstrap)

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows, in a fixed order."""
        result = []
        for unit in UNITS:
            bands = self._null_bands(unit)
            for regime, member in self.test.regimes.items():
                if member.any():
                    result += self._rows(unit, regime, member, bands.get(regime, {}))
        return result

    def _rows(
        self,
        unit: str,
        regime: str,
        member: Bool[np.ndarray, " units"],
        bands: Mapping[str, Mapping[str, tuple[float, float]]],
    ) -> list[dict[str, Any]]:
        residuals = self._part(unit, member)
        losses = self._losses(unit, residuals, member)
        pair = self.two_replicate(unit, regime)
        rows = []
        for method, values in losses.items():
            row = self._row(unit, regime, method, values, losses["best_single"], residuals)
            if method in ORACLE_ROWS:
                row |= _null_fields(row, bands.get(method, {}), exchangeable(residuals))
            if method in SELECTOR_ROWS and pair is not None:
                row |= self.gap(pair, unit, regime, method)
            rows.append(row)
        if pair is not None:
            rows.append(
                self._row(unit, regime, TWO_REPLICATE_ROW, pair.two, pair.single, pair.both)
            )
        return rows

    def _part(self, unit: str, member: Bool[np.ndarray, " units"]) -> Residuals:
        part = self.test.residuals.subset(member)
        return part if unit == "ion" else part.group(self.test.frame[member])

    def _losses(
        self, unit: str, residuals: Residuals, member: Bool[np.ndarray, " units"]
    ) -> dict[str, Losses]:
        anchors = residuals.pool_losses(residuals.anchors.tolist())
        losses = dict(zip(self.branch_names, anchors, strict=True))
        losses["best_single"] = best_single(residuals)[1]
        mean = component_loss(residuals.values.mean(axis=0), residuals.loss)
        losses["average"] = mean.sum(axis=-1)
        if unit == "ion":
            geometry = self.test.geometry.subset(member)
            for name, selector in self.selectors.named().items():
                losses[name] = residuals.unit_losses(selector.scales(geometry))
        else:
            losses["fixed_selector"] = residuals.unit_losses(self.selectors.fixed.scale)
        return losses | oracle_losses(residuals, self.pools[unit])

    def _row(
        self,
        unit: str,
        regime: str,
        method: str,
        losses: Losses,
        single: Losses,
        residuals: Residuals,
    ) -> dict[str, Any]:
        interval = self.resampling.ratio(losses, single, residuals.block)
        mae = self.resampling.mean(losses, residuals.counts, residuals.block)
        total = float(single.sum())
        return {
            "view": self.view,
            "unit_of_choice": unit,
            "method": method,
            "uses_labels": method in (*ORACLE_ROWS, TWO_REPLICATE_ROW, "best_single"),
            "regime": regime,
            "mae": residuals.mean(losses),
            "unit": "eV/Å" if residuals.loss == "l1" else "(eV/Å)²",
            "mae_interval": _ends(mae),
            "ratio_to_best_single": ratio(float(losses.sum()), total),
            "interval": _ends(interval),
            "null_band": None,
            "n": residuals.n_units,
        }

    def _null_bands(self, unit: str) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
        """Band of every oracle's ratio to the best single branch, per regime and null."""
        rng = np.random.default_rng(self.settings.seed)
        test = self._thinned(rng)
        stratum = test.geometry.stratum
        nulls: dict[str, Callable[[], Residuals]] = {
            "permutation": (
                (lambda: permutation_null(test.residuals, stratum, rng))
                if unit == "ion"
                else (lambda: whole_frames_null(test.residuals, test.frame, rng))
            ),
            "gaussian": lambda: gaussian_null(test.residuals, stratum, rng),
        }
        drawn: dict[tuple[str, str, str], list[float]] = {}
        for name, draw in nulls.items():
            for _ in range(self.settings.evidence.draws):
                residuals = draw()
                for regime, ratios in self._null_ratios(unit, test, residuals):
                    for method, ratio in ratios.items():
                        drawn.setdefault((regime, method, name), []).append(ratio)
        bands: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
        for (regime, method, name), values in drawn.items():
            bands.setdefault(regime, {}).setdefault(method, {})[name] = band(values)
        return bands

    def _thinned(self, rng: np.random.Generator) -> Samples:
        """Whole frames, drawn at random, so that every element keeps its share."""
        frames, sizes = np.unique(self.test.frame, return_counts=True)
        order = rng.permutation(len(frames))
        kept = frames[order[np.cumsum(sizes[order]) <= max(MOST_NULL_ATOMS, sizes.max())]]
        return self.test.subset(np.isin(self.test.frame, kept))

    def _null_ratios(
        self, unit: str, test: Samples, residuals: Residuals
    ) -> list[tuple[str, dict[str, float]]]:
        """Ratios of one draw in every regime; choices per atom are made once for all of them."""
        members = [(r, m) for r, m in test.regimes.items() if m.any()]
        if unit == "frame":
            return [
                (regime, _ratios(part, oracle_losses(part, self.pools[unit])))
                for regime, m in members
                for part in [residuals.subset(m).group(test.frame[m])]
            ]
        losses = oracle_losses(residuals, self.pools[unit])
        anchors = residuals.pool_losses(residuals.anchors.tolist())
        return [
            (
                regime,
                {
                    k: ratio(float(v[m].sum()), float(anchors[:, m].sum(axis=1).min()))
                    for k, v in losses.items()
                },
            )
            for regime, m in members
        ]

    # ------------------------------------------------------------------ two replicates

    def two_replicate(self, unit: str, regime: str) -> TwoReplicateScore | None:
        """Score the two-replicate oracle in both directions; None where there are no replicates."""
        if self.replicates is None or not self.replicates.regimes[regime].any():
            return None
        rep, m = self.replicates, self.replicates.regimes[regime]
        first, second = rep.first.subset(m), rep.second.subset(m)
        if unit == "frame":
            first, second = first.group(rep.frame[m]), second.group(rep.frame[m])
        oracle = TwoReplicateOracle(ContinuousOracle())
        return TwoReplicateScore(
            both=joined(first, second),
            two=oracle.score(first, second).loss + oracle.score(second, first).loss,
            single=best_single(joined(first, second))[1],
        )

    def gap(self, pair: TwoReplicateScore, unit: str, regime: str, method: str) -> dict[str, Any]:
        """Share of the two-replicate gain that a selector reaches; null where it may be zero."""
        assert self.replicates is not None
        gain = self.resampling.ratio(pair.two, pair.single, pair.both.block)
        if gain is None or gain.high >= 1.0:
            return {"gap_closed": None, "gap_interval": None}
        m = self.replicates.regimes[regime]
        scales = self.selectors.named()[method].scales(self.replicates.geometry.subset(m))
        atoms = joined(self.replicates.first.subset(m), self.replicates.second.subset(m))
        routed = atoms.unit_losses(scales)
        if unit == "frame":
            frame = np.unique(self.replicates.frame[m], return_inverse=True)[1]
            routed = np.bincount(frame, weights=routed)
        closed = self.resampling.ratio(
            pair.single - routed, pair.single - pair.two, pair.both.block
        )
        return {
            "gap_closed": closed.estimate if closed else None,
            "gap_interval": _ends(closed),
        }

    # ------------------------------------------------------------------ verdict

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Answer for every regime, with Holm's correction over the regimes of the view."""
        options = self.settings.evidence
        regimes = [r for r, m in self.test.regimes.items() if m.any()]
        tests = {r: self._selector_intervals(self.test.regimes[r]) for r in regimes}
        chosen = self.selectors.chosen
        adjusted = holm([i.p if (i := tests[r][chosen]) else 1.0 for r in regimes])
        result = {}
        for regime, p in zip(regimes, adjusted, strict=True):
            pair = self.two_replicate("ion", regime)
            two = None
            if pair is not None:  # over the fixed scale, as the selectors are
                fixed = pair.both.unit_losses(self.selectors.fixed.scale)
                two = self.resampling.ratio(pair.two, fixed, pair.both.block)
            verdict = judge_routing(
                tests[regime][chosen],
                p,
                two,
                others=[i for i in tests[regime].values() if i is not None],
                selector_name=chosen,
                fixed_scale=self.selectors.fixed.scale,
                alpha=options.alpha,
                min_gain=options.min_gain,
            )
            interval = tests[regime][chosen]
            result[regime] = {
                **verdict.record(),
                "p": p,
                "reason": verdict.reason,
                "selector": chosen,
                "ratio_to_fixed": interval.estimate if interval else None,
                "interval": _ends(interval),
                "n": int(self.test.regimes[regime].sum()),
            }
        return result

    def _selector_intervals(self, member: Bool[np.ndarray, " units"]) -> dict[str, Interval | None]:
        """Loss of each selector over that of the best fixed scale, on the test atoms of a regime.

        ``networks`` is the learned selector before it is drawn towards the fixed scale: what it
        could gain at most bounds a "not needed" even when tuning chose the fixed scale itself.
        """
        part, geometry = self.test.residuals.subset(member), self.test.geometry.subset(member)
        fixed = part.unit_losses(self.selectors.fixed.scale)
        scales = {
            "fixed": self.selectors.fixed.scales(geometry),
            "regime": self.selectors.regime.scales(geometry),
            "learned": self.selectors.learned.scales(geometry),
            "networks": self.selectors.learned.with_full_share().scales(geometry),
        }
        return {
            name: self.resampling.ratio(part.unit_losses(s), fixed, part.block)
            for name, s in scales.items()
        }


@dataclass(frozen=True, eq=False)
class TwoReplicateScore:
    """Residuals of both replicates, and the losses of oracle and best single branch on them."""

    both: Residuals
    two: Losses
    single: Losses


def oracle_losses(residuals: Residuals, pool: tuple[float, ...]) -> dict[str, Losses]:
    """Loss of every unit under the three oracles that peek; each is at most the one before."""
    return {
        "hard_oracle": HardOracle().choose(residuals).loss,
        "pool_oracle": PoolOracle(pool).choose(residuals).loss,
        "continuous_oracle": ContinuousOracle(pool).choose(residuals).loss,
    }


def joined(first: Residuals, second: Residuals) -> Residuals:
    """Residuals of both replicates as components of the same units."""
    return Residuals(
        np.concatenate([first.values, second.values], axis=-1),
        first.counts + second.counts,
        first.block,
        first.anchors,
        first.loss,
    )


def _ratios(residuals: Residuals, losses: Mapping[str, Losses]) -> dict[str, float]:
    single = float(best_single(residuals)[1].sum())
    return {method: ratio(float(values.sum()), single) for method, values in losses.items()}


def ratio(loss: float, reference: float) -> float:
    """Loss over reference; 1 where the reference has no error left to improve."""
    return loss / reference if reference > 0 else 1.0


def _null_fields(
    row: Mapping[str, Any], by_null: Mapping[str, tuple[float, float]], equal: bool
) -> dict[str, Any]:
    """All bands, the one that decides, and whether the gain is larger than there.

    The Gaussian null makes the branches equally good. Where they are not, it says what two equal
    branches of that average error would give, which no longer bears on these; permutation decides.
    """
    if not by_null:
        return {"null_bands": None, "exchangeable": equal, "outside_null": None}
    judges = {k: v for k, v in by_null.items() if equal or k == "permutation"}
    lowest = min(judges.values(), key=lambda ends: ends[0])
    return {
        "null_band": list(lowest),
        "null_bands": {name: list(ends) for name, ends in by_null.items()},
        "exchangeable": equal,
        "outside_null": row["ratio_to_best_single"] < lowest[0],
    }


def exchangeable(residuals: Residuals) -> bool:
    """Whether the mean squares of the branches are within a factor of two of each other."""
    square = np.square(residuals.values).sum(axis=(1, 2))
    return bool(square.max() <= 2.0 * square.min())


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
