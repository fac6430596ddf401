"""What the report calls things: methods, regimes, views, units; and where to find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scalewise.quantities import to_kj_per_mol_nm, to_mev_per_angstrom

Results = Mapping[str, Any]
Row = Mapping[str, Any]

#: The view in which the paper's figures have a counterpart, as we read it.
PAPER_VIEW: Final = "ions"
ROUTERS: Final = {
    "fixed_router": "fixed router",
    "regime_router": "regime router",
    "learned_router": "learned router",
}
PEEKING: Final = {
    "hard_oracle": "hard oracle",
    "pool_oracle": "pool oracle",
    "continuous_oracle": "continuous oracle",
}
TWO_REPLICATE: Final = "two_replicate_oracle"
ORACLES: Final = {**PEEKING, TWO_REPLICATE: "two-replicate oracle"}
AVERAGE: Final = "average"
OTHERS: Final = {"best_single": "best single branch", AVERAGE: "average of all branches"}
METHODS: Final = {**OTHERS, **ROUTERS, **ORACLES}
VIEWS: Final = {
    "ions": "branches see the ions alone, water is noise",
    "explicit": "branches see every atom",
    "predictions": "the files given",
}


def method_name(method: str) -> str:
    """Spell out a method; a branch keeps the name its owner gave it."""
    return METHODS.get(method, method)


def regime_name(regime: str) -> str:
    """Print `close_contact` as two words."""
    return regime.replace("_", " ")


def shorten(text: str, most: int = 22) -> str:
    """Cut a long name in its middle.

    Examples
    --------
    >>> shorten("a_very_long_model_name_v2", 12)
    'a_very…me_v2'
    """
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


@dataclass(frozen=True)
class LossUnit:
    """The unit of every loss in a study: a force, or its square."""

    power: int

    @property
    def quantity(self) -> str:
        """Name of the mean loss."""
        return "MAE" if self.power == 1 else "MSE"

    @property
    def main(self) -> str:
        """Unit of the first axis or column."""
        return "meV/Å" if self.power == 1 else "(meV/Å)²"

    @property
    def other(self) -> str:
        """Unit of the second axis or column."""
        return "kJ/mol/nm" if self.power == 1 else "(kJ/mol/nm)²"

    def to_main(self, loss: float) -> float:
        """Convert from eV/Å, or its square."""
        return loss * to_mev_per_angstrom(1.0) ** self.power

    def to_other(self, loss: float) -> float:
        """Convert from eV/Å, or its square."""
        return loss * to_kj_per_mol_nm(1.0) ** self.power


def loss_unit(results: Results) -> LossUnit:
    """Tell whether the losses are absolute or squared errors."""
    squared = any("²" in str(row.get("unit", "")) for row in results.get("rows", ()))
    return LossUnit(2 if squared else 1)


def views(results: Results) -> list[str]:
    """All views, in the order of the study."""
    return list(results.get("views") or results.get("verdict") or ())


def branch_names(results: Results, view: str) -> list[str]:
    """Names of the branches of a view, in order of their scale."""
    section = (results.get("views") or {}).get(view) or {}
    return [str(branch["name"]) for branch in section.get("branches", ())]


def select(results: Results, view: str, unit: str = "ion") -> dict[str, dict[str, Row]]:
    """Rows of one view and unit of choice, by regime and method."""
    found: dict[str, dict[str, Row]] = {}
    for row in results.get("rows", ()):
        if row["view"] == view and row["unit_of_choice"] == unit:
            found.setdefault(row["regime"], {})[row["method"]] = row
    return found


def noise_floor(results: Results, view: str, regime: str = "all") -> Mapping[str, Any] | None:
    """Noise floor of a regime, where the study knows one."""
    return ((results.get("noise_floor") or {}).get(view) or {}).get(regime)


def paper_ratios(results: Results) -> dict[tuple[str, str], float]:
    """The paper's loss over its baseline, by regime and oracle."""
    paper = results.get("paper") or {}
    pairs = {("all", oracle): (oracle, "baseline") for oracle in PEEKING}
    pairs["close_contact", "continuous_oracle"] = (
        "close_contact_continuous_oracle",
        "close_contact_baseline",
    )
    return {
        key: paper[value] / paper[base]
        for key, (value, base) in pairs.items()
        if value in paper and paper.get(base)
    }
