"""Settings of ``scalewise generate``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from scalewise.core.errors import did_you_mean, shown
from scalewise.core.settings import Count, Length, Settings


class SolventReplicates(Settings):
    """Solvent replicates: force samples of one ion configuration with different water around it."""

    replicas: int = Field(
        2,
        ge=0,
        description="number of replicas, counted from the last one, that get solvent replicates",
    )
    configurations: Count = Field(8, description="ion configurations of each such replica")
    samples: int = Field(8, ge=2, description="water samples per ion configuration")
    spacing: float = Field(1.0, gt=0, description="time between water samples, ps")


#: Our own geometries; others may be registered with :mod:`scalewise.testbed.geometry`.
BUILT_IN: Final = ("bulk", "slab", "droplet", "crystal", "pair")
#: The settings that only some geometries have, or only one law.
OF_GEOMETRY = {
    "vacuum": ("slab", "droplet"),
    "cells": ("crystal",),
    "lattice": ("crystal",),
    "distances": ("pair",),
}


class SolutionSettings(Settings):
    """Aqueous NaCl from molecular dynamics with rigid water."""

    LATER = frozenset({"geometry", "law", "screening", *OF_GEOMETRY})

    geometry: str = Field(
        "bulk",
        description="`bulk`: solution everywhere; `slab`: solution with vapour on two sides; "
        "`droplet`: solution with vapour all around; `crystal`: solution beside a crystal of NaCl; "
        "`pair`: water around one pair of ions at fixed distances",
    )
    concentration: float = Field(
        2.0, gt=0, le=6.0, description="concentration of NaCl, mol per litre"
    )
    ion_pairs: Count | None = Field(
        None, description="number of NaCl pairs; overrides `concentration`"
    )
    box: float = Field(
        20.0,
        ge=16.0,
        description="edge of the cubic cell before equilibration, Å; thickness and width of a "
        "slab, diameter of a droplet, thickness of the solution beside a crystal",
    )
    vacuum: Length = Field(
        20.0, description="distance between a slab or droplet and its periodic images, Å"
    )
    cells: Count = Field(2, description="thickness of the crystal, in unit cells")
    lattice: Length = Field(5.64, description="edge of the crystal's unit cell along its face, Å")
    distances: tuple[Length, ...] = Field(
        (2.8, 3.5, 4.2, 5.0, 6.0, 7.5),
        min_length=1,
        description="distances at which the pair of ions is held, Å, rising; each distance is "
        "simulated in a window of its own",
    )
    water: Literal["tip3p", "spce", "tip3pfb", "opc3"] = "tip3p"
    ions: Literal["amber", "charmm"] = Field(
        "amber",
        description="parameters of the ions: those of Amber for the chosen water, or those of "
        "CHARMM (with tip3p or spce)",
    )
    temperature: float = Field(300.0, gt=0, description="temperature, K")
    pressure: float = Field(1.0, gt=0, description="pressure during equilibration, bar")
    timestep: float = Field(4.0, gt=0, le=5.0, description="time step, fs")
    hydrogen_mass: float = Field(
        3.0,
        ge=1.0,
        le=4.0,
        description="mass of hydrogen, u; the added mass is taken from the oxygen",
    )
    cutoff: float = Field(
        9.0,
        gt=0,
        description="cutoff of the Lennard-Jones interactions and of the real-space part of PME, Å",
    )
    equilibration: float = Field(
        20.0, gt=0, description="length of the equilibration at constant pressure, ps"
    )
    replicas: Count = Field(8, description="independent boxes, each from its own seed")
    frames: Count = Field(
        40, description="frames per replica; with `geometry=pair`, per replica and distance"
    )
    spacing: float = Field(1.0, gt=0, description="time between frames, ps")
    replicates: SolventReplicates = SolventReplicates()
    seed: int = Field(0, ge=0)
    platform: Literal["auto", "CPU", "CUDA", "Reference"] = "auto"
    law: Literal["forcefield", "screened"] = Field(
        "forcefield",
        description="reference that labels the frames; `forcefield`: the force field of the "
        "dynamics; `screened`: a screened Coulomb law of known range",
    )
    screening: Length = Field(2.0, description="screening length λ of the screened Coulomb law, Å")

    @field_validator("geometry")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value in BUILT_IN:
            return value
        from scalewise.testbed.geometry import known_geometries  # it imports this module

        known = known_geometries()
        if value not in known:
            raise ValueError(
                f"got {shown(value, 80)}; geometries are {', '.join(known)}"
                f"{did_you_mean(value, known)}"
            )
        return value

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
    def _consistent(self) -> SolutionSettings:
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
        # what a geometry of others makes of these settings is its own affair
        for key, geometries in OF_GEOMETRY.items() if self.geometry in BUILT_IN else ():
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
