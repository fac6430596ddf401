"""The errors of all trainings at all scales, and the changes of the error for each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from scalewise.analysis.rungs import Rung
from scalewise.statistics.bootstrap import group_sums
from scalewise.statistics.changes import Change, between

#: Set-up to the errors of its replicas [scales, atoms].
Absolute = Mapping[str, Sequence[Float[np.ndarray, "scales atoms"]]]


@dataclass(frozen=True, eq=False)
class Scored:
    """Absolute errors, eV/Å, summed over components, of every training on the same atoms.

    Attributes
    ----------
    absolute
        By set-up, then replica [scales, atoms].
    block
        Group of each atom.
    kind
        Which atoms may differ in scale: an integer for each atom's element and regimes.
    forks
        By scale, where the trainings on all frames went on at this scale alone [replicas, atoms].
    """

    absolute: Absolute
    block: Int[np.ndarray, " atoms"]
    kind: Int[np.ndarray, " atoms"]
    forks: Mapping[int, Float[np.ndarray, "replicas atoms"]] = field(default_factory=dict)

    def only(self, member: np.ndarray) -> Scored:
        """The same for some of the atoms."""
        part = {name: [e[:, member] for e in of] for name, of in self.absolute.items()}
        forks = {scale: e[:, member] for scale, e in self.forks.items()}
        return Scored(part, self.block[member], self.kind[member], forks)

    def sums(self, name: str, scale: int | Sequence[int]) -> Float[np.ndarray, "replicas groups"]:
        """Sum of errors of each group, of each replica, at one scale or at one of each replica."""
        of = self.absolute[name]
        scales = [scale] * len(of) if isinstance(scale, int) else list(scale)
        return np.stack([group_sums(e[s], self.block) for e, s in zip(of, scales, strict=True)])

    def mean(self, name: str) -> Float[np.ndarray, " scales"]:
        """Error of each scale, mean over atoms, components and replicas, eV/Å."""
        return np.mean([e.mean(axis=1) / 3.0 for e in self.absolute[name]], axis=0)

    def across(self, before: tuple[str, int], after: tuple[str, int]) -> Change:
        """The change from one set-up and scale to another of *other* trainings."""
        spread = []
        for name, of in self.absolute.items():
            scale = after[1] if name == after[0] else before[1]
            values = np.log([e[scale].sum() for e in of])
            variance, df = between(values)
            spread.append((2.0 * variance, df))  # two trainings that know nothing of one another
        return Change(self.sums(*before), self.sums(*after), spread)

    def within(self, before: int, after: int, name: str = "whole") -> Change:
        """The change from one scale to another of the same trainings."""
        spread = [
            between(np.log([e[after].sum() / e[before].sum() for e in of]))
            for of in self.absolute.values()
        ]
        return Change(self.sums(name, before), self.sums(name, after), spread)

    def alone(self, before: int, after: int) -> Change:
        """The change from one scale to another, between forks of the same ladders.

        The variance between replicas is pooled over all scales that were forked.
        """
        sums = {scale: e.sum(axis=1) for scale, e in self.forks.items()}
        spread = [between(np.log(sums[after] / of)) for scale, of in sums.items() if scale != after]
        first, second = (
            np.stack([group_sums(e, self.block) for e in self.forks[k]]) for k in (before, after)
        )
        return Change(first, second, spread)

    def routed(self, choose: Scored, name: str = "whole") -> Change:
        """From the best single scale to the best of each kind of atom, chosen by other replicas.

        Both are chosen on other frames (``choose``) by another training than the one that is
        scored: an oracle that picks with the errors it is scored by always gains.
        """
        before, after = self._routed(choose, name)
        spread = []
        for other in self.absolute:
            ends = [np.sum(e, axis=1) for e in self._routed(choose, other)]
            spread.append(between(np.log(ends[1] / ends[0])))
        return Change(before, after, spread)

    def _routed(self, choose: Scored, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Sums of groups at the single scale and at that of each kind [replicas, groups]."""
        of, others = self.absolute[name], choose.absolute[name]
        before, after = [], []
        for r, errors in enumerate(of):
            other = others[(r + 1) % len(others)]
            best = int(other.sum(axis=1).argmin())
            scale = np.full(len(self.kind), best)
            for kind in np.unique(self.kind):
                there = choose.kind == kind
                if there.any():
                    scale[self.kind == kind] = int(other[:, there].sum(axis=1).argmin())
            before.append(group_sums(errors[best], self.block))
            after.append(group_sums(errors[scale, np.arange(len(scale))], self.block))
        return np.stack(before), np.stack(after)


def place(rungs: Sequence[Rung], cutoff: float, *, long: bool) -> int:
    """Which of the scales this is."""
    return next(
        k
        for k, rung in enumerate(rungs)
        if rung.long_range == long and rung.cutoff is not None and abs(rung.cutoff - cutoff) < 1e-9
    )
