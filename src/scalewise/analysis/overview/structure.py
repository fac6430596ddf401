"""A frame in 3D for the page of a project, each atom coloured by the cutoff that it needs.

The viewer is chemiscope's (G. Fraux, R. Cersonsky and M. Ceriotti, J. Open Source Softw. 5 (2020)
2117), whose script is part of its package; without that package the page has the table alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols

from scalewise.analysis.overview.answer import reports_of
from scalewise.analysis.overview.collect import Run
from scalewise.core.wording import count
from scalewise.reporting.markup import TableLine, escape, head, number, table

#: Where the package of the viewer has its script, and the licences of what else is in it.
SCRIPT: Final = ("sphinx", "static", "chemiscope.min.js")
LICENCES: Final = ("static", "chemiscope-widget.mjs.LICENSE.txt")
#: Its own licence, which goes where the script goes, beside what describes the package.
LICENCE: Final = "licenses/LICENSE"
#: Places of the page that the viewer fills.
PLACES: Final = {"structure": "viewer", "info": "viewer-info", "meta": "viewer-meta"}
PALETTE: Final = "viridis"
START: Final = """
const root = document.documentElement, place = document.getElementById("viewer");
const failed = (error) => {
  root.dataset.viewer = "failed";
  place.textContent = `This browser cannot draw it (${error}). The table has the numbers.`;
};
try {
  const warnings = new Chemiscope.Warnings();
  warnings.addHandler(() => {});
  Chemiscope.StructureVisualizer.load(PLACES, DATA, warnings)
    .then(() => { root.dataset.viewer = "drawn"; }, failed);
} catch (error) { failed(error); }
"""


def viewer_script() -> str | None:
    """The script of the viewer; none where its package is not installed."""
    found = find_spec("chemiscope")
    for place in (found.submodule_search_locations or ()) if found else ():
        file = Path(place).joinpath(*SCRIPT)
        if file.is_file():
            licences = Path(place).joinpath(*LICENCES)
            notice = licences.read_text(encoding="utf-8") if licences.is_file() else ""
            lines = [*(distribution("chemiscope").read_text(LICENCE) or "").splitlines()]
            lines += notice.splitlines()
            text = "\n".join([*(f"// {line}" for line in lines), file.read_text(encoding="utf-8")])
            # it would end the element that it is in
            return text.replace("</script", "<\\/script")
    return None


def frame_of(runs: Sequence[Run]) -> Mapping[str, Any] | None:
    """The frame of the last curve that has one."""
    frames = (report.results["frame"] for report in reports_of(runs, "curve"))
    return next((f for f in [*frames][::-1] if f is not None), None)


def show_frame(frame: Mapping[str, Any], viewer: str | None) -> tuple[str, str]:
    """Markup of a frame, and the script that draws it.

    Parameters
    ----------
    frame
        Section ``frame`` of curve.json.
    viewer
        The viewer's script; none: nothing is drawn, and the markup says what is missing.
    """
    atoms = count(len(frame["atomic_numbers"]), "atom")
    said = (
        f"Frame {frame['number']} of the data, {atoms}, is the one of median error. The cutoff "
        "of an atom is the shortest from which on its force is that of the longest scale, within "
        f"{frame['tolerance']:.3g} meV/Å, the mean length of this scale's errors."
    )
    found = f"<p>{escape(said)}</p>"
    hidden = "".join(f'<div id="{PLACES[name]}" hidden></div>' for name in ("info", "meta"))
    if viewer is None:
        found += "<p>To draw it here, install the extra: pip install 'scalewise[page]'.</p>"
    else:
        found += (
            '<div id="viewer" role="img" aria-label="The frame in 3D; the table below has its '
            f'numbers"></div>{hidden}<p class="soft">Drag to turn, scroll to zoom.</p>'
        )
    found += _table(frame)
    if viewer is None:
        return found, ""
    words = {"PLACES": PLACES, "DATA": dataset(frame)}
    start = START
    for name, value in words.items():
        start = start.replace(name, json.dumps(value, ensure_ascii=True).replace("</", "<\\/"))
    return found, f"{viewer}\n{start}"


def dataset(frame: Mapping[str, Any]) -> dict[str, Any]:
    """The frame as chemiscope's viewer takes it."""
    numbers, cutoffs = frame["atomic_numbers"], frame["cutoffs"]
    x, y, z = np.array(frame["positions"], dtype=float).reshape(-1, 3).T.tolist()
    structure: dict[str, Any] = {"size": len(numbers), "x": x, "y": y, "z": z}
    structure["names"] = [chemical_symbols[k] for k in numbers]
    if any(frame["pbc"]):
        structure["cell"] = np.array(frame["cell"], dtype=float).ravel().tolist()
    low, high = frame["range"]
    high = max(high, low + 0.1)  # one colour alone is no scale of colours
    colours = {"property": "cutoff", "palette": PALETTE, "min": low, "max": high}
    return {
        "meta": {"name": f"frame {frame['number']}"},
        "structures": [structure],
        "environments": [
            {"structure": 0, "center": k, "cutoff": cutoff} for k, cutoff in enumerate(cutoffs)
        ],
        "properties": {"cutoff": {"target": "atom", "units": "Å", "values": cutoffs}},
        "settings": {
            "target": "structure",
            "structure": [{"unitCell": any(frame["pbc"]), "bonds": True, "color": colours}],
        },
    }


def _table(frame: Mapping[str, Any]) -> str:
    """How many atoms of each element need each cutoff."""
    numbers, cutoffs = np.array(frame["atomic_numbers"]), np.array(frame["cutoffs"])
    kinds, lengths = np.unique(numbers).tolist(), np.unique(cutoffs).tolist()
    lines = [
        TableLine(
            (
                head(f"{length:.3g} Å"),
                *(number(str(int(np.sum((numbers == z) & (cutoffs == length))))) for z in kinds),
            )
        )
        for length in lengths
    ]
    columns = ("Cutoff", *(f"#{chemical_symbols[z]}" for z in kinds))
    return table(columns, lines, "Atoms by the cutoff that they need")
