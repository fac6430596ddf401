"""The page of a project: its verdict, the figure that it rests on, the next step, the evidence."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from scalewise.analysis.learning import Learning, describe, history_of, sentence
from scalewise.analysis.overview.answer import carrying, next_steps, origin, verdict
from scalewise.analysis.overview.collect import Run, collect
from scalewise.analysis.overview.structure import frame_of, show_frame, viewer_script
from scalewise.core.errors import InputError
from scalewise.core.files import check_new_file, write_text
from scalewise.reporting.markup import TableLine, escape, head, number, table, text
from scalewise.reporting.page import POLICY, VIEWER_POLICY, page, picture
from scalewise.reporting.report import Report
from scalewise.reporting.style import colour, few_decades, legend_below, new_figure, styled

TITLE: Final = "Which length scale does this system need?"
HEADINGS: Final = {
    "doctor": "The data",
    "locality": "What no model of a given range can do",
    "curve": "Error against cutoff",
    "forks": "Each scale alone",
    "prove": "What would help",
    "refine": "Fewer and cheaper scales",
    "evaluation": "Errors",
    "distillation": "Two time steps",
    "simulation": "A simulation",
    "trust": "How far it can be trusted",
    "study": "Choosing between scales",
}
#: Of a run's validations: the end of a column's name in the log, and what is drawn.
ERRORS: Final = {
    "forces_mae": "longest scale",
    "forces_mae_middle": "middle of the ladder",
    "forces_mae_shortest": "shortest scale",
}


def write_overview(paths: Sequence[Path], out: Path) -> list[Run]:
    """Join what is in folders of runs into one page.

    Parameters
    ----------
    paths
        Folders that commands wrote, and documents.
    out
        The page; it is whole or, should writing fail, as it was before.

    Returns
    -------
    list of Run
        What was found.

    Raises
    ------
    InputError
        As :func:`scalewise.analysis.overview.collect.collect`; a file that cannot be written, that
        another program wrote, or whose name is not that of a page.
    """
    check_new_file(out, ".html", ".htm")
    _check_own(out)
    runs = collect(paths)
    with styled():
        write_text(out, markup(runs))
    return runs


def _check_own(path: Path) -> None:
    """Refuse to replace a page that this program did not write: its own have its name on top."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as stream:
        if b"<title>scalewise: " in stream.read(1 << 16):
            return
    found, remedy = "a file that scalewise did not write", "Give another name, or move the file."
    raise InputError(str(path), found, remedy)


def markup(runs: Sequence[Run]) -> str:
    """The page of some runs."""
    first, *more = verdict(runs)
    lines = "".join(f"<p>{escape(line)}</p>" for line in more)
    answer = f"<p><strong>{escape(first)}</strong></p>{lines}"
    carries = carrying(runs)
    if said := origin(runs):
        answer += f"<p><small>{escape(' '.join(said))}</small></p>"
    steps = "".join(f"<li>{escape(step)}</li>" for step in next_steps(runs))
    frame = frame_of(runs)
    shown, script = ("", "") if frame is None else show_frame(frame, viewer_script())
    parts = {
        "figure": ("The figure behind the answer", "" if carries is None else _first(carries)),
        "next": ("What to do next", f"<ol>{steps}</ol>" if steps else ""),
        "beside": ("Side by side", _beside(runs)),
        "frame": ("Where each cutoff is needed", shown),
    }
    for r, run in enumerate(runs):
        many = f" ({run.name})" if len(runs) > 1 else ""
        if run.info is not None:
            parts[f"training-{r}"] = (f"The training{many}", _training(run, f"training-{r}"))
        for report in run.reports:
            anchor = f"{report.kind}-{r}"
            parts[anchor] = (HEADINGS[report.kind] + many, _evidence(report, anchor, carries))
    return page(TITLE, answer, parts, script=script, policy=VIEWER_POLICY if script else POLICY)


def _first(report: Report) -> str:
    """The first figure of a report."""
    for name, figure in report.figures().items():
        return _drawn(figure, f"carrying-{name}", HEADINGS[report.kind])
    return ""


