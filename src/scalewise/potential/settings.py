"""Settings of the network, and the presets that fix its size."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, model_validator

from scalewise.config import Count, Length, Settings

#: Sizes that go together. Settings given beside a preset win over it.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "small": {"channels": 16, "hidden": 32, "layers": 1},
    "medium": {"channels": 32, "hidden": 64, "layers": 2},
    "large": {"channels": 64, "hidden": 128, "layers": 2},
}
#: Smearing over cutoff, where it is not given: the pair sum has then fallen to 6e-5 at the cutoff.
SMEARING: Final = 0.25


class Network(Settings):
    """The density network: its cutoff, its size and its long range."""

    preset: Literal["small", "medium", "large"] = Field(
        "medium", description="fills in channels, hidden and layers where they are not given"
    )
    cutoff: Length = Field(5.0, description="Å, the longest that any atom may use")
    channels: Count = Field(32, description="functions on the sphere per atom")
    hidden: Count = Field(64, description="width of the networks on the invariants")
    layers: int = Field(2, ge=1, le=3, description="densities; each after the first has messages")
    degree: int = Field(3, ge=1, le=6, description="largest degree of the spherical harmonics")
    radial: Count = Field(8, description="Bessel functions")
    charges: bool = Field(True, description="long-range electrostatics of learned charges")
    smearing: float = Field(
        1.25, gt=0.2, description="Å; shorter waves belong to the pair sum; default: cutoff / 4"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        filled = dict(PRESETS.get(values.get("preset", "medium"), {}))
        if isinstance(values.get("cutoff"), int | float):
            filled["smearing"] = SMEARING * values["cutoff"]
        return {**filled, **values}

    @model_validator(mode="after")
    def _consistent(self) -> Network:
        if self.charges and self.cutoff < 3.0 * self.smearing:
            raise ValueError(
                f"cutoff={self.cutoff} Å is below 3 smearing = {3 * self.smearing:g} Å, where the "
                "pair sum of the electrostatics would be cut: use a smaller smearing"
            )
        return self
