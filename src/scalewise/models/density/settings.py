"""Settings of the network, and the presets of its size."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from scalewise.core.settings import Fraction, Length, Settings

#: Sizes that go together. Settings given beside a preset win over it.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "small": {"channels": 16, "hidden": 32, "layers": 1},
    "medium": {"channels": 32, "hidden": 64, "layers": 2},
    "large": {"channels": 64, "hidden": 128, "layers": 2},
}
#: Smearing over cutoff, where it is not given: the pair sum has then fallen to 6e-5 at the cutoff.
SMEARING: Final = 0.25
#: Bessel functions for each Å, of the network and of the pair potential, where they are not given,
#: and how many there are at least and at most (docs/findings.md).
BESSEL: Final = 3.2
FEWEST_BESSEL: Final = 8
MOST_BESSEL: Final = 64
#: Å from where on nothing is worked out from a length: it is refused.
ABSURD: Final = 1e6
#: Å before the cutoff over which a ladder's neighbors fade, where it is not given.
SWITCH: Final = 0.5
#: Å that the first layer of a ladder sees beyond the shortest cutoff, where it is not given.
BEYOND: Final = 0.5


def _bessel_functions(length: float) -> int:
    """How many Bessel functions there are within a length (Å), from 8 to 64."""
    return min(max(round(BESSEL * length), FEWEST_BESSEL), MOST_BESSEL)


class AdaptiveCutoffSettings(Settings):
    """How an adaptive cutoff chooses the cutoff of every atom."""

    by: Literal["element", "regime", "environment"] = Field(
        "environment",
        description="`element`: one cutoff per element; `regime`: two per element, by whether an "
        "atom of `near` is close; `environment`: a function of what is nearest to each atom",
    )
    near: tuple[str, ...] = Field(
        (),
        description="elements that define the regime: an atom close to one of them may have a "
        "cutoff of its own; needs `by=regime`",
    )
    within: Length | None = Field(
        None,
        description="radius of the neighborhood of the `near` elements, Å; default: the shortest "
        "cutoff",
    )
    hidden: int = Field(
        16,
        ge=1,
        le=16384,
        description="width of the network that maps the environment of an atom to its cutoff",
    )
    start: Fraction = Field(
        0.7,
        description="cutoff at the start of training, as a position on the ladder from 0 "
        "(shortest) to 1 (longest)",
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.by == "regime") != bool(self.near):
            raise ValueError(
                f"by={self.by} and near={list(self.near)} contradict each other: by=regime needs "
                "the elements that make the regime, such as near=[Na,Cl], and nothing else does"
            )
        return self


class ForkSettings(Settings):
    """The one scale of a ladder for which a network is trained further, alone."""

    cutoff: Length = Field(description="cutoff, Å, between the ends of the ladder")
    long_range: bool = Field(
        True, description="include long-range electrostatics, if the ladder has them"
    )


class NetworkSettings(Settings):
    """The density network: its cutoffs, its size and its long-range electrostatics."""

    LATER: ClassVar[frozenset[str]] = frozenset({"fork"})

    preset: Literal["small", "medium", "large"] = Field(
        "medium",
        description="size of the network: sets channels, hidden and layers where they are not "
        "given",
    )
    cutoff: float = Field(
        5.0,
        ge=0.5,
        le=100,
        description="cutoff radius, Å, the longest that any atom may use; default of `train`: 5, "
        "and up to 6.5 if an atom has fewer than 50 neighbors within 5 Å (not for molecules)",
    )
    ladder: tuple[float | Literal["long"], ...] = Field(
        (),
        description="scales to train for, from short to long: cutoffs in Å, of which the last is "
        "`cutoff`, and optionally `long` at the end, to train with and without long-range "
        "electrostatics; empty: one scale",
    )
    channels: int = Field(
        32,
        ge=1,
        le=4096,
        description="feature channels per atom; each one is a function on the sphere",
    )
    hidden: int = Field(
        64, ge=1, le=16384, description="width of the hidden layers that act on the invariants"
    )
    cutoff_width: Length | None = Field(
        None,
        description="width of the smooth cutoff function, Å: the weight of a neighbor falls to "
        "zero over this distance before the cutoff; `null`: over the whole cutoff; default: 0.5 "
        "with a ladder, so that its scales weigh nearer neighbors alike, else `null`",
    )
    first_layer_cutoff: Length | None = Field(
        None,
        description="cutoff of the first of several layers, Å; `null`: that of the other layers; "
        "default: 0.5 more than a ladder's shortest cutoff, else `null`",
    )
    layers: int = Field(
        2,
        ge=1,
        le=3,
        description="number of interaction layers; each one after the first has messages from "
        "neighbors",
    )
    l_max: int = Field(3, ge=1, le=6, description="largest degree of the spherical harmonics")
    num_bessel: int = Field(
        16,
        ge=1,
        le=256,
        description="number of radial Bessel functions; default: 16 for a cutoff of 5 Å, for other "
        "cutoffs in proportion, from 8 to 64",
    )
    radial_smoothness: float = Field(
        1.0,
        ge=0,
        le=4,
        description="exponent p of the factors n^-p of the Bessel functions; with a larger p the "
        "learned functions are smoother in the distance, and training needs more steps",
    )
    pair_baseline: bool = Field(
        True,
        description="add a pair potential, the repulsion of nuclei and a term fitted to the "
        "forces, which the network corrects",
    )
    pair_bessel: int = Field(
        16,
        ge=1,
        le=256,
        description="number of Bessel functions of the pair potential; default: 16 for a shortest "
        "cutoff of 5 Å, for other cutoffs in proportion, from 8 to 64",
    )
    charges: bool = Field(True, description="long-range electrostatics of learned charges")
    smearing: float = Field(
        1.25,
        gt=0.2,
        le=100,
        description="width σ of the Ewald split, Å: charges smeared by σ interact at long range, "
        "the rest of the Coulomb interaction is summed over pairs within the cutoff; default: "
        "cutoff / 4",
    )

    fork: ForkSettings | None = Field(
        None,
        description="the one scale of the ladder that the network was trained for last; `fork` of "
        "train sets it",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _fill(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(values, dict):
            return handler(values)
        made = handler(cls._filled(values))
        # what a preset or a ladder filled in was not given
        object.__setattr__(made, "__pydantic_fields_set__", made.model_fields_set & values.keys())
        return made

    @classmethod
    def _filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        preset = values.get("preset", "medium")
        # another one is refused with the field
        filled = dict(
            PRESETS[preset if isinstance(preset, str) and preset in PRESETS else "medium"]
        )
        ladder, rungs = values.get("ladder"), list[float]()
        if isinstance(ladder, list | tuple) and ladder:
            rungs = [v for v in ladder if isinstance(v, int | float) and abs(v) < ABSURD]
            filled["cutoff_width"] = SWITCH
            values = {"charges": "long" in ladder, **values}
            if rungs:
                values = {"cutoff": float(rungs[-1]), **values}
                if values.get("layers", filled["layers"]) != 1:
                    filled["first_layer_cutoff"] = min(rungs[0] + BEYOND, float(rungs[-1]))
        cutoff = values.get("cutoff")
        if isinstance(cutoff, int | float) and abs(cutoff) < ABSURD:
            filled["smearing"] = SMEARING * cutoff
            shortest = min([cutoff, *rungs])
            filled["num_bessel"] = _bessel_functions(cutoff)
            filled["pair_bessel"] = _bessel_functions(shortest)
        return {**filled, **values}

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSettings:
        if self.ladder:
            self._check_ladder()
        if self.fork is not None:
            self._check_fork(self.fork)
        if self.cutoff_width is not None and self.cutoff_width > self.shortest_cutoff:
            raise ValueError(
                f"cutoff_width={self.cutoff_width:g} Å is longer than the shortest cutoff, "
                f"{self.shortest_cutoff:g} Å: give a shorter one"
            )
        if self.first_layer_cutoff is not None and self.layers == 1:
            raise ValueError(
                f"first_layer_cutoff={self.first_layer_cutoff:g} Å is for the first of several "
                "layers, but layers=1: leave first_layer_cutoff out, or set layers=2"
            )
        if self.first_layer_cutoff is not None and self.first_layer_cutoff > self.cutoff:
            raise ValueError(
                f"first_layer_cutoff={self.first_layer_cutoff:g} Å is longer than the cutoff, "
                f"{self.cutoff:g} Å: leave it out"
            )
        if (
            self.cutoff_width is not None
            and self.first_layer_cutoff is not None
            and self.cutoff_width > self.first_layer_cutoff
        ):
            raise ValueError(
                f"cutoff_width={self.cutoff_width:g} Å is longer than "
                f"first_layer_cutoff={self.first_layer_cutoff:g} Å"
            )
        if self.charges and self.cutoff < 3.0 * self.smearing:
            raise ValueError(
                f"cutoff={self.cutoff} Å is below 3 smearing = {3 * self.smearing:g} Å, where the "
                "pair sum of the electrostatics would be cut: use a smaller smearing"
            )
        return self

    def _check_ladder(self) -> None:
        shown = ",".join(str(v) for v in self.ladder)
        rungs = self.cutoffs
        if len(rungs) < 2 or "long" in self.ladder[:-1]:
            raise ValueError(
                f"ladder={shown} needs two cutoffs (Å) at least, and `long` at its end if at all, "
                "such as 3,6.5,long"
            )
        if sorted(set(rungs)) != list(rungs) or rungs[0] < 0.5:
            raise ValueError(f"ladder={shown} must rise from rung to rung, from 0.5 Å at least")
        if rungs[-1] != self.cutoff:
            raise ValueError(f"ladder={shown} must end at cutoff={self.cutoff:g}: leave cutoff out")
        if self.charges != ("long" in self.ladder):
            raise ValueError(
                f"ladder={shown} and charges={self.charges} contradict each other: `long` at the "
                "end of the ladder is what turns charges on"
            )

    def _check_fork(self, fork: ForkSettings) -> None:
        if not self.ladder:
            raise ValueError("fork: a network without a ladder has one scale already")
        if not self.shortest_cutoff <= fork.cutoff <= self.cutoff:
            raise ValueError(
                f"fork.cutoff={fork.cutoff:g} Å is not on the ladder, from "
                f"{self.shortest_cutoff:g} to {self.cutoff:g} Å"
            )

    def forked(self, fork: ForkSettings) -> NetworkSettings:
        """Return settings of the same network for training at one scale of its ladder alone.

        Raises
        ------
        ValidationError
            Settings without a ladder; a cutoff outside the range of the ladder.
        """
        return NetworkSettings.model_validate(
            {**self.model_dump(exclude_unset=True), "fork": fork.model_dump()}
        )

    @property
    def own_scale(self) -> tuple[float, bool]:
        """Default cutoff of all atoms (Å), and whether it includes long-range electrostatics."""
        if self.fork is None:
            return self.cutoff, self.charges
        return self.fork.cutoff, self.charges and self.fork.long_range

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoffs of the ladder, Å; without a ladder the single cutoff."""
        return tuple(v for v in self.ladder if v != "long") or (self.cutoff,)

    @property
    def shortest_cutoff(self) -> float:
        """The shortest cutoff that the network is trained for, Å."""
        return self.cutoffs[0]

    @property
    def long_range_optional(self) -> bool:
        """Whether the network is trained with and without long range."""
        return "long" in self.ladder
