"""Models that predict many atoms, as quick as they are worth making."""

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
    """The model with kernels, if it is a potential on the CPU, and so many atoms are worth them.

    Results are the same but for rounding. What has kernels or programs already stays as it is, and
    so does what has no C++ compiler.
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
