r"""Noise of force labels that net forces do not show, because the code removed the net forces.

Three traces of noise are searched. Each gives a lower bound, if it is present:

* waves of the integration grid (the "egg-box" effect): errors that are a sine function of the
  position in the cell;
* pairs of nearly equal frames: half the mean squared difference of their forces is
  :math:`\sigma^2 + c\,d^2` at a distance d, and no model can learn the part :math:`\sigma^2` that
  remains at d = 0;
* rounding in the file: q / sqrt(12) for the last digit q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from scipy.stats import chi2

from scalewise.data import columns
from scalewise.data.charges import electronic_state
from scalewise.data.duplicates import Duplicates
from scalewise.data.shards import elements_of
from scalewise.data.structure import Structure
from scalewise.statistics.bootstrap import group_weights

#: Spacings (Å) of real-space grids, and periods along an edge that are tried at most.
FINEST: Final = 0.04
COARSEST: Final = 0.6
MOST_PERIODS: Final = 400
#: Groups of frames from which a wave can be told from chance. Its power, over that of independent
#: groups, follows exp(-t): one in 5e8 of all waves tried exceeds this.
FEWEST_GROUPS: Final = 40
BLOCKS: Final = 100
POWER: Final = 20.0
#: A wave counts where it is this many times what forces that pull atoms to their sites make of the
#: order of the sites.
ORDER: Final = 5.0
#: Atoms of an element that are looked at, at most.
MOST_ATOMS: Final = 20_000
#: Pairs of frames from which noise is read, and the frames that they must be of at least.
FEWEST_PAIRS: Final = 20
FEWEST_FRAMES: Final = 12
#: Pairs are used where the forces they share are known to this share of their variance.
SHARED: Final = 0.05
#: Share of the pairs that differ least.
QUIET: Final = 0.1
#: Forces below this (eV/Å) say nothing of rounding.
SILENT: Final = 1e-12
RESAMPLES: Final = 200


@dataclass(frozen=True)
class HiddenNoise:
    """Noise of one element, eV/Å per component.

    Attributes
    ----------
    name
        Chemical symbol.
    grid, spacing
        Standard deviation of the waves, with its 95 % interval, and their length (Å); None where
        there is no wave beyond chance, or nothing to tell it from.
    grid_reach
        Standard deviation (eV/Å) that a wave would need to be seen; None where none could be.
    pairs
        Standard deviation left between frames at no distance, with its interval; None where pairs
        are too few, or too far from each other.
    """

    name: str
    grid: tuple[float, float, float] | None
    spacing: float | None
    grid_reach: float | None
    pairs: tuple[float, float, float] | None

    @property
    def at_least(self) -> float:
        """The lower end of the 95 % interval, eV/Å: zero where noise cannot be told."""
        return max(found[1] if found else 0.0 for found in (self.grid, self.pairs))


def find_hidden_noise(
    frames: Sequence[Structure], twins: Duplicates, group: Int[np.ndarray, " frames"]
) -> list[HiddenNoise]:
    """Look for waves and for noise between near-duplicates, element by element.

    Parameters
    ----------
    frames
        Those without labelled forces do not count.
    twins
        Their near-duplicates.
    group
        Group of every frame: groups are independent of each other.
    """
    present = elements_of(frames)
    if len(np.unique(group)) < FEWEST_GROUPS:
        # a trajectory: waves as short as a grid's are independent after a few frames
        group = np.arange(len(frames)) * min(BLOCKS, len(frames)) // len(frames)
    cells = _cells(frames)
    numbers, owner = columns.numbers(frames), columns.owners(frames)
    left = _between_twins(frames, twins, present)
    found = []
    for number in present:
        having = np.bincount(owner[numbers == number], minlength=len(frames))
        grid, spacing, reach = _grid_waves(frames, _common_cell(cells, having), group, number)
        found.append(HiddenNoise(chemical_symbols[number], grid, spacing, reach, left.get(number)))
    return found


# --------------------------------------------------------------------------- waves of the grid


def _grid_waves(
    frames: Sequence[Structure], members: np.ndarray, group: np.ndarray, number: int
) -> tuple[tuple[float, float, float] | None, float | None, float | None]:
    """Waves in the forces on one element, over frames of one cell."""
    if len(np.unique(group[members])) < FEWEST_GROUPS:
        return None, None, None
    seen = [frames[k] for k in members.tolist()]
    cell = seen[0].cell
    edges = np.linalg.norm(cell, axis=1)
    masks = [f.numbers == number for f in seen]
    places = np.concatenate(
        [f.positions[m] @ np.linalg.inv(f.cell) for f, m in zip(seen, masks, strict=True)]
    )
    along = (cell / edges[:, None]).T
    forces = np.concatenate(
        [f.labelled_forces[m] @ along for f, m in zip(seen, masks, strict=True)]
    )
    owner = np.repeat(group[members], [int(m.sum()) for m in masks])
    _, owner = np.unique(owner, return_inverse=True)
    variance, low, high, spacings, limit = 0.0, 0.0, 0.0, [], 0.0
    for axis in range(3):
        wave = _waves(places[:, axis], forces[:, axis], owner, float(edges[axis]))
        limit += wave[0] ** 2 / 3
        for amplitude, error, spacing in wave[1]:
            # the share of the axis in a component: one of three
            variance += amplitude**2 / 6
            low += max(amplitude - 1.96 * error, 0.0) ** 2 / 6
            high += (amplitude + 1.96 * error) ** 2 / 6
            spacings.append((amplitude, spacing))
    reach = float(np.sqrt(limit / 2))
    if not spacings:
        return None, None, reach
    return (
        (float(np.sqrt(variance)), float(np.sqrt(low)), float(np.sqrt(high))),
        max(spacings)[1],
        reach,
    )


def _cells(frames: Sequence[Structure]) -> list[np.ndarray]:
    """Periodic frames with forces that share a cell, where there are enough of them to tell."""
    usable = columns.periodicity(frames).all(axis=1) & columns.labelled(frames, "forces")
    numbers = np.flatnonzero(usable)
    if not len(numbers):
        return []
    cells = np.round(columns.cells(frames)[numbers], 3).reshape(-1, 9) + 0.0  # one sign of zero
    _, first, kind = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    kind = np.argsort(np.argsort(first))[kind.ravel()]  # by first appearance
    order = np.argsort(kind, kind="stable")
    parts = np.split(numbers[order], np.flatnonzero(np.diff(kind[order])) + 1)
    return [members for members in parts if len(members) >= FEWEST_GROUPS]


def _common_cell(cells: Sequence[np.ndarray], having: np.ndarray) -> Int[np.ndarray, " members"]:
    """Frames with an element and its most common cell, of so many atoms at most.

    ``having`` are the atoms of the element in each frame.
    """
    none = np.zeros(0, dtype=np.int64)
    members = max((m[having[m] > 0] for m in cells), key=len, default=none)
    return members[:: max(1, -(-int(having[members].sum()) // MOST_ATOMS))]


def _waves(
    place: np.ndarray, force: np.ndarray, owner: np.ndarray, edge: float
) -> tuple[float, list[tuple[float, float, float]]]:
    """Amplitude that would be seen, and (amplitude, its error, length in Å) of what is seen."""
    n = len(place)
    first = max(2, int(np.ceil(edge / COARSEST)))
    last = min(MOST_PERIODS, int(edge / FINEST))
    force = force - force.mean()
    strength = float(np.sqrt(np.mean(force**2)))
    seen, limit = [], 0.0
    for periods in range(first, last + 1):
        phase = np.exp(-2j * np.pi * periods * place)
        terms = phase * force
        sums = np.bincount(owner, terms.real) + 1j * np.bincount(owner, terms.imag)
        power = float(np.sum(np.abs(sums) ** 2))
        amplitude = 2 * abs(sums.sum()) / n
        # the order of the sites, times the forces that hold atoms there
        order = 2 * ORDER * strength * abs(phase.mean())
        limit = max(limit, 2 * np.sqrt(POWER * power) / n)
        if abs(sums.sum()) ** 2 > POWER * power and amplitude > order:
            error = 2 * np.sqrt(power / 2) / n
            seen.append((amplitude, float(error), edge / periods))
    # neighbors of a strong wave share its power where cells hold few periods apart
    strongest = max((s[0] for s in seen), default=0.0)
    return limit, [s for s in seen if s[0] > 0.2 * strongest]


# ------------------------------------------------------------- frames that are nearly the same


def _between_twins(
    frames: Sequence[Structure], twins: Duplicates, present: Sequence[int]
) -> dict[int, tuple[float, float, float]]:
    """What is left of the difference of forces at no distance, of each element."""
    usable = np.flatnonzero(~twins.reordered)
    kinds: dict[bytes, list[_Pair]] = {}
    for k in usable[np.argsort(twins.distance[usable], kind="stable")][:2000].tolist():
        a, b = int(twins.first[k]), int(twins.second[k])
        if frames[a].labels.forces is None or frames[b].labels.forces is None:
            continue
        # another electronic state has other forces
        if electronic_state(frames[a]) != electronic_state(frames[b]):
            continue
        moved, change = _superpose(frames[a], frames[b])
        if moved > 0:
            pair = _Pair(a, b, moved, frames[a].numbers, change)
            kinds.setdefault(np.sort(frames[a].numbers).tobytes(), []).append(pair)
    found = {}
    for number in present:
        # unlike molecules are unlike stiff: one line through all of them has no meaning
        having = [pairs for pairs in kinds.values() if (pairs[0].numbers == number).any()]
        for pairs in sorted(having, key=len, reverse=True):
            left = _noise_of(number, pairs, frames)
            if left is not None:
                found[number] = left
                break
    return found


class _Pair(NamedTuple):
    """Frames that are nearly the same: how far atoms moved (Å), and how forces changed (eV/Å)."""

    first: int
    second: int
    moved: float
    numbers: Int[np.ndarray, " atoms"]
    change: Float[np.ndarray, "atoms 3"]


def _noise_of(
    number: int, pairs: Sequence[_Pair], frames: Sequence[Structure]
) -> tuple[float, float, float] | None:
    """Noise of an element, from pairs of one composition."""
    members = np.array([(p.first, p.second) for p in pairs], dtype=np.int64)
    forces = [frames[k].labelled_forces[frames[k].numbers == number] for k in np.unique(members)]
    return _nugget(
        np.array([0.5 * float(np.mean(p.change[p.numbers == number] ** 2)) for p in pairs]),
        np.array([p.moved for p in pairs]),
        members,
        variance=float(np.concatenate(forces).var()),
        components=3 * int((pairs[0].numbers == number).sum()),
    )


def _superpose(a: Structure, b: Structure) -> tuple[float, np.ndarray]:
    """Root-mean-square displacement of all atoms (Å), and the change of their forces."""
    if a.pbc.any():
        moved = (b.positions - a.positions) @ np.linalg.inv(a.lattice)
        turned = np.angle(np.exp(2j * np.pi * moved).mean(axis=0)) / (2 * np.pi)
        moved -= np.where(a.pbc, turned, 0.0)
        moved = (moved - np.rint(moved) * a.pbc) @ a.lattice
        moved -= moved.mean(axis=0)
        return float(np.sqrt(np.mean(np.sum(moved**2, axis=1)))), (
            b.labelled_forces - a.labelled_forces
        )
    first, second = (f.positions - f.positions.mean(axis=0) for f in (a, b))
    u, _, v = np.linalg.svd(second.T @ first)
    turn = u @ v
    moved = second @ turn - first
    change = b.labelled_forces @ turn - a.labelled_forces
    return float(np.sqrt(np.mean(np.sum(moved**2, axis=1)))), change


def _nugget(
    y: np.ndarray, distance: np.ndarray, pairs: np.ndarray, variance: float, components: int
) -> tuple[float, float, float] | None:
    """Standard deviation at no distance, and its interval; None where the pairs do not reach it.

    Half the mean squared difference of forces is fitted as s^2 + c d^2, each pair weighted by the
    inverse of its expectation's square. Pairs reach it where the nearest ones differ by little more
    than what is left at no distance: no line is drawn on beyond a factor of two. Where forces all
    have the noise, no pair differs by much less: the quietest tenth of them bounds it.
    """
    if len(y) < FEWEST_PAIRS or variance <= 0:
        return None
    near = np.argsort(distance, kind="stable")
    usual = np.minimum.accumulate((np.cumsum(y[near]) / np.arange(1, len(y) + 1))[::-1])[::-1]
    near = near[usual <= SHARED * variance]
    if len(near) < FEWEST_PAIRS or len(np.unique(pairs[near])) < FEWEST_FRAMES:
        return None
    y, d2, pairs = y[near], distance[near] ** 2, pairs[near]
    names, place = np.unique(pairs, return_inverse=True)
    place = place.reshape(pairs.shape)
    nearest = float(np.quantile(d2, 0.1))
    whole = _line(y, d2, np.ones(len(y)))
    draws = []
    for weight in group_weights(len(names), 0, RESAMPLES):
        of = weight[place].prod(axis=1)
        if np.count_nonzero(of) >= FEWEST_PAIRS // 2:
            draws.append(_line(y, d2, of))
    if len(draws) < RESAMPLES // 2:
        return None
    low, high = np.percentile([left for left, _ in draws], [2.5, 97.5])
    low = max(float(low), 0.0) if whole[0] >= whole[1] * nearest else 0.0
    quiet = float(np.quantile(y, QUIET)) * components / float(chi2.ppf(QUIET, components))
    low = min(low, quiet)
    ends = np.sqrt([max(whole[0], 0.0), low, max(float(high), whole[0], 0.0)])
    return float(ends[0]), float(ends[1]), float(ends[2])


def _line(y: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Intercept and slope, neither below zero, of values whose spread grows with their mean."""
    mean = float(np.average(y, weights=weight))
    if mean <= 0:  # labels that agree to their last digit
        return 0.0, 0.0
    expected = np.full(len(y), mean)
    left, slope = mean, 0.0
    for _ in range(6):
        w = weight / expected**2
        total = w.sum()
        mx, my = (w @ x) / total, (w @ y) / total
        spread = (w @ (x - mx) ** 2) / total
        slope = max(float((w @ ((x - mx) * (y - my))) / total / spread), 0.0) if spread else 0.0
        left = float(my - slope * mx)
        if left < 0:
            left, slope = 0.0, float((w @ (x * y)) / (w @ x**2))
        expected = np.maximum(left + slope * x, 1e-6 * mean)
    return left, slope


# ------------------------------------------------------------------------------------ rounding


def find_rounding(frames: Sequence[Structure]) -> float | None:
    """Last decimal digit (eV/Å) of the force labels, where they have fewer than eight of them.

    Examples
    --------
    >>> import numpy as np
    >>> from scalewise.data.structure import Labels
    >>> forces = np.array([[0.12, -3.45, 0.07]] * 20)
    >>> frame = Structure(np.full(20, 18), forces, np.eye(3), np.zeros(3, dtype=bool))
    >>> find_rounding([Structure(**{**vars(frame), "labels": Labels(forces)})])
    0.01
    """
    labelled = np.flatnonzero(columns.labelled(frames, "forces"))
    if not len(labelled):
        return None
    some = labelled[:: max(1, len(labelled) // 200)].tolist()
    values: Float[np.ndarray, " values"] = np.concatenate(
        [frames[k].labelled_forces.ravel() for k in some]
    )
    values = values[np.abs(values) > SILENT][:20_000]
    if len(values) < 30:
        return None
    for digits in range(1, 8):
        scaled = values * 10.0**digits
        if np.abs(scaled - np.rint(scaled)).max() < 1e-4:
            return float(10.0**-digits)
    return None
