"""The settings of every command: frozen, strict, and the only place where a default lives.

How they are read is in :mod:`scalewise.loading`. The resolved copy is saved with each run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
#: No length that anybody gives is longer; absurd ones would only show as time and memory.
Length = Annotated[float, Field(gt=0.0, le=1e6, description="Å")]
Count = Annotated[int, Field(ge=1, le=10**12)]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Settings added after runs had been saved without them. At their default, which must never
    #: change, they are not written: digests stay what they were, and finished runs are recognised.
    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        for name in self.LATER:
            if getattr(self, name) == fields[name].get_default():
                tree.pop(name, None)
        return tree

    def digest(self) -> str:
        """Return twelve hex digits that change when, and only when, a setting changes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class SolventReplicates(Settings):
    """Force samples of the same ion configuration with different water around it."""

    replicas: int = Field(2, ge=0, description="how many replicas (the last ones) get them")
    configurations: Count = Field(8, description="ion configurations per such replica")
    samples: int = Field(8, ge=2, description="water samples per ion configuration")
    spacing: float = Field(1.0, gt=0, description="ps between water samples")


#: The settings that only some geometries have, or only one law.
OF_GEOMETRY = {
    "vacuum": ("slab", "droplet"),
    "cells": ("crystal",),
    "lattice": ("crystal",),
    "distances": ("pair",),
}


class Solution(Settings):
    """Aqueous NaCl from molecular dynamics with rigid water."""

    LATER = frozenset({"geometry", "law", "screening", *OF_GEOMETRY})

    geometry: Literal["bulk", "slab", "droplet", "crystal", "pair"] = Field(
        "bulk",
        description="solution everywhere; with vapour on two sides or all around; beside a crystal "
        "of NaCl; water around one pair of ions, held",
    )
    concentration: float = Field(2.0, gt=0, le=6.0, description="mol of NaCl per litre")
    ion_pairs: Count | None = Field(None, description="NaCl pairs; overrides concentration")
    box: float = Field(
        20.0,
        ge=16.0,
        description="edge of the cubic cell before equilibration, Å; thickness and width of a "
        "slab, diameter of a droplet, thickness of the solution beside a crystal",
    )
    vacuum: Length = Field(20.0, description="Å between a slab or droplet and its images")
    cells: Count = Field(2, description="thickness of the crystal in its unit cells")
    lattice: Length = Field(5.64, description="Å, edge of the crystal's unit cell along its face")
    distances: tuple[Length, ...] = Field(
        (2.8, 3.5, 4.2, 5.0, 6.0, 7.5),
        min_length=1,
        description="Å, rising: at which the pair of ions is held, each in a window of its own",
    )
    water: Literal["tip3p", "spce", "tip3pfb", "opc3"] = "tip3p"
    ions: Literal["amber", "charmm"] = Field(
        "amber", description="the set in Amber's file of that water, or CHARMM's (tip3p, spce)"
    )
    temperature: float = Field(300.0, gt=0, description="K")
    pressure: float = Field(1.0, gt=0, description="bar, during equilibration")
    timestep: float = Field(4.0, gt=0, le=5.0, description="fs")
    hydrogen_mass: float = Field(3.0, ge=1.0, le=4.0, description="u, taken from the oxygen")
    cutoff: float = Field(9.0, gt=0, description="Å, of Lennard-Jones and real-space PME")
    equilibration: float = Field(20.0, gt=0, description="ps at constant pressure")
    replicas: Count = Field(8, description="independent boxes, each from its own seed")
    frames: Count = Field(40, description="per replica; of a pair, per replica and distance")
    spacing: float = Field(1.0, gt=0, description="ps between frames")
    replicates: SolventReplicates = SolventReplicates()
    seed: int = Field(0, ge=0)
    platform: Literal["auto", "CPU", "CUDA", "Reference"] = "auto"
    law: Literal["forcefield", "screened"] = Field(
        "forcefield",
        description="what labels the frames: the force field of the dynamics, or a screened "
        "Coulomb law of known range",
    )
    screening: Length = Field(2.0, description="Å, screening length of that law")

    @property
    def shortest_edge(self) -> float:
        """Shortest edge of the cell before equilibration, Å."""
        if self.geometry == "droplet":
            return self.box + self.vacuum
        return self.face if self.geometry == "crystal" else self.box

    @property
    def face(self) -> float:
        """Edge of the crystal's face, a whole number of unit cells next to ``box``, Å."""
        return max(1, round(self.box / self.lattice)) * self.lattice

    @model_validator(mode="after")
    def _consistent(self) -> Solution:
        if self.replicates.replicas > self.replicas:
            raise ValueError(
                f"replicates.replicas={self.replicates.replicas} exceeds replicas={self.replicas}"
            )
        if self.replicates.replicas and self.replicates.configurations > self.frames:
            raise ValueError(
                f"replicates.configurations={self.replicates.configurations} exceeds "
                f"frames={self.frames}, from which they are taken"
            )
        if 2 * self.cutoff > 0.98 * self.shortest_edge:
            raise ValueError(
                f"cutoff={self.cutoff} Å needs a box of at least {2 * self.cutoff / 0.98:.1f} Å, "
                f"got {self.shortest_edge:.4g} Å along its shortest edge with box={self.box} Å: "
                "enlarge the box or shorten the cutoff"
            )
        if self.ions == "charmm" and self.water not in ("tip3p", "spce"):
            raise ValueError(f"the charmm ions go with water tip3p or spce, got {self.water}")
        self._check_geometry()
        return self

    def _check_geometry(self) -> None:
        fields = type(self).model_fields
        for key, geometries in OF_GEOMETRY.items():
            given = getattr(self, key)
            if given != fields[key].get_default() and self.geometry not in geometries:
                raise ValueError(
                    f"{key}={given} means nothing with geometry={self.geometry}: leave it out, or "
                    f"set geometry={' or '.join(geometries)}"
                )
        if self.law != "screened" and self.screening != fields["screening"].get_default():
            raise ValueError(f"screening={self.screening} needs law=screened, got law={self.law}")
        if self.geometry in ("slab", "droplet") and self.vacuum < self.cutoff:
            raise ValueError(
                f"vacuum={self.vacuum} Å is less than cutoff={self.cutoff} Å: the images would "
                "touch; enlarge the vacuum"
            )
        if self.geometry == "pair":
            self._check_pair()

    def _check_pair(self) -> None:
        d = self.distances
        if list(d) != sorted(set(d)) or d[0] < 2.0 or d[-1] > 0.45 * self.box:
            raise ValueError(
                f"distances={list(d)} must rise from 2 Å or more to at most "
                f"{0.45 * self.box:.1f} Å, nine tenths of half the box of {self.box} Å"
            )
        if self.ion_pairs not in (None, 1):
            raise ValueError(f"geometry=pair has one pair of ions, got ion_pairs={self.ion_pairs}")


