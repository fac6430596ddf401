"""The command line as a user meets it: real processes, exit codes, files left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scalewise.cli import app
from schema_checks import check_document
from support import once

ROOT = Path(__file__).parents[2]
FAST = [
    "split.block=1",
    "selector.steps=40",
    "selector.cutoff=7.0",
    "evidence.draws=20",
    "pool.max_scales=4",
]


def call(*words: str | Path, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scalewise.cli", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options
    )


def call_here(*words: str | Path, cwd: Path, at: pytest.MonkeyPatch) -> Result:
    """The same without a process, which would take seconds to import PyTorch again."""
    at.chdir(cwd)
    at.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dft.xyz, short.xyz and long.xyz from the example."""
    return once(tmp_path_factory, "example", write_example)


def write_example(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("e", ROOT / "examples/audit_two_models.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.write_files(folder)


AUDIT = [
    "short.xyz",
    "long.xyz",
    "predictions.labels=dft.xyz",
    "predictions.forces_keys=[predicted_forces]",
    *FAST,
]


@pytest.fixture(scope="module")
def audited(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit in a process of its own: what it wrote in `out`, what it said in `stdout`."""

    def audit(folder: Path) -> None:
        found = call("study", *AUDIT, "--out", folder / "out", cwd=files)
        assert found.returncode == 0, found.stderr
        (folder / "stdout").write_text(found.stdout)

    return once(tmp_path_factory, "audited", audit)


def test_help_reads_like_a_guide(tmp_path: Path) -> None:
    found = call("--help", cwd=tmp_path)
    assert found.returncode == 0
    for word in ("study", "generate", "report", "Start here", "Your own models"):
        assert word in found.stdout


def test_help_of_the_study_shows_how_to_name_columns(tmp_path: Path) -> None:
    assert "predictions.forces_keys=[forces]" in call("study", "--help", cwd=tmp_path).stdout


def test_version(tmp_path: Path) -> None:
    assert call("--version", cwd=tmp_path).stdout.startswith("scalewise 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stdy"], "Did you mean 'study'"),
        (["study", "solution.concentraton=1"], "Did you mean 'concentration'"),
        (["study", "none.yaml"], "no such file"),
        (["study", "notes.txt"], "neither key=value, nor a .yaml"),
        (["study", "a.yaml", "b.yaml"], "a second configuration"),
        (["study", "one.xyz"], "at least two prediction files"),
        (["study", "one.xyz", "two.xyz"], "no such file"),
        (["generate", "one.xyz"], "it reads no frames"),
        (["study", "data=nowhere"], "manifest.json: missing, damaged"),
        (["report", "nowhere"], "no such file"),
    ],
)
def test_mistakes_end_with_code_two_and_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    found = call_here(*words, cwd=tmp_path, at=monkeypatch)
    assert found.exit_code == 2, found.output
    assert message in found.stderr


def test_predictions_are_not_audited_against_themselves(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy for forgotten labels must not make a prediction its own label."""
    words = ("study", "short.xyz", "long.xyz", "--out", tmp_path / "out")
    found = call_here(*words, cwd=files, at=monkeypatch)
    assert found.exit_code == 2
    assert "predictions.labels=dft.xyz" in found.stderr
    found = call_here(*words, "predictions.labels_key=forces", cwd=files, at=monkeypatch)
    assert found.exit_code == 2
    assert "its error would be zero" in " ".join(found.stderr.split())


def test_audit_of_two_prediction_files(audited: Path) -> None:
    assert "needed" in (audited / "stdout").read_text()
    document = json.loads((audited / "out/results.json").read_text())
    assert (document["kind"], document["schema"]) == ("study", 2)
    check_document(document)
    results = document["body"]
    verdict = results["verdict"]["predictions"]
    assert verdict["all"]["answer"] == "needed"
    assert verdict["contact_pair"]["answer"] == "needed"
    fields = {
        "view",
        "unit_of_choice",
        "method",
        "uses_labels",
        "regime",
        "mae",
        "unit",
        "ratio_to_best_single",
        "interval",
        "null_band",
        "n",
    }
    assert all(fields <= set(row) for row in results["rows"])
    assert (audited / "out/report.html").stat().st_size > 10_000
    assert "Is routing needed?" in (audited / "out/results.txt").read_text()
    assert len(list((audited / "out/figures").glob("*.png"))) >= 4
    hard = next(r for r in results["rows"] if r["method"] == "hard_oracle")
    assert hard["outside_null"]
    _check_order(results["rows"])
    routed = next(r for r in results["rows"] if r["method"] == "regime_selector")
    assert routed["ratio_to_best_single"] < 0.5


def _check_order(rows: list[dict]) -> None:
    cells = {(r["view"], r["unit_of_choice"], r["regime"]) for r in rows}
    for cell in cells:
        mae = {
            r["method"]: r["mae"]
            for r in rows
            if (r["view"], r["unit_of_choice"], r["regime"]) == cell
        }
        order = [mae[m] for m in ("best_single", "hard_oracle", "pool_oracle", "continuous_oracle")]
        assert order == sorted(order, reverse=True), cell


def test_second_run_gives_the_same_bytes_and_reads_them_back(
    files: Path, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(audited / "out", out)
    before = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    words = ("study", *AUDIT, "--out", out)
    again = call_here(*words, cwd=files, at=monkeypatch)
    assert again.exit_code == 0
    assert "Study:" not in again.stdout
    assert {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (next((out / "stages").iterdir())).write_text("{ half")  # as a crash would leave it
    assert call_here(*words, cwd=files, at=monkeypatch).exit_code == 0
    after = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predictions.forces_keys=[predicted]"], "Did you mean 'predicted_forces'"),
        (["predictions.labels_key=forces"], "key 'forces': no such column"),
        (["regimes=[{name: x, elements: [Na]}, {name: x}]"], "different names"),
        (["predictions.targets=[K]"], "K is not in"),
        (["anchors=[0,0.5,1]"], "3 scales for 2 prediction files"),
        (["regimes=[{name: far, nearest: ion, above: 9}]"], "regime 'far': none of the"),
        (["predictions.group_key=grp"], "no such frame key"),
        (["selector.cutoff=17"], "lower than the cutoff of 17"),
        (["split.block=30"], "blocks to train / tune / test"),
    ],
)
def test_audits_that_cannot_be_done(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    found = call_here("study", *AUDIT, *words, "--out", tmp_path / "out", cwd=files, at=monkeypatch)
    assert found.exit_code == 2, found.output
    assert message in " ".join(found.stderr.split())
    assert not (tmp_path / "out/results.json").exists()


def test_full_disk_leaves_nothing_half_written(files: Path, tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: both end in the same OSError."""

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    out = tmp_path / "out"
    quick = ("selector.steps=2", "pool.max_scales=2", "evidence.draws=10")
    found = call("study", *AUDIT, *quick, "--out", out, cwd=files, preexec_fn=small_files)
    assert found.returncode == 2, found.stderr
    assert "cannot be written" in found.stderr
    assert [p for p in out.rglob("*") if p.is_file()] == []


def test_interrupted_study_continues(tmp_path: Path) -> None:
    """Ctrl-C during the simulation: no traceback, no half file, and the next run finishes."""
    pytest.importorskip("openmm")
    config, out = ROOT / "configs/small.yaml", tmp_path / "out"
    fewer = ("configurations=2", "samples=2", "spacing=0.05")
    quick = (
        *("solution.equilibration=0.4", "solution.spacing=0.05", "selector.steps=10"),
        *(f"solution.replicates.{word}" for word in fewer),
    )
    words = ("study", str(config), *quick, "--out", str(out))
    process = subprocess.Popen(
        [sys.executable, "-m", "scalewise.cli", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell lets what it runs in the background ignore interrupts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("solution-*/replica-*.extxyz")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "continues with the same command" in errors
    assert "Traceback" not in errors
    done = {p: p.stat().st_mtime_ns for p in out.glob("solution-*/replica-*.extxyz")}
    assert done
    found = call(*words, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert {p: p.stat().st_mtime_ns for p in done} == done
    document = json.loads((out / "results.json").read_text())
    check_document(document)
    results = document["body"]
    assert set(results["verdict"]) == {"ions", "explicit"}
    _check_order(results["rows"])
    long = next(r for r in results["rows"] if (r["view"], r["method"]) == ("explicit", "long"))
    single = next(r for r in results["rows"] if r["method"] == "best_single")
    assert long["mae"] < 0.2 * single["mae"]


@pytest.mark.parametrize(("command", "continues"), [("evaluate", False), ("train", True)])
def test_an_interrupted_command_says_whether_it_continues(
    command: str, continues: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scalewise.core.loading.load", interrupted)
    (tmp_path / "dft.xyz").write_text("")
    model = [str(tmp_path)] if command == "evaluate" else []
    found = CliRunner().invoke(app, [command, *model, str(tmp_path / "dft.xyz")])
    assert found.exit_code == 130
    assert ("continues" in found.stderr) == continues


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--steps", "5"], "steps=5"),
        (["--steps=5"], "steps=5"),
        (["--data.split-key", "role"], "data.split_key=role"),
        (["--seed", "-1"], "seed=-1"),
        (["--compile", "--out", "a"], "compile=..."),
        (["--compile", "steps=5"], "compile=..."),
        (["--steps", "dft.xyz"], "steps=..."),
        (["--out", "--steps", "--steps", "5"], "steps=5"),
        (["--lader", "3,5"], None),
        (["--version"], None),
        (["--out", "--steps"], None),
    ],
)
def test_a_setting_with_dashes_is_pointed_to_its_word(
    words: list[str], meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = call_here("train", "dft.xyz", *words, cwd=tmp_path, at=monkeypatch)
    assert found.exit_code == 2
    said = " ".join(found.stderr.split())
    if meant is None:
        assert "Settings are words" not in said
    else:
        assert said.endswith(f"Settings are words without dashes: {meant}")
