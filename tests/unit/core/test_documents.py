"""What the program reads back may hold anything: it is used, made again, or refused in words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from report_samples import document, study
from scalewise.analysis.locality.reference import SolutionReference
from scalewise.core.documents import read_array
from scalewise.core.errors import InputError
from scalewise.reporting.report import Report
from scalewise.reporting.style import styled
from scalewise.study.page.curves import error_against_distance, loss_over_scale
from scalewise.study.page.figures import scale_histogram
from scalewise.study.page.gains import oracle_gains
from scalewise.study.page.page import write_page
from scalewise.study.page.pools import pool_history
from scalewise.study.page.table import print_results
from scalewise.testbed.records import read_generated
from scalewise.training.log import Log, read_lines
from scalewise.training.state import check_state
from support import salt_frame
from support_documents import cases, mutated, small_state, step

FIGURES = (oracle_gains, scale_histogram, error_against_distance, loss_over_scale, pool_history)
TIMES = 150


def written(folder: Path, document: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.whole
def test_whatever_is_in_a_document_is_used_or_refused(tmp_path: Path) -> None:
    for name, case in cases(tmp_path).items():
        rng, refused = random.Random(0), 0
        for _ in range(TIMES):
            case.write(rng)
            content = case.path.read_bytes()
            try:
                case.read()
            except InputError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{name}: {content[:2000]!r}") from error
        case.path.write_bytes(case.good)
        case.read()
        # what can be made again is never refused
        assert (refused == 0) == (name in {"record", "kept manifest", "stage", "samples", "errors"})


def test_results_that_are_read_can_be_drawn(tmp_path: Path) -> None:
    rng, drawn = random.Random(1), 0
    while drawn < 15:
        try:
            found = Report.load(written(tmp_path, mutated(document(study(("ions",))), rng)))
        except InputError:
            continue
        results = found.results
        with styled():
            figure = FIGURES[drawn % len(FIGURES)](results)
            if figure is not None:
                figure.set_layout_engine("none")  # most of the time of drawing
                figure.draw_without_rendering()
        write_page(results, [], tmp_path / "report.html")
        print_results(results, Console(file=io.StringIO()))
        drawn += 1


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = Report.load(written(tmp_path, document(study()))).results
    assert found == study()
    assert list(found["rows"][0]) == list(study()["rows"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 1, where 2 is read"),
        ({"body": []}, "damaged"),
        ({"rows": []}, "view 'ions' lacks rows"),
        ({"verdict": {}}, "the views of 'verdict' are not those of 'views'"),
        ({"views": {}}, "key 'views'"),
        ({"checks": [{"ok": 1}]}, r"key 'checks\.0\.quantity'"),
        ({"extra": float("nan")}, "not finite|not a number of JSON"),
        ({"extra": "\x1b[2J"}, "control characters"),
        ({"extra": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}, "too deeply"),
    ],
)
def test_results_that_cannot_be_drawn_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    found = document(study())
    if change.keys() <= found.keys():
        found |= change
    else:
        found["body"] |= change
    with pytest.raises(InputError, match=message):
        Report.load(written(tmp_path, found))


@pytest.mark.parametrize("name", ["../elsewhere.extxyz", "/dev/zero", "a/b", "..", ""])
def test_a_manifest_names_files_of_its_folder(tmp_path: Path, name: str) -> None:
    files = {"replica-00.extxyz": 64 * "0", name: 64 * "0"}
    document = {"replicas": [{"files": files, "label_error": 0.0}], "checks": []}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="missing, damaged, or not written"):
        read_generated(tmp_path)
    del files[name]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    assert read_generated(tmp_path) == document


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name, case in cases(tmp_path).items():
        case.path.unlink()
        os.mkfifo(case.path)
        if name not in ("log", "progress"):  # the test itself reads these
            with contextlib.suppress(InputError):
                case.read()
        case.path.unlink()
        case.path.write_bytes(case.good)
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(InputError, match="not a file"):
        read_lines(tmp_path / "log.csv", "")
    Log(tmp_path)
    assert (tmp_path / "log.csv").is_file()


def test_an_array_of_another_shape_or_kind_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "samples.npy"
    assert read_array(path, 3, 4) is None
    with path.open("wb") as stream:  # as if there were terabytes
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
    assert read_array(path, 3, 10**12) is None
    for odd in (np.ones((3, 4)), np.full((4, 3), np.nan), np.ones((4, 3), dtype=int)):
        np.save(path, odd)
        assert read_array(path, 3, 4) is None
    np.save(path, np.array([[{}]]), allow_pickle=True)
    assert read_array(path, 1, 1) is None
    np.save(path, np.ones((4, 3), dtype=np.float32))
    assert (read_array(path, 3, 4) == 1.0).all()


def test_settings_of_a_far_larger_solution_build_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("scalewise.analysis.locality.reference._built", never)
    (tmp_path / "settings.json").write_text(json.dumps({"box": 1e9}))
    with pytest.raises(InputError, match="not a frame of the solution"):
        SolutionReference.read(tmp_path)._replica(salt_frame())


# --------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    "change",
    [
        {"weight:a": None},
        {"average:b": np.ones((3, 2))},
        {"weight:a": np.ones((1, 3))},  # would be spread over the others
        {"memory:exp_avg:b": None},
        {"memory:exp_avg_sq:b": np.ones(1)},
        {"memory:step:b": np.float32(-1.0)},
        {"memory:step:b": np.float32(np.nan)},
        {"memory:other:b": np.ones((2, 3))},
        {"memory:momentum_buffer:b": np.ones((2, 3))},
        {"memory": np.ones(1)},
    ],
    ids=str,
)
def test_a_state_with_other_tensors_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "state.safetensors"
    small_state().write(path, "mine")
    tensors, header = load_file(path), check_state(path, "mine")
    for key, value in change.items():
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = torch.as_tensor(value, dtype=torch.float32)
    save_file(tensors, path, metadata=header)
    with pytest.raises(InputError, match="damaged"):
        small_state().restore(path, "mine")


def test_a_state_without_memory_starts_with_none(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    fresh = small_state()
    for optimizer in fresh.optimizers:
        optimizer.state.clear()
    fresh.write(path, "mine")
    state = small_state()
    for optimizer in state.optimizers:
        optimizer.state.clear()
    state.restore(path, "mine")
    assert all(not optimizer.state for optimizer in state.optimizers)
    step(state)


def test_damaged_lines_of_a_log_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,epoch,valid_loss\r\n1,0,0.5\r\nx,0,0.5\r\n2,0\r\n3,0,0.25\r\n4,0,?\r\n")
    assert [line and line["step"] for line in read_lines(path, "")] == ["1", None, None, "3", None]
    Log(tmp_path, after=3)
    assert [line and line["step"] for line in read_lines(path, "")] == ["1", "3"]
    path.write_text("another,header\n1,2\n")
    assert read_lines(path, "") == [None]
    Log(tmp_path, after=3)
    assert read_lines(path, "") == []
