"""Small pieces of HTML: everything that comes from outside is escaped here."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

DASH: Final = "–"
MINUS: Final = "−"
RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def escape(value: object) -> str:
    """Escape text for element content and quoted attributes."""
    return html.escape(str(value), quote=True)


@dataclass(frozen=True)
class Cell:
    """One cell: escaped content, and a class that says how it is set."""

    content: str
    kind: str = ""
    heading: bool = False

    def html(self) -> str:
        """Return the cell's element."""
        tag, scope = ("th", ' scope="row"') if self.heading else ("td", "")
        kind = f' class="{self.kind}"' if self.kind else ""
        return f"<{tag}{scope}{kind}>{self.content}</{tag}>"


@dataclass(frozen=True)
class TableLine:
    """One row of a table, with the data attributes that the filter reads."""

    cells: Sequence[Cell]
    data: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the row's element."""
        data = "".join(f' data-{key}="{escape(value)}"' for key, value in self.data.items())
        return f"<tr{data}>{''.join(cell.html() for cell in self.cells)}</tr>"


def text(value: object, kind: str = "") -> Cell:
    """A cell of text."""
    return Cell(escape(value), kind)


def head(value: object, below: str = "") -> Cell:
    """A cell that names its row, with small print below."""
    small = f"<br><small>{escape(below)}</small>" if below else ""
    return Cell(escape(value) + small, "name", heading=True)


def number(value: str) -> Cell:
    """A cell aligned to the right."""
    return Cell(escape(value), "number")


def estimate(
    value: float | None, ends: Sequence[float] | None, show: Callable[[float], str]
) -> Cell:
    """A number with its interval in small print below."""
    if value is None:
        return number(DASH)
    small = f"<br><small>{escape(span(ends, show))}</small>" if ends else ""
    return Cell(escape(show(value)) + small, "number")


def table(columns: Iterable[str], lines: Iterable[TableLine], label: str) -> str:
    """A table that scrolls sideways on its own; a column that starts with '#' holds numbers."""
    heads = "".join(
        f'<th scope="col" class="number">{escape(name[1:])}</th>'
        if name.startswith("#")
        else f'<th scope="col">{escape(name)}</th>'
        for name in columns
    )
    body = "\n".join(line.html() for line in lines)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">'
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def section(anchor: str, title: str, *content: str) -> str:
    """A section with its heading."""
    inside = "\n".join(part for part in content if part)
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{inside}\n</section>'


# --------------------------------------------------------------------------- numbers


def significant(value: float, digits: int = 4) -> str:
    """Print plain figures; powers of ten only where they cannot be avoided.

    Examples
    --------
    >>> significant(252.4960026), significant(0.0191408), significant(2515.0386)
    ('252.5', '0.01914', '2515')
    >>> significant(0.0000758), significant(0.0), significant(123456.0)
    ('7.580 × 10⁻⁵', '0', '123456')
    """
    if value == 0:
        return "0"
    if abs(value) >= 10.0**digits:
        return signed(f"{value:.0f}")
    mantissa, _, power = f"{value:#.{digits}g}".rstrip(".").partition("e")
    if not power:
        return signed(mantissa)
    return f"{signed(mantissa)} × 10{str(int(power)).translate(RAISED)}"


def ratio(value: float) -> str:
    """Four decimals near one, four significant digits far from it.

    Examples
    --------
    >>> ratio(0.975381), ratio(2515.04)
    ('0.9754', '2515')
    """
    return signed(f"{value:.4f}") if 0.01 <= abs(value) < 100 else significant(value)


def span(ends: Sequence[float] | None, show: Callable[[float], str] = ratio) -> str:
    """Both ends of an interval, or a dash."""
    return DASH if not ends else f"{show(ends[0])} to {show(ends[1])}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share in per cent."""
    return DASH if share is None else signed(f"{100 * share:.{decimals}f} %")


def yes_or_no(value: bool | None) -> str:
    """A plain answer, or a dash where the question makes no sense."""
    return DASH if value is None else ("yes" if value else "no")


def signed(figures: str) -> str:
    """Print a true minus sign."""
    return MINUS + figures[1:] if figures.startswith("-") else figures
