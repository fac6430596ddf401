"""Settings of ``scalewise export``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scalewise.core.settings import Length, Settings

Engine = Literal["ase", "openmm", "lammps", "metatomic", "torchsim", "ipi"]


class ExportSettings(Settings):
    """One potential at one of its scales, for one engine."""

    to: Engine = Field("ase", description="the engine; also `--to`")
    cutoff: Length | None = Field(
        None,
        description="Å, one for all atoms, at most the network's; default: that of the adaptive "
        "cutoff, or the network's",
    )
    long_range: bool = Field(
        True, description="long range, where the network was trained without, too"
    )
    inner: Length | None = Field(
        None, description="Å, of `openmm`: a shorter scale in a force group of its own"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="of the network")
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="programs compiled ahead of time; `auto`: where there is a C++ compiler; "
        "`lammps` needs them, `metatomic` has none",
    )
    index: int = Field(-1, description="frame of the file that the example begins with")
    check_units: bool = Field(True, description="refuse positions that do not look like Å")
