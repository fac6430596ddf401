"""Use kernels in potentials that predict many atoms."""

from __future__ import annotations

from typing import Final, TypeVar, cast

from scalewise.core.errors import InputError
from scalewise.models.compiler import compiler_found
from scalewise.models.density.kernels.library import kernel_library
from scalewise.models.potential import Potential

#: Atoms from which kernels pay: they take five seconds to compile, and save 0.1 ms for each.
KERNELS_PAY: Final = 50_000

_Model = TypeVar("_Model")


def quickened(model: _Model, atoms: float) -> _Model:
    """Return a potential on the CPU with kernels, if it is to predict ``KERNELS_PAY`` atoms.

    Results are the same but for rounding. Other models, potentials that have kernels or programs
    already, and those on a machine without a C++ compiler are returned as they are.
    """
    if not isinstance(model, Potential) or model.kernels or model.compiled:
        return model
    if atoms < KERNELS_PAY or model.device.type != "cpu" or not compiler_found():
        return model
    try:
        kernel_library(model.network.settings, model.dtype)
    except (InputError, OSError):  # it is slower without, and as right
        return model
    return cast(_Model, model.to(kernels=True))
