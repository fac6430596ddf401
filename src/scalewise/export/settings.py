"""Settings of ``scalewise export``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scalewise.core.settings import Length, Settings

Engine = Literal["ase", "openmm", "lammps", "metatomic", "torchsim", "ipi"]


class ExportSettings(Settings):
    """One potential at one of its scales, for one engine."""

    to: Engine = Field("ase", description="the simulation engine; also `--to`")
    cutoff: Length | None = Field(
        None,
        description="cutoff of all atoms, Å, at most the network's; default: that of the adaptive "
        "cutoff for each atom, else the network's",
    )
    long_range: bool = Field(
        True,
        description="include long-range electrostatics; `false` is refused if the model cannot be "
        "evaluated without them",
    )
    inner: Length | None = Field(
        None,
        description="cutoff of a shorter scale that gets a force group of its own, Å; for `openmm` "
        "alone",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="floating-point type of the network"
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compile programs ahead of time; `auto`: if there is a C++ compiler; `lammps` "
        "needs programs, `metatomic` uses none",
    )
    index: int = Field(
        -1, description="frame of the file that the example starts from; -1: the last"
    )
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
