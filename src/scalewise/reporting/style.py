"""Style of figures, and saving them: without global state, and with reproducible files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from scalewise.core.files import replacing
from scalewise.reporting.names import LossUnit

WIDTH: Final = 7.0
DPI: Final = 160
#: Okabe and Ito's palette without its yellow, which vanishes on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: Final = ("-", "--", ":", "-.")
MARKERS: Final = "osD^vP*"
GREY: Final = "#666666"
#: Largest over smallest value from which an axis is logarithmic.
LOG_FROM: Final = 12.0
#: Ticks of the usual kind that a logarithmic axis must show, before it gets others.
FEWEST_TICKS: Final = 2

#: Said where labels leave no room for what they label: it is drawn all the same.
_CROWDED: Final = "constrained_layout not applied"

_STYLE: Final[dict[str, Any]] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "text.parse_math": False,
    "svg.hashsalt": "scalewise",
    "svg.fonttype": "path",
}
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style whatever the user's matplotlibrc says; undone at the end."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        for odd in ("Glyph .* missing from", ".* does not support .* natively", _CROWDED):
            warnings.filterwarnings("ignore", message=odd)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure of its own, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG, each whole or not at all."""
    paths = []
    for suffix, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        with replacing(path) as temporary:
            figure.savefig(temporary, format=suffix, dpi=DPI, metadata=metadata)
        paths.append(path)
    return paths


def colour(k: int) -> str:
    """The k-th colour, starting over when they run out."""
    return COLOURS[k % len(COLOURS)]


def dash(k: int) -> str:
    """A line style that changes each time the colours start over."""
    return DASHES[k // len(COLOURS) % len(DASHES)]


def needs_log(values: Sequence[float]) -> bool:
    """Whether values differ so much that only a logarithmic axis shows all of them."""
    return len(values) > 1 and min(values) > 0 and max(values) > LOG_FROM * min(values)


def logarithmic(axis: Axis) -> None:
    """Label the decades of a logarithmic axis in plain figures."""
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def few_decades(axis: Axis) -> None:
    """Label a logarithmic axis in plain figures where it spans less than a decade or two."""
    logarithmic(axis)
    low, high = axis.get_view_interval()
    ticks = [v * 10.0**d for d in range(-6, 9) for v in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    inside = [t for t in ticks if low <= t <= high]
    if len(inside) < FEWEST_TICKS:  # less than a third of a decade
        inside = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    axis.set_major_locator(FixedLocator(inside))
    axis.set_minor_locator(NullLocator())


def legend_below(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend below all panels; what several panels show is named once, plain lines last."""
    found: list[tuple[str, Any]] = []
    for ax in axes:
        known = {label for label, _ in found}
        handles, labels = ax.get_legend_handles_labels()
        found += [(la, h) for h, la in zip(handles, labels, strict=True) if la not in known]
    found.sort(key=lambda item: isinstance(item[1], Line2D))
    columns = max(1, min(len(found), 4, 68 // (max((len(la) for la, _ in found), default=0) + 6)))
    labels, handles = [la for la, _ in found], [h for _, h in found]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def second_unit(ax: Axes, unit: LossUnit) -> None:
    """Show kJ/mol/nm on the right of an axis in meV/Å; call it once the scale is set."""
    factor = unit.to_other(1.0) / unit.to_main(1.0)

    def there(values: Any) -> Any:
        return values * factor

    def back(values: Any) -> Any:
        return values / factor

    right = ax.secondary_yaxis("right", functions=(there, back))
    right.set_ylabel(f"{unit.quantity} ({unit.other})")
    right.spines["right"].set_visible(True)
    if ax.get_yscale() == "log":
        logarithmic(right.yaxis)
