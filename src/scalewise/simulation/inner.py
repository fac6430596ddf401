"""The inner potential of simulations with two time steps, which ``scalewise distill`` made."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from jaxtyping import Float
from pydantic import ValidationError

from scalewise.core.errors import InputError
from scalewise.core.loading import explain
from scalewise.data.structure import Structure
from scalewise.models.graph import check_elements
from scalewise.models.opening import open_potential
from scalewise.models.potential import Potential
from scalewise.models.programs.compiling import state_digest
from scalewise.simulation.settings import SimulationSettings

#: Key of what an inner potential knows of its distillation.
DISTILLED: Final = "distilled"
#: u, by which the lightest atom may be lighter.
ROUNDING: Final = 1e-3


def weights_of(potential: Potential) -> str:
    """SHA-256 of a potential's weights, in their own type."""
    return state_digest(potential.network)


def open_inner(
    potential: Potential,
    frame: Structure,
    masses: Float[np.ndarray, " atoms"],
    settings: SimulationSettings,
) -> tuple[Potential, SimulationSettings]:
    """Read the inner potential of a simulation, and fill in the time steps that were not given.

    Parameters
    ----------
    potential
        The whole one.
    frame, masses
        What is simulated; u.
    settings
        With ``inner``.

    Raises
    ------
    InputError
        No potential, one that was not distilled, of another potential, without an element of the
        structure; time steps that were found with heavier atoms, or no longer one than the inner
        one; settings that do not go together with what is filled in.
    """
    assert settings.inner is not None
    inner = open_potential(settings.inner, device=settings.device)
    known: Any = inner.info.get(DISTILLED)
    where, remedy = str(settings.inner), "Make one: scalewise distill MODEL STRUCTURE."
    if not isinstance(known, dict):
        raise InputError(where, "a potential that was not distilled", remedy)
    if known.get("of") != weights_of(potential):
        raise InputError(where, "distilled of another potential", remedy)
    try:
        check_elements(frame, inner.elements)
    except InputError as error:
        what = f"an inner potential without elements of the structure ({error.found})"
        raise InputError(where, what, "Distil one with a structure of all elements.") from None
    names = ("timestep", "inner_timestep")
    numbers: dict[str, Any] = {name: known.get(name) for name in (*names, "lightest")}
    if not all(type(value) in (int, float) for value in numbers.values()):
        raise InputError(where, "damaged: it does not know its time steps", remedy)
    found = {name: numbers[name] for name in names if name not in settings.model_fields_set}
    if found and masses.min() < numbers["lightest"] - ROUNDING:
        raise InputError(
            where,
            f"time steps that were found with atoms of {numbers['lightest']:.3g} u or more, but "
            f"the lightest one has {masses.min():.3g} u",
            "Repeat its hydrogen_mass, or give timestep and inner_timestep.",
        )
    if "timestep" in found and found["timestep"] <= numbers["inner_timestep"]:
        raise InputError(
            where,
            "an inner potential with which no longer step was stable and faster",
            "Leave inner out, or give timestep.",
        )
    given = settings.model_dump(exclude_unset=True)
    try:
        return inner, SimulationSettings.model_validate({**given, **found})
    except ValidationError as error:
        raise explain(SimulationSettings, "settings with those of inner", error) from None
