"""The errors of a model for comparison with the bound, at the receptive field of its forces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from scalewise.core.documents import Interval, Name, Record, Size, checked, read_plain
from scalewise.core.errors import InputError
from scalewise.models import checkpoint
from scalewise.models.protocol import Scale

_REMEDY = "Give one that `scalewise curve` wrote."


class _Model(Record):
    folder: Annotated[str, Field(min_length=1, max_length=4096)]


class _Scale(Record):
    single: str | None
    cutoff: Annotated[float, Field(gt=0.0, le=1e3)] | None
    long: bool

    @property
    def own(self) -> bool:
        """Whether it is one of the ladder's without long range."""
        return self.single is None and not self.long


class _Loss(Record):
    mae: Size
    mae_interval: Interval | None


class _Subset(Record):
    kind: str
    name: Name
    scales: list[_Loss]


class _Body(Record):
    model: _Model
    scales: Annotated[list[_Scale], Field(max_length=1000)]
    subsets: Annotated[list[_Subset], Field(max_length=1000)]

    @model_validator(mode="after")
    def _consistent(self) -> _Body:
        if any(scale.own and scale.cutoff is None for scale in self.scales):
            raise ValueError("a scale without a cutoff")
        for subset in self.subsets:
            if len(subset.scales) != len(self.scales):
                raise ValueError(f"{subset.name}: not one error for each scale")
            if len({error.mae_interval is None for error in subset.scales}) > 1:
                raise ValueError(f"{subset.name}: intervals at some scales only")
        return self


class _Curve(Record):
    kind: Literal["curve"]
    body: _Body


def read_against(path: Path) -> dict[str, Any]:
    r"""Errors of a model without long range, by element, at the reach of its forces, Å.

    Each layer sees what its neighbors saw: the energy of an atom reaches :math:`L r` with L layers
    of cutoff r (less, if the first ends nearer). The force on an atom is made of the energies of
    all that reach it, and they look as far again: :math:`2 L r`. With long range a model sees
    everything, and no bound of this kind holds for it.

    Raises
    ------
    InputError
        Not a curve.json, or one whose model is no longer there; no scale without long range.
    """
    try:
        curve = checked(_Curve, read_plain(path, _REMEDY), str(path), _REMEDY).body
        folder = Path(curve.model.folder)
        located = checkpoint.locate(folder)
    except (InputError, OSError) as error:  # a name that no file can have is an OSError
        reason = error.found if isinstance(error, InputError) else str(error)
        raise InputError(str(path), f"not a curve.json ({reason})", _REMEDY) from error
    potential = checkpoint.read(located)
    own = {k: s.cutoff for k, s in enumerate(curve.scales) if s.own and s.cutoff is not None}
    if not own:
        raise InputError(
            str(path),
            "all its scales have long range, with which a model sees everything",
            "Train a ladder with and without: --ladder 3,6.5,long",
        )
    return {
        "model": str(folder),
        "reach": [
            potential.receptive_field(Scale(cutoff, long_range=False)) for cutoff in own.values()
        ],
        "elements": {
            s.name: {
                "mae": [s.scales[k].mae for k in own],
                "mae_interval": [s.scales[k].mae_interval for k in own],
            }
            for s in curve.subsets
            if s.kind == "element"
        },
    }
