"""Damaged files end in success or in InputError: a small corpus always, a large one when slow.

``python tests/fuzz/run.py --help`` looks for more, and shows single inputs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).with_name("run.py")
READERS = ("frames", "config", "model", "split")
#: Inputs per reader: of the fast corpus, and of the long one.
FEW, MANY = 100, int(os.environ.get("SCALEWISE_FUZZ", "20000"))


def fuzz(folder: Path, *words: str, timeout: float) -> dict[str, dict[str, Any]]:
    """Reports by reader, from a process of their own: what is to be found may kill it."""
    where = folder / "reports.json"
    command = [sys.executable, str(RUN), *words, "--json", str(where), "--keep", str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert where.is_file(), found.stderr
    return {report["reader"]: report for report in json.loads(where.read_text())}


def check(report: dict[str, Any]) -> None:
    """No findings, and generators that reach what they are for."""
    assert report["bad"] == {}
    statuses = report["statuses"]
    assert statuses["ok"] > 0.02 * report["count"]
    assert statuses["refused"] > 0.2 * report["count"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("fuzz")
    return fuzz(folder, "all", "--count", str(FEW), timeout=300)


@pytest.mark.parametrize("reader", READERS)
def test_damaged_inputs_are_read_or_refused(reader: str, few: dict[str, dict[str, Any]]) -> None:
    assert few[reader]["count"] == FEW
    check(few[reader])


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_many_damaged_inputs_are_read_or_refused(reader: str, tmp_path: Path) -> None:
    report = fuzz(tmp_path, reader, "--count", str(MANY), "--seed", "1000", timeout=3600)[reader]
    assert report["count"] == MANY
    check(report)
