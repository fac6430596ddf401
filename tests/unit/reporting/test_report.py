"""A report is shown, asked, saved and read again; what is no report is refused with the reason."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from document_samples import curve, potential
from report_samples import REGIMES, study
from report_samples import document as study_document
from report_samples import report as study_report
from scalewise import InputError, Report, Verdict
from scalewise.reporting.experiments import DOCUMENTS
from scalewise.statistics.verdict import Answer

ANSWER = {"answer": "needed", "gain": 0.1, "low": 0.05, "high": 0.15, "p": 0.01}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return curve(tmp_path_factory.mktemp("curve"))[0]


def proof() -> Report:
    """A proof with two questions of two subsets."""
    asked = [
        {"question": "cutoff", **ANSWER, "training": 0.25},
        {"question": "data", **dict.fromkeys(ANSWER), "answer": "cannot tell", "training": None},
    ]
    subsets = [{"name": name, "verdicts": asked} for name in ("all", "Na")]
    return Report("prove", {"subsets": subsets})


# -- saved and read --------------------------------------------------------------------------------


def test_a_report_is_read_as_it_was_saved(scan: Report, tmp_path: Path) -> None:
    paths = scan.save(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in paths} == {
        *("curve.json", "curve.txt", "figures/curve.png", "figures/curve.svg")
    }
    assert (tmp_path / "curve.txt").read_text() == scan.table()
    for path in (tmp_path, tmp_path / "curve.json", str(tmp_path)):
        found = Report.load(path)
        for name in ("kind", "body", "settings", "provenance", "units", "results"):
            assert getattr(found, name) == getattr(scan, name), name
        assert found.to_json() == scan.to_json()
        assert found.attachments == {}
    again = tmp_path / "again"
    Report.load(tmp_path).save(again)
    for path in paths:
        assert (again / path.relative_to(tmp_path)).read_bytes() == path.read_bytes(), path.name


def test_numbers_of_a_body_become_what_json_holds() -> None:
    body = {"a": np.float64(1 / 3), "b": (np.int64(2), float("nan")), "c": Answer.NEEDED}
    found = Report.made("curve", body, settings={"d": np.True_}, units={"a": "Å"})
    assert found.body == {"a": 0.3333333333, "b": [2, None], "c": "needed"}
    assert type(found.body["c"]) is str
    assert found.settings == {"d": True}
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()


def test_the_envelope_says_what_it_is(scan: Report) -> None:
    found = scan.to_json()
    assert list(found) == [
        *("kind", "schema", "scalewise", "settings", "provenance", "units", "body")
    ]
    assert (found["kind"], found["schema"]) == ("curve", 4)
    assert set(found["provenance"]["versions"]) == {"numpy", "torch", "ase"}
    assert set(found["provenance"]["data"]) == {"file", "sha256", "frames"}
    assert found["provenance"]["data"]["frames"] == 26
    assert found["settings"]["points"] == 2


@pytest.mark.parametrize("change", ["reference", "scales"])
def test_a_document_that_refers_to_scales_it_does_not_have(scan: Report, change: str) -> None:
    document = json.loads(json.dumps(scan.to_json()))
    if change == "reference":
        document["body"]["reference"] = 99
    else:
        document["body"]["subsets"][0]["scales"].pop()
    with pytest.raises(InputError, match="scales"):
        Report.from_json(document)


# -- shown -----------------------------------------------------------------------------------------


def test_a_notebook_shows_table_and_figures(scan: Report) -> None:
    page = scan._repr_html_()
    assert page.startswith("<pre>")
    assert "from 3 to 4 Å" in scan.table() or "Å" in scan.table()
    assert page.count("<svg") == page.count("</svg>") == len(scan.figures()) == 1
    assert "<?xml" not in page
    assert str(scan) == scan.table()


def test_what_a_table_says_is_escaped() -> None:
    page = study_report(study(("predictions",), ("<img src=x>", "long")))._repr_html_()
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


def test_a_figure_is_drawn_by_its_name(scan: Report) -> None:
    assert scan.figure().axes
    assert scan.figure("curve").axes
    with pytest.raises(InputError, match=r"'curve' draws: curve\. .* Did you mean 'curve'\?"):
        scan.figure("curv")


def test_only_a_report_that_made_a_potential_has_one(scan: Report) -> None:
    with pytest.raises(InputError, match="it holds no potential"):
        _ = scan.potential
    assert Report("refine", {}, attachments={"potential": potential()}).potential is potential()


# -- asked -----------------------------------------------------------------------------------------


def test_verdict_of_a_curve(scan: Report) -> None:
    assert scan.subsets[:3] == ["all", "Na", "Cl"]
    first = scan.body["subsets"][0]["scales"][0]
    for found in (scan.verdict(), scan.verdict("all"), scan.verdict("all", "system")):
        assert isinstance(found, Verdict)
        assert {**found.record(), "reason": found.reason} == first["system"]
    assert scan.verdict("all", "longer").record() == first["longer"]
    assert isinstance(scan.verdict("Na").answer, Answer)


def test_verdict_of_a_proof() -> None:
    report = proof()
    assert report.subsets == ["all", "Na"]
    found = report.verdict("Na", "cutoff")
    assert found == report.verdict()
    assert asdict(found) == {**ANSWER, "reason": "", "question": "cutoff", "training": 0.25}
    unknown = report.verdict(question="data")
    assert (unknown.answer, unknown.gain) == (Answer.CANNOT_TELL, None)


def test_verdict_of_a_study() -> None:
    report = study_report(study())
    assert report.subsets == list(REGIMES)
    for view in ("ions", "explicit"):
        found = report.verdict("all", question=view)
        assert found.answer is Answer.NEEDED
        assert (found.gain, found.low, found.high, found.p) == (0.05, 0.04, 0.06, 0.001)
        assert found.reason == "routing gains 5%"
    assert report.verdict("close_contact").answer is Answer.CANNOT_TELL
    with pytest.raises(InputError, match=r"answers: ions, explicit\. .* Did you mean 'ions'\?"):
        report.verdict("all", "ion")
    with pytest.raises(InputError, match=r"Did you mean 'close_contact'\?"):
        report.verdict("closecontact")


@pytest.mark.parametrize(
    ("subset", "question", "message"),
    [
        ("al", None, r"subset 'al': the report 'prove' has verdicts for: all, Na\. .*mean 'all'\?"),
        ("Na", "cutof", r"question 'cutof': .* answers: cutoff, data\. .* mean 'cutoff'\?"),
        ("Na", "zzz", r"question 'zzz': .* Name one of these\.$"),
    ],
)
def test_what_was_not_asked_is_said(subset: str, question: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        proof().verdict(subset, question)


def test_a_report_without_verdicts_says_so() -> None:
    with pytest.raises(InputError, match="it answers no question"):
        Report("evaluation", {"roles": []}).verdict()
    with pytest.raises(InputError, match="'refine' has no verdicts"):
        Report("refine", {"subsets": [{"name": "all", "scored": []}]}).verdict()


# -- refused ---------------------------------------------------------------------------------------


def written(folder: Path, document: Any) -> Path:
    path = folder / "results.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "a document of the kind 'other'"),
        ({"kind": []}, r"a document of the kind \[\]"),
        ({"schema": 1}, "schema 1, where 2 is read"),
        ({"schema": None}, "schema None, where 2 is read"),
        ({"body": []}, "damaged"),
        ({"settings": None}, "damaged"),
        ({"provenance": 3}, "damaged"),
        ({"provenance": {"versions": []}}, "damaged"),
        ({"units": "Å"}, "damaged"),
        ({"body": {}}, "key '"),
    ],
)
def test_a_document_that_is_not_ours_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as found:
        Report.load(written(tmp_path, study_document(study()) | change))
    assert str(tmp_path / "results.json") in str(found.value)


@pytest.mark.parametrize("key", ["kind", "schema", "body", "units"])
def test_a_document_without_its_envelope_is_refused(tmp_path: Path, key: str) -> None:
    document = study_document(study())
    del document[key]
    with pytest.raises(InputError, match="not a document of scalewise"):
        Report.load(written(tmp_path, document))


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_json_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="not a document of scalewise"):
        Report.load(written(tmp_path, content))


@pytest.mark.parametrize("content", ["", "{", '{"kind": ', "\x00"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"results\.json"):
        Report.load(written(tmp_path, content))


def test_a_folder_must_hold_one_document(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no document of results in it"):
        Report.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        Report.load(tmp_path / "nowhere")
    for kind in ("curve", "study"):
        (tmp_path / f"{DOCUMENTS[kind].file}.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 documents\. Name one of them: .*curve\.json"):
        Report.load(tmp_path)