#: Rows of the report that are not branches.
RESERVED_NAMES = frozenset(
    {"best_single", "average", "fixed_router", "regime_router", "learned_router"}
    | {"hard_oracle", "pool_oracle", "continuous_oracle", "two_replicate_oracle"}
)


class Predictions(Settings):
    """Predictions that the user already has, to be audited beside the labels."""

    labels: Path | None = Field(
        None, description="extxyz with the labels; default: the first file holds them too"
    )
    files: tuple[Path, ...] = Field(description="extxyz files, ordered from short to long scale")
    names: tuple[str, ...] | None = Field(None, description="one name per file")
    forces_keys: tuple[str, ...] = Field(
        ("forces",), description="column of the predicted forces: one for all files, or one each"
    )
    labels_key: str = Field("REF_forces", description="column of the reference forces")
    replicate_files: tuple[Path, ...] | None = Field(
        None, description="the same models from another seed: allows the two-replicate oracle"
    )
    targets: tuple[str, ...] | None = Field(None, description="elements to score; default: all")
    group_key: str | None = Field(
        None, description="frame key of near-duplicate groups that must not be split"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Predictions:
        n = len(self.files)
        if n < 2:
            raise ValueError(f"an audit compares at least two prediction files, got {n}")
        for key in ("names", "replicate_files"):
            value = getattr(self, key)
            if value is not None and len(value) != n:
                raise ValueError(f"{key} has {len(value)} entries for {n} prediction files")
        reserved = sorted(set(self.names or ()) & RESERVED_NAMES)
        if len(set(self.names or range(n))) != n:
            raise ValueError(f"names={list(self.names or ())} must differ")
        if reserved:
            raise ValueError(f"names: {reserved} are rows of the report, choose other names")
        if len(self.forces_keys) not in (1, n):
            raise ValueError(f"forces_keys has {len(self.forces_keys)} entries for {n} files")
        return self


class Branches(Settings):
    """The two force-matched branches of each view."""

    short_cutoff: Length = 6.0
    long_cutoff: Length = 9.0
    splines: int = Field(14, ge=4, description="B-splines per pair of elements, short branch")
    powers: tuple[int, ...] = Field(
        (3, 4, 6, 8, 10, 12), description="inverse powers of r, long branch"
    )
    ridge: tuple[float, ...] = Field(
        (1e-12, 1e-9, 1e-6, 1e-4, 1e-2, 1e-1, 1.0),
        description="regularisation strengths tried on the tuning blocks",
    )


class Split(Settings):
    """Whole replicas (or blocks of a single trajectory) to train, tune and test."""

    train: Fraction = Field(0.375, description="share that fits branches; an audit tunes on it")
    tune: Fraction = 0.25
    block: Count = Field(5, description="frames per bootstrap block")

    @model_validator(mode="after")
    def _consistent(self) -> Split:
        if self.train + self.tune >= 1.0:
            raise ValueError(f"train + tune = {self.train + self.tune} leaves nothing to test")
        return self


class RegimeSettings(Settings):
    """A subset of atoms named by a physical condition."""

    LATER = frozenset({"place"})

    name: str
    elements: tuple[str, ...] | None = None
    nearest: Literal["ion", "counterion"] | tuple[str, ...] | None = Field(
        None, description="whose distance is compared: any ion, an ion of opposite charge, elements"
    )
    above: float = Field(0.0, ge=0.0, description="Å")
    below: float | None = Field(None, gt=0.0, description="Å; none: no upper bound")
    place: str | None = Field(None, description="place of the atom, by the column of that name")

    @model_validator(mode="after")
    def _consistent(self) -> RegimeSettings:
        bounded = self.above > 0 or self.below is not None
        if bounded and self.nearest is None:
            raise ValueError(f"regime '{self.name}' bounds a distance: say to the nearest what")
        if self.name == "all" and (bounded or self.elements is not None or self.place is not None):
            raise ValueError("regime 'all' holds every atom: give the subset another name")
        return self


class Pool(Settings):
    """How the pool of scales is refined."""

    max_scales: int = Field(9, ge=2)
    recovery: float = Field(
        0.995, gt=0, le=1, description="stop at this share of the continuous gain (tuning data)"
    )


class Router(Settings):
    """The learned router: a small network on geometry features."""

    hidden: Count = 24
    steps: Count = 250
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    members: int = Field(5, ge=3, description="networks averaged, each with its own folds")
    cutoff: Length = 8.0


class Evidence(Settings):
    """Nulls, intervals and the error control of the verdict."""

    draws: int = Field(100, ge=10, description="draws of each null")
    bootstrap: int = Field(1000, ge=100, description="resamplings of the blocks")
    alpha: Fraction = Field(0.05, description="chance of any false 'needed' within one view")
    min_gain: Fraction = Field(0.01, description="gain below which routing is not worth its cost")
    min_atoms: Count = Field(30, description="an automatic regime with fewer atoms is left out")


class Study(Settings):
    """The study: data, views, branches, mechanisms, evidence."""

    seed: int = Field(0, ge=0)
    solution: Solution = Solution()
    data: Path | None = Field(
        None, description="folder of `scalewise generate`; overrides solution"
    )
    predictions: Predictions | None = Field(None, description="audit files instead of training")
    views: tuple[Literal["ions", "explicit"], ...] = ("ions", "explicit")
    ions: dict[str, int] = Field(
        default_factory=lambda: {"Na": 1, "Cl": -1}, description="element: sign of its charge"
    )
    anchors: tuple[float, ...] | None = Field(
        None, description="scales of the branches, from 0 to 1; default: evenly spaced"
    )
    loss: Literal["l1", "l2"] = "l1"
    check_units: bool = Field(True, description="refuse forces that do not look like eV/Å")
    branches: Branches = Branches()
    split: Split = Split()
    regimes: Literal["auto"] | tuple[RegimeSettings, ...] = "auto"
    pool: Pool = Pool()
    router: Router = Router()
    evidence: Evidence = Evidence()

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if self.anchors is not None:
            a = self.anchors
            if list(a) != sorted(set(a)) or len(a) < 2 or a[0] != 0.0 or a[-1] != 1.0:
                raise ValueError(
                    f"anchors={list(a)} must increase strictly from 0 to 1: sort them, drop "
                    "repeats, and list the branches in the same order"
                )
        if len(set(self.views)) != max(1, len(self.views)):
            raise ValueError(f"views={list(self.views)}: name 'ions', 'explicit' or both, once")
        names = [] if self.regimes == "auto" else [r.name for r in self.regimes]
        if len(set(names)) != len(names):
            raise ValueError(f"regimes {names} must have different names")
        return self


class Doctor(Settings):
    """What `scalewise doctor` looks at, and how it splits."""

    forces_key: str = Field("REF_forces", description="column of the forces, eV/Å")
    energy_key: str = Field("REF_energy", description="frame key of the total energy, eV")
    stress_key: str = Field("REF_stress", description="frame key of the stress, eV/Å³, if any")
    duplicate_distance: Length = Field(
        1.5, description="Å, root-mean-square displacement below which frames are near-duplicates"
    )
    duplicate_elements: tuple[str, ...] | None = Field(
        None, description="elements compared; default: all but hydrogen"
    )
    group_key: str | None = Field(
        None, description="frame key of groups that must not be split; default: near-duplicates"
    )
    split_key: str | None = Field(
        None, description="frame key of a split to keep and to check for leaks"
    )
    train: Fraction = Field(0.75, description="share of the frames")
    valid: Fraction = Field(0.10, description="share of the frames; the rest is for the test")
    cutoffs: tuple[Length, ...] = Field(
        (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0),
        min_length=1,
        description="Å, at which neighbours are counted",
    )
    neighbour_frames: Count = Field(200, description="frames drawn for that count, at most")
    epochs: Count = Field(50, description="of the forecast")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Doctor:
        if self.train + self.valid >= 1.0:
            raise ValueError(f"train + valid = {self.train + self.valid:g} leaves nothing to test")
        if list(self.cutoffs) != sorted(set(self.cutoffs)):
            raise ValueError(f"cutoffs={list(self.cutoffs)} must increase")
        return self