def _drawn(figure: Figure, stem: str, title: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    alternative = title
    return picture(
        stream.getvalue(), ".svg", stem=stem, title=title, alternative=alternative, caption=""
    )


def _evidence(report: Report, anchor: str, carries: Report | None) -> str:
    """Figures, the table, warnings, and settings in small print."""
    drawn = report.figures()
    if report is carries:  # on top already
        drawn.pop(next(iter(drawn), ""), None)
    figures = [
        _drawn(figure, f"{anchor}-{name}", f"{HEADINGS[report.kind]}: {name}" if k else "")
        for k, (name, figure) in enumerate(drawn.items())
    ]
    settings = json.dumps(dict(report.settings), indent=2, ensure_ascii=False)
    return "\n".join(
        [
            *figures,
            f'<pre tabindex="0">{escape(report.table().strip())}</pre>',
            f"<details><summary>Settings</summary><pre>{escape(settings)}</pre></details>",
        ]
    )


def _training(run: Run, anchor: str) -> str:
    """How the error of a potential fell."""
    info: Mapping[str, Any] = run.info or {}
    history = history_of(info)
    said = sentence(describe(Learning.of(info)))
    found = f"<p>{escape(said)}</p>"
    if len(history.get("step", ())) > 1:
        found += _drawn(_falling(history), anchor, "Error on validation frames")
    valid = info.get("valid")
    if isinstance(valid, Mapping) and valid:
        units = {"forces_mae": "meV/Å", "energy_mae": "meV/atom", "stress_mae": "meV/Å³"}
        lines = [
            TableLine((head(name.replace("_mae", ", MAE")), number(f"{valid[name]:.4g} {unit}")))
            for name, unit in units.items()
            if isinstance(valid.get(name), float | int)
        ]
        found += table(("What", "#On validation frames"), lines, "Errors on validation frames")
    return found


def _falling(history: Mapping[str, Any]) -> Figure:
    figure = new_figure(3.2)
    axes = figure.subplots()
    for k, (column, label) in enumerate(ERRORS.items()):
        if column in history:
            axes.plot(history["step"], history[column], "o-", color=colour(k), ms=3.5, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    few_decades(axes.xaxis)
    few_decades(axes.yaxis)
    axes.set_xlabel("steps")
    axes.set_ylabel("force MAE (meV/Å)")
    legend_below(figure, [axes])
    return figure


def _beside(runs: Sequence[Run]) -> str:
    """Errors of the same scales in several runs; empty where no kind of document is in two."""
    found = ""
    for kind in ("forks", "curve"):
        each = [(run.name, r) for run in runs for r in run.reports if r.kind == kind]
        if len(each) < 2:
            continue
        scales = sorted({(s["long"], s["cutoff"]) for _, r in each for s in _scales(r)})
        lines = [
            TableLine(
                (
                    head(f"{cutoff:g} Å" + " + long" * long),
                    *(number(_error(r, cutoff, long=long)) for _, r in each),
                    *(text(_system(r, cutoff, long=long), "word") for _, r in each),
                )
            )
            for long, cutoff in scales
        ]
        names = [name for name, _ in each]
        columns = (
            "Scale",
            *(f"#{n}: MAE, meV/Å" for n in names),
            *(f"{n}: is the longest needed?" for n in names),
        )
        found += f"<h3>{escape(HEADINGS[kind])}</h3>" + table(columns, lines, HEADINGS[kind])
    return found


def _scales(report: Report) -> list[Mapping[str, Any]]:
    return [s for s in report.results["scales"] if not s.get("single")]


def _row(report: Report, cutoff: float, *, long: bool) -> Mapping[str, Any] | None:
    results = report.results
    for scale, row in zip(results["scales"], results["subsets"][0]["scales"], strict=True):
        if not scale.get("single") and (scale["cutoff"], scale["long"]) == (cutoff, long):
            found: Mapping[str, Any] = row
            return found
    return None


def _error(report: Report, cutoff: float, *, long: bool) -> str:
    row = _row(report, cutoff, long=long)
    return "–" if row is None else f"{row['mae']:.3g}"


def _system(report: Report, cutoff: float, *, long: bool) -> str:
    row, results = _row(report, cutoff, long=long), report.results
    longest = results["scales"][results["subsets"][0].get("reference", results.get("reference"))]
    if row is None or (longest["cutoff"], longest["long"]) == (cutoff, long):
        return "–"
    return str(row["system"]["answer"])
