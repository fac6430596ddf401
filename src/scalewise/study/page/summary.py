"""The answer in plain words, and the verdicts in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scalewise.reporting.markup import (
    Cell,
    TableLine,
    escape,
    estimate,
    head,
    number,
    percent,
    ratio,
    signed,
    significant,
    table,
    text,
)
from scalewise.reporting.names import regime_name
from scalewise.study.page.names import VIEWS, Results, loss_unit, noise_floor, select, views

PLAIN: Final = {
    "needed": "choosing a scale per atom is needed",
    "not needed": "choosing a scale per atom is not needed",
    "cannot tell": "these data cannot tell whether choosing a scale per atom is needed",
}


def answer(results: Results) -> str:
    """One paragraph per view."""
    parts = [
        _answer(results, view, verdicts)
        for view, verdicts in (results.get("verdict") or {}).items()
        if verdicts
    ]
    return "\n".join(parts) or "<p>This study holds no verdict.</p>"


def _answer(results: Results, view: str, verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    name = "all" if "all" in verdicts else next(iter(verdicts))
    main = verdicts[name]
    about = f" ({VIEWS[view]})" if view in VIEWS else ""
    where = "" if name == "all" else f" in {regime_name(name)}"
    sentence = PLAIN.get(main["answer"], main["answer"])
    return (
        f"<p><strong>View {escape(view)}{escape(about)}: "
        f'<span class="{_kind(main["answer"])}">{escape(sentence + where)}.</span></strong> '
        f"{escape(_sentence(main['reason']))} {escape(_others(name, verdicts))}"
        f"{escape(_errors(results, view, name))}</p>"
    )


def _kind(given: str) -> str:
    return escape(given.replace(" ", "-"))


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _others(name: str, verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which other regimes get another answer."""
    others = {regime: v["answer"] for regime, v in verdicts.items() if regime != name}
    if not others:
        return ""
    differ: dict[str, list[str]] = {}
    for regime, given in others.items():
        if given != verdicts[name]["answer"]:
            differ.setdefault(given, []).append(regime_name(regime))
    if not differ:
        if len(others) == 1:
            return "The same holds in the other regime. "
        return f"The same holds in each of the {len(others)} other regimes. "
    listed = "; ".join(f"{given} in {', '.join(regimes)}" for given, regimes in differ.items())
    return f"Other regimes differ: {listed}. "


def _errors(results: Results, view: str, regime: str) -> str:
    """Best branch and noise floor, in one sentence."""
    rows = select(results, view).get(regime) or {}
    single, floor = rows.get("best_single"), noise_floor(results, view, regime)
    if single is None:
        return ""
    unit = loss_unit(results)
    text = (
        f"The best single branch has {unit.quantity} {significant(unit.to_main(single['mae']))} "
        f"{unit.main}"
    )
    if floor is None:
        return f"{text}."
    return (
        f"{text}; the noise floor is {significant(unit.to_main(floor['mae']))} {unit.main} "
        f"({floor['source']})."
    )


def verdict_table(results: Results) -> str:
    """Answer, reason and size for every view and regime."""
    verdicts = results.get("verdict") or {}
    lines = [
        TableLine(
            (
                head(view),
                text(regime_name(regime), "word"),
                text(found["answer"], f"word {_kind(found['answer'])}"),
                text(found["reason"], "prose"),
                estimate(found.get("ratio_to_fixed"), found.get("interval"), ratio),
                _correlation(results, view, regime),
                number(str(found.get("n", ""))),
            )
        )
        for view in (views(results) or verdicts)
        for regime, found in (verdicts.get(view) or {}).items()
    ]
    if not lines:
        return ""
    return (
        "<p>Judged is the label-free selector that tuning data prefer, by its loss over that of "
        "the best fixed scale on test atoms; in small print stand 95 % intervals. The error "
        "correlation is that of the first branch with the last: near one, there is little to "
        "choose between.</p>"
        + table(
            ("View", "Regime", "Answer", "Reason", "#Selector / fixed", "#Error correlation", "#n"),
            lines,
            "Verdicts",
        )
        + _chosen(results)
    )


def _correlation(results: Results, view: str, regime: str) -> Cell:
    section = ((results.get("views") or {}).get(view) or {}).get("complementarity") or {}
    found = (section.get("correlation") or {}).get(regime) or {}
    return estimate(found.get("estimate"), found.get("interval"), lambda r: signed(f"{r:.3f}"))


def _chosen(results: Results) -> str:
    """Which selector each view judged, and at which scale the fixed one stands."""
    parts = []
    for view in views(results):
        selectors = ((results.get("views") or {}).get(view) or {}).get("selectors")
        if selectors:
            share = percent(selectors.get("learned_share"), 0)
            parts.append(
                f"{view}: {selectors['chosen']} selector, best fixed scale "
                f"{selectors['fixed_scale']:.3g}, learned selector used at {share} of its strength"
            )
    return f'<p class="soft">{escape("; ".join(parts))}.</p>' if parts else ""
