"""Names of methods, regimes, views and units in the report, and where they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scalewise.reporting.names import LossUnit

Results = Mapping[str, Any]
Row = Mapping[str, Any]

#: The view in which the paper's figures have a counterpart, as we read it.
PAPER_VIEW: Final = "ions"
SELECTORS: Final = {
    "fixed_selector": "fixed selector",
    "regime_selector": "regime selector",
    "learned_selector": "learned selector",
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
METHODS: Final = {**OTHERS, **SELECTORS, **ORACLES}
VIEWS: Final = {
    "ions": "branches see the ions alone, water is noise",
    "explicit": "branches see every atom",
    "predictions": "the files given",
}


def method_name(method: str) -> str:
    """Spell out a method; a branch keeps the name its owner gave it."""
    return METHODS.get(method, method)


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
