"""Open models by name: a folder, a file of predictions, an ASE calculator, or another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from scalewise.core.errors import InputError, cut, did_you_mean
from scalewise.core.extensions import declared, imported, reason
from scalewise.data.readers import found_reader
from scalewise.models import checkpoint
from scalewise.models.adapters.ase_calculator import AseModel
from scalewise.models.adapters.prediction_file import PredictionFile
from scalewise.models.potential import Potential
from scalewise.models.protocol import InteratomicPotential

#: Entry points that make a model of what stands behind their name and a colon.
GROUP: Final = "scalewise.models"
_TRAINED: Final = "Give the folder of a trained potential, written by `scalewise train`."
#: What a model has.
MEMBERS: Final = (
    *("name", "elements", "cutoff_range", "long_range"),
    *("receptive_field", "knows_energy", "evaluate"),
)


def load_potential(path: Path | str, *, device: str = "auto") -> Potential:
    """Read a trained potential from its folder, or from the folder of its training run.

    Parameters
    ----------
    path
        The folder.
    device
        ``cpu``, ``cuda``, or ``auto``: CUDA if there is such a device, else the CPU.

    Raises
    ------
    InputError
        The folder holds no potential; there is no such device.
    """
    return open_potential(path, device=device)


def open_potential(
    folder: Path | str, *, device: str = "auto", cutoff: float | None = None
) -> Potential:
    """Read a potential onto a device; see :func:`load_potential`.

    Raises
    ------
    InputError
        Not the folder of a potential; no such device; a cutoff (Å) above the network's.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise InputError("key 'device'", "no CUDA device found", "Use device=cpu or device=auto.")
    chosen = "cuda" if found and device != "cpu" else "cpu"
    place = checkpoint.locate(Path(folder))
    if not (place / checkpoint.MODEL).exists():
        raise InputError(str(folder), _instead(Path(folder)), _TRAINED)
    potential = checkpoint.read(place, device=chosen)
    if cutoff is not None and cutoff > potential.cutoff:
        raise InputError(
            "key 'cutoff'",
            f"{cutoff:g} Å, but the network was trained with {potential.cutoff:g} Å",
            f"Give at most {potential.cutoff:g}, or train a network with a longer cutoff.",
        )
    return potential


def _instead(path: Path) -> str:
    """What is there in the place of a potential's folder."""
    kind, colon, _ = str(path).partition(":")
    if colon and len(kind) > 1 and not path.exists():
        return "the name of a model of another program, where a potential of scalewise is needed"
    if not path.exists():
        return "no such folder"
    if not path.is_dir():
        return "a file, not the folder of a potential"
    runs = [file.stem for file in path.glob("*.json") if file.stem != "settings"]
    others = f" (it has {', '.join(sorted(runs)[:3])}.json)" if runs else ""
    return f"no potential: the folder has no {checkpoint.MODEL}{others}"


def open_model(
    what: Path | str, *, device: str = "auto", cutoff: float | None = None
) -> InteratomicPotential:
    """Open a potential, a file of predictions, an ASE calculator, or a model of another package.

    Parameters
    ----------
    what
        The folder of a potential, or of the run that trained it; a file of predictions, such as
        ``predicted.xyz``; ``module:Class`` of an ASE calculator; or ``kind:rest``, where ``kind``
        is an entry point of the group ``scalewise.models`` that another package declares: a
        function that returns a model for the text ``rest``.
    device
        Device of a potential, as in :func:`load_potential`; other models ignore it.
    cutoff
        Cutoff, Å, at which the model will be evaluated: a model that does not have it is refused.

    Raises
    ------
    InputError
        ``what`` names none of these; the folder, file, class or entry point is faulty; the object
        is not a model; the model cannot be evaluated at ``cutoff``.
    """
    path, text = Path(what), str(what)
    if path.is_dir():
        return open_potential(path, device=device, cutoff=cutoff)
    kind, colon, rest = text.partition(":")
    # a colon may be part of a name, and a single letter is a drive
    if colon and len(kind) > 1 and not path.exists():
        model = _of_kind(kind, rest)
    elif found_reader(path) is not None:
        model = PredictionFile(path)
    else:
        return open_potential(path, device=device, cutoff=cutoff)
    _check_cutoff(model, cutoff)
    return model


def _of_kind(kind: str, rest: str) -> InteratomicPotential:
    """The model of an entry point, or else of a calculator's class."""
    where = f"model '{kind}:{cut(rest, 80)}'"
    kinds = declared(GROUP)
    if kind in kinds:
        make = imported(kinds[kind])
        try:
            model = make(rest)
        except InputError:
            raise
        except Exception as error:  # models of others raise what they like
            raise InputError(
                where, f"{kinds[kind].value} failed ({reason(error)})", "Correct what is named."
            ) from error
        return checked_model(model, where)
    try:
        return AseModel.named(f"{kind}:{rest}")
    except InputError as error:
        known = f" Kinds of models: {', '.join(kinds)}." if kinds else ""
        raise InputError(
            where,
            error.found,
            "Give a folder of `scalewise train`, a file of predictions, or module:Class of an ASE "
            f"calculator.{known}{did_you_mean(kind, kinds)}",
        ) from error


def checked_model(model: Any, where: str) -> InteratomicPotential:
    """Return a model if it has all that the protocol names.

    Raises
    ------
    InputError
        It lacks something; ``where`` says what made it.
    """
    if isinstance(model, InteratomicPotential):
        return model
    missing = [name for name in MEMBERS if not hasattr(model, name)]
    raise InputError(
        where,
        f"a {type(model).__name__} without {', '.join(missing)}",
        "A model must keep to scalewise.models.protocol.InteratomicPotential: see "
        "scalewise.testing.check_potential.",
    )


def _check_cutoff(model: InteratomicPotential, cutoff: float | None) -> None:
    if cutoff is None:
        return
    if model.cutoff_range is None:
        raise InputError(
            "key 'cutoff'", f"{cutoff:g} Å, but {model.name} has no cutoffs", "Leave it out."
        )
    if cutoff > model.cutoff_range[1]:
        longest = model.cutoff_range[1]
        raise InputError(
            "key 'cutoff'",
            f"{cutoff:g} Å, but {model.name} has at most {longest:g} Å",
            f"Give at most {longest:g}, or a model with a longer cutoff.",
        )
