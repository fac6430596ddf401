"""Draw the figure of the first page from the numbers that docs/findings.md states.

    python docs/figures/draw.py

The numbers are read from the page ("Routing where places differ"), so that figure and page agree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "scalewise", "font.family": "sans-serif"}
#: The sentence that states the figures.
SENTENCE = re.compile(
    r"(?P<with>[\d.]+) meV/Å with long range at (?P<longest>[\d.]+) Å, "
    r"(?P<without>[\d.]+) without; "
    r"at (?P<cutoffs>[\d., ]+) Å with long range the error is (?P<ratios>[\d., ]+) of that"
)


class Quoted(NamedTuple):
    """Errors, meV/Å, at cutoffs, Å, with long range, and the one without it at the longest."""

    cutoffs: list[float]
    errors: list[float]
    without: float


def quoted(page: str) -> Quoted:
    """Read the numbers from the page of findings."""
    found = SENTENCE.search(" ".join(page.split()))
    if found is None:
        raise SystemExit("docs/findings.md no longer states the numbers of this figure")
    best, longest = float(found["with"]), float(found["longest"])
    cutoffs = [float(v) for v in found["cutoffs"].split(",")]
    errors = [best * float(v) for v in found["ratios"].split(",")]
    return Quoted([*cutoffs, longest], [*errors, best], float(found["without"]))


def draw(numbers: Quoted) -> Figure:
    """Error against cutoff, with the two answers that it gives."""
    figure = Figure(figsize=(6.8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e3e3e3", linewidth=0.7)
    cutoffs, errors, without = numbers
    axes.plot(cutoffs, errors, "o-", color=BLUE, label="with long range")
    axes.plot(cutoffs[-1:], [without], "s", color=ORANGE, label="without long range")
    axes.annotate(
        "",
        (cutoffs[-1], errors[-1] + 0.5),
        (cutoffs[-1], without - 0.6),
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    saved = 100 * (1 - errors[-1] / without)
    axes.text(
        cutoffs[-1] - 0.08, 0.5 * (without + errors[-1]), f"long range saves {saved:.0f} %",
        ha="right", va="center", color=GREY,
    )  # fmt: skip
    left = 100 * (errors[-2] / errors[-1] - 1)
    axes.annotate(
        f"{cutoffs[-1] - cutoffs[-2]:g} Å more save {left:.0f} %",
        (cutoffs[-2], errors[-2] - 0.4),
        (cutoffs[-2], errors[-2] - 5.0),
        ha="center",
        color=GREY,
        arrowprops={"arrowstyle": "-", "color": GREY},
    )
    axes.set(
        xlabel="cutoff (Å)",
        ylabel="force error, MAE (meV/Å)",
        xlim=(cutoffs[0] - 0.2, cutoffs[-1] + 0.3),
        ylim=(0, 38),
    )
    axes.legend(frameon=False)
    return figure


def main() -> None:
    """Write the figure beside this file."""
    page = (FOLDER.parent / "findings.md").read_text(encoding="utf-8")
    with matplotlib.style.context(["default", STYLE]):
        figure = draw(quoted(page))
        FigureCanvasSVG(figure).print_svg(
            FOLDER / "error-against-cutoff.svg", metadata={"Date": None, "Creator": None}
        )


if __name__ == "__main__":
    main()
