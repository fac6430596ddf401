"""The documents of a project as one page."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from document_samples import HISTORY, curve
from report_samples import LEARNING, forks
from scalewise.analysis.overview import answer, structure
from scalewise.analysis.overview.answer import carrying, next_steps, verdict
from scalewise.analysis.overview.collect import Run, collect
from scalewise.analysis.overview.page import markup, write_overview
from scalewise.analysis.overview.structure import dataset, show_frame, viewer_script
from scalewise.cli import app
from scalewise.core.errors import InputError
from scalewise.models import checkpoint
from scalewise.reporting.report import Report
from scalewise.reporting.style import styled
from support import untrained


def test_the_verdict_names_what_is_needed_and_hides_no_element() -> None:
    first, *more = verdict([Run("fork", (forks(),))])
    assert first == (
        "From 4.5 Å on, no longer cutoff saves 3 %; more than 3 Å is needed; long range is needed."
    )
    assert any(line.startswith("Na: more than 4.5 Å is needed") for line in more)
    assert not any(line.startswith("O:") for line in more)
    assert any("The training has converged" in line for line in more)


def test_what_is_not_known_is_said_with_what_would_settle_it() -> None:
    reason = "the network is still learning: a training 4 times as long would settle it"
    open_ = forks(
        ("needed", "cannot tell", "not needed", "needed"),
        enough=6.0,
        learning=LEARNING,
        reason=reason,
    )
    runs = [Run("fork", (open_,))]
    assert f"whether 4.5 Å is enough is not known ({reason})" in verdict(runs)[0]
    assert any("lowered its error by 26 %" in line for line in verdict(runs))
    assert f"Train longer: {reason}." in next_steps(runs)
    endless = (
        "the network is still learning: no training up to 256 times as long is sure to settle it"
    )
    never = forks(("needed", "cannot tell"), enough=6.0, learning=LEARNING, reason=endless)
    assert f"Train longer and ask again: {endless}." in next_steps([Run("fork", (never,))])
    assert "Train for 4.5 Å alone: scalewise train DATA network.cutoff=4.5." in next_steps(
        [Run("fork", (forks(),))]
    )


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            ("cannot tell", "cannot tell"),
            "Whether 3 Å is enough is not known (it is still learning); whether long range is "
            "needed is not known (it is still learning).",
        ),
        (
            ("needed", "not needed"),
            "More than 3 Å is needed; long range is not needed.",
        ),
        (
            ("not needed", "needed"),
            "From 3 Å on, no longer cutoff saves 5 %; long range is needed.",
        ),
    ],
)
def test_a_proof_answers_what_range_is_needed(answers: tuple[str, str], said: str) -> None:
    runs = [Run("curve", (curved(),)), Run("prove", (proof(*answers),))]
    first, *more = verdict(runs)
    assert first == said  # a curve compares scales of one ladder, and knows less
    assert any(line.startswith("Na: more than 3 Å is needed") for line in more) == (
        answers[0] != "needed"
    )
    assert "Of what was tried, a longer cutoff saves most." in more
    assert not any("scalewise fork" in step for step in next_steps(runs))
    # forks that were asked for answer it better
    fork = Run("fork", (forks(),))
    assert verdict([fork, *runs])[0] == verdict([fork])[0]


def curved() -> Report:
    """A curve that nobody is to read."""
    return Report("curve", {}, {}, {}, {})


def proof(cutoff: str, long: str) -> Report:
    """At 3 and 4 Å with long range, and 4 Å without; sodium needs the longest."""

    def subset(name: str, first: str, second: str) -> dict[str, Any]:
        # 3 Å without long range was not trained alone
        answers = {0: "cannot tell", 1: second, 2: first}
        reasons = {"cannot tell": "it is still learning"}
        return {
            "name": name,
            "atoms": 2 if name == "all" else 1,
            "mae_alone": [None, 12.0, 12.0, 10.0],
            "range": [
                {"scale": k, "answer": a, "reason": reasons.get(a, "")} for k, a in answers.items()
            ],
            "limit": "cutoff",
            "order": [],
        }

    scales = [{"cutoff": c, "long": long} for long in (False, True) for c in (3.0, 4.0)]
    subsets = [subset("all", cutoff, long), subset("Na", "needed", long)]
    body = {"scales": scales, "subsets": subsets, "learning": LEARNING}
    return Report("prove", body, {"min_gain": 0.05}, {}, {})


def test_simulations_start_from_other_frames_than_errors_are_of() -> None:
    def of(kind: str, sha: str) -> Report:
        return replace(forks(), kind=kind, provenance={"data": {"file": "a.xyz", "sha256": sha}})

    same = [Run("f", (of("forks", "1"),)), Run("md", (of("simulation", "2"),))]
    assert not any("different data" in line for line in answer.origin(same))
    other = [*same, Run("e", (of("evaluation", "3"),))]
    assert any("different data" in line for line in answer.origin(other))


def test_nothing_was_asked_yet(tmp_path: Path) -> None:
    info = {"settings": {"network": {"ladder": [3.0, 4.0]}}}
    ladder = Run("ladder", (), info, Path("runs/my ladder"))
    assert verdict([ladder]) == ["Nothing was asked yet about the range that the system needs."]
    assert "Ask its ladder: scalewise curve 'runs/my ladder' DATA." in next_steps([ladder])
    assert carrying([ladder]) is None
    with styled():
        assert "How far the training had come is not known" in markup([ladder])


def test_a_page_of_several_runs(tmp_path: Path) -> None:
    for name, report in (("a/fork", forks()), ("b/fork", forks(enough=None, learning=LEARNING))):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "forks.json").write_text(json.dumps(report.to_json()))
    model = replace(untrained(layers=1), info={"history": HISTORY, "valid": {"forces_mae": 12.5}})
    checkpoint.write(tmp_path / "run/model", model)
    paths = [tmp_path / name for name in ("a/fork", "b/fork", "run")]
    assert [run.name for run in collect(paths)] == ["a/fork", "b/fork", f"{tmp_path.name}/run"]
    write_overview(paths, tmp_path / "page.html")
    found = (tmp_path / "page.html").read_text()
    assert found.count("<figure") == 3  # of forks twice, and of the training
    assert "Side by side" in found
    assert "This answer is from b/fork, on " in found
    assert "It is the last of 2 runs of this kind on this page." in found
    twice = collect([paths[0], paths[1], tmp_path / "b" / "fork"])
    assert [run.name for run in twice] == ["a/fork", "b/fork"]
    (tmp_path / "mine.html").write_text("of the user")
    with pytest.raises(InputError, match="a file that scalewise did not write"):
        write_overview(paths, tmp_path / "mine.html")
    write_overview(paths, tmp_path / "page.html")  # its own it replaces
    assert "12.5 meV/Å" in found
    assert "http:" not in found.replace("http://www.w3.org", "")
    done = CliRunner().invoke(app, ["report", *map(str, paths), "--out", str(tmp_path / "o.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "o.html").read_text() == found


@pytest.mark.parametrize("screen", [True, False])
def test_a_page_is_opened_where_there_is_a_screen(
    tmp_path: Path, screen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forks.json").write_text(json.dumps(forks().to_json()))
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0" if screen else "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    page = tmp_path / "o.html"
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(page), "--open"])
    assert done.exit_code == 0, done.output
    assert opened == ([page.as_uri()] if screen else [])


@pytest.mark.parametrize("name", ["forks.json", "data.xyz", "page", "."])
def test_a_page_is_written_over_nothing_else(tmp_path: Path, name: str) -> None:
    written = json.dumps(forks().to_json())
    (tmp_path / "forks.json").write_text(written)
    with pytest.raises(InputError, match=r"does not end in \.html|a folder"):
        write_overview([tmp_path / "forks.json"], tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["forks.json"]
    assert (tmp_path / "forks.json").read_text() == written


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folders_of_nothing_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no such folder|no document of scalewise"):
        write_overview([tmp_path / name], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_frame_says_which_atoms_need_which_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = {
        "number": 7,
        "atomic_numbers": [11, 17, 17],
        "positions": [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [0.0, 2.5, 0.0]],
        "cell": [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]],
        "pbc": [True, True, False],
        "cutoffs": [3.0, 4.5, 4.5],
        "range": [3.0, 6.0],
        "tolerance": 30.0,
    }
    shown, script = show_frame(frame, None)
    assert "pip install 'scalewise[page]'" in html.unescape(shown)
    assert script == ""
    rows = re.findall(r"<tr.*?</tr>", shown)
    assert [re.findall(r">([^<>]+)<", row) for row in rows[1:]] == [
        ["3 Å", "1", "0"],
        ["4.5 Å", "0", "2"],
    ]
    shown, script = show_frame(frame, "viewer();")
    assert 'id="viewer"' in shown
    assert script.startswith("viewer();")
    found = dataset(frame)
    assert found["structures"][0]["cell"] == [9, 0, 0, 0, 9, 0, 0, 0, 9]
    assert found["structures"][0]["names"] == ["Na", "Cl", "Cl"]
    assert found["properties"]["cutoff"]["values"] == [3.0, 4.5, 4.5]
    (shown_as,) = found["settings"]["structure"]
    assert (shown_as["color"]["min"], shown_as["color"]["max"]) == (3.0, 6.0)
    assert "cell" not in dataset({**frame, "pbc": [False] * 3})["structures"][0]
    monkeypatch.setattr(structure, "find_spec", lambda name: None)
    assert viewer_script() is None


def test_the_viewer_cannot_end_the_element_that_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path.joinpath(*structure.SCRIPT)
    file.parent.mkdir(parents=True)
    file.write_text("let a = '</script><b>';", encoding="utf-8")
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(structure, "find_spec", lambda name: package)
    found = viewer_script()
    assert found is not None
    assert found.splitlines()[-1] == "let a = '<\\/script><b>';"
    assert found.startswith("// Copyright (c)")
    assert "// 2. Redistributions in binary form must reproduce" in found


def test_elements_that_need_what_all_atoms_need_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (report, _) = curve(tmp_path)
    needs = {"all": "more than 3 Å is needed", "Na": "more than 3 Å is needed", "Cl": None}
    monkeypatch.setattr(answer, "system_needs", lambda results, subset: needs[subset["name"]])
    first, *more = verdict([Run("curve", (report,))])
    assert first == "More than 3 Å is needed."
    assert not any(line.startswith("Na:") for line in more)
    assert "Cl: what range the system needs is not known from a ladder alone." in more
