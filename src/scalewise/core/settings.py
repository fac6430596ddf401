"""Base class of the settings of all commands, which are the only place of default values.

:mod:`scalewise.core.loading` reads settings. All settings of a run are saved with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from scalewise.core.errors import shown

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
#: Upper bound of lengths, Å: without it, absurd lengths would only show as long times or memory.
Length = Annotated[float, Field(gt=0.0, le=1e6, description="Å")]
Count = Annotated[int, Field(ge=1, le=10**12)]


class Settings(BaseModel):
    """Base class of all settings, which are immutable and refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Settings that were added after runs had been saved without them. They are not written if they
    #: have their default value, which must never change: digests of older runs then stay the same,
    #: and finished runs are recognised.
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
        """Return a hash of the settings, twelve hex digits, which differs if a setting differs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ between two runs, with their names and both values.

    Examples
    --------
    >>> before = {"steps": 20, "network": {"layers": 2, "channels": 8}}
    >>> differences(before, {"steps": 30, "network": {"layers": 1, "channels": 8}})
    ['network.layers=2 (now 1)', 'steps=20 (now 30)']
    """
    old, new = _flat(before), _flat(now)
    names = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    return [f"{k}={shown(old.get(k))} (now {shown(new.get(k))})" for k in names]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
