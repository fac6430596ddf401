"""The inner potential of two time steps: what ``scalewise distill`` made of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from scalewise.core.errors import InputError
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.programs.compiling import state_digest
from scalewise.simulation.settings import SimulationSettings

#: Key of what an inner potential knows of its distillation.
DISTILLED: Final = "distilled"


def weights_of(potential: Potential) -> str:
    """SHA-256 of a potential's weights, in their own type."""
    return state_digest(potential.network)


def open_inner(
    folder: Path, potential: Potential, settings: SimulationSettings
) -> tuple[Potential, SimulationSettings]:
    """Read an inner potential, and fill in the time steps that were not given.

    Raises
    ------
    InputError
        No potential, one that was not distilled, of another potential, or, where its time step is
        taken, for another mass of hydrogens.
    """
    inner = open_potential(folder, device=settings.device)
    known: Any = inner.info.get(DISTILLED)
    where, remedy = str(folder), "Make one: scalewise distill MODEL STRUCTURE."
    if not isinstance(known, dict):
        raise InputError(where, "a potential that was not distilled", remedy)
    if known.get("of") != weights_of(potential):
        raise InputError(where, "distilled of another potential", remedy)
    found = {
        name: float(known[name])
        for name in ("timestep", "inner_timestep")
        if name not in settings.model_fields_set and isinstance(known.get(name), int | float)
    }
    if "timestep" in found and known.get("hydrogen_mass") != settings.hydrogen_mass:
        raise InputError(
            where,
            f"made for hydrogen_mass={known.get('hydrogen_mass') or 'null'}",
            "Repeat that, or give timestep.",
        )
    return inner, settings.model_copy(update=found)
