"""Bars of gains, now and at the end of training, which several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from scalewise.reporting.style import GREY, colour

SHADES: Final = {"needed": colour(1), "not needed": colour(0), "cannot tell": GREY}

#: A name; what is known at this budget; what is known of the system, whose answer is written.
Row = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def draw_gains(ax: Axes, rows: Sequence[Row], min_gain: float) -> None:
    """Draw a bar for each row, from the top: thick now, thin at the end of training.

    Parameters
    ----------
    ax
        Where to draw.
    rows
        With ``gain``, ``low`` and ``high`` as shares, and ``answer`` of the second. Rows without a
        gain are left out.
    min_gain
        The gain that pays.
    """
    known = [row for row in rows if row[1]["gain"] is not None][::-1]
    for y, (_, now, system) in enumerate(known):
        shade = SHADES[system["answer"]]
        for part, width in ((system, 1.2), (now, 4.0)):
            ends = np.clip(100 * np.array([part["low"], part["high"]]), -100.0, 100.0)
            ax.plot(ends, [y, y], color=shade, lw=width, solid_capstyle="round")
        ax.plot(100 * now["gain"], y, "o", color=shade, mec="white", ms=7)
        ax.annotate(
            system["answer"],
            (100 * now["gain"], y),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=shade,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    pays = 100 * min_gain
    ax.axvline(0.0, color="black", lw=0.8)
    ax.axvline(pays, color="black", lw=0.8, ls=":")
    ax.set_yticks(range(len(known)), [name for name, _, _ in known])
    ax.set_ylim(-0.6, len(known) - 0.3)
    ax.set_xlabel(f"error saved (%)\ndotted: {pays:g} % pays; thin: at the end")
