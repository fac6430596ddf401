"""Runs beside each other, runs that are told to end, and what may take how long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scalewise.core.errors import InputError, printable
from scalewise.core.files import TEMPORARY, check_memory, read_json, read_text
from scalewise.core.running import LOCK, Terminated, alone_in, terminable
from scalewise.core.terminal import Console
from scalewise.data.readers.extxyz import write_images
from scalewise.training.compiling import OutOfTimeError, at_most
from scalewise.training.stopping import Stop

HOLD = """
import sys, time
from pathlib import Path
from scalewise.core.running import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_says_who_works_there(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        another = pytest.raises(InputError, match=rf"another run works .*process {other.pid} on")
        with another, alone_in(folder):
            pytest.fail("two runs in one folder")
        other.kill()
        other.wait()
    with alone_in(folder):  # a process that was killed has let go
        with pytest.raises(InputError, match="in this process"), alone_in(folder):
            pass
        assert json.loads((folder / LOCK).read_text())["process"] == os.getpid()
    assert not folder.exists() or not list(folder.iterdir())


def test_a_run_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    with alone_in(tmp_path / "runs" / "a"):
        pass
    assert not (tmp_path / "runs").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), alone_in(tmp_path / "file" / "sub"):
        pass


def test_sigterm_closes_what_is_open() -> None:
    closed = []

    def run() -> None:
        with terminable():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            finally:
                closed.append(True)

    with pytest.raises(Terminated):
        run()
    assert closed
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_waits_for_the_step_and_a_second_one_does_not() -> None:
    with Stop().listening() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        assert isinstance(stop.error, Terminated)
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
    with Stop(urgent=True).listening(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_what_takes_too_long_ends_even_if_it_swallows_exceptions() -> None:
    def stubborn() -> None:
        with at_most(0.05):
            for _ in range(2):
                try:
                    time.sleep(5)
                except OutOfTimeError:
                    if _:
                        raise

    start = time.monotonic()
    with pytest.raises(OutOfTimeError):
        stubborn()
    assert time.monotonic() - start < 4


def test_text_of_strangers_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("a\x1b[2J")
    table.add_row("Na\x1b]0;title\x07")
    console = Console(force_terminal=False)
    console.print("frame \x1b[31mred\u202e", markup=False)
    console.print(table)
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert "\\x1b[31m" in shown
    assert "\x1b" not in str(InputError("a\x1b", "b\x1b", "c\x1b"))
    assert printable("a\nb\tÅ") == "a\nb\tÅ"


def test_files_that_never_end_and_files_that_are_too_large(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a pipe or a device")):
        with pytest.raises(InputError, match=words):
            read_text(path, "Give a file.")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        read_json(tmp_path / "a.json", "Mend it.")
    with pytest.raises(InputError, match="100000 bytes, more than 10"):
        read_json(tmp_path / "a.json", "Mend it.", largest=10)


def test_what_memory_does_not_hold_is_refused() -> None:
    check_memory(1e3, "here", "a thousand bytes", "")
    with pytest.raises(InputError, match=r"here: a galaxy need .* GiB, and .* are free\. Less"):
        check_memory(1e18, "here", "a galaxy", "Less.")


def test_written_frames_are_plain_text(tmp_path: Path) -> None:
    import ase

    with (tmp_path / "a@1.xyz").open("w") as stream:
        write_images(stream, [ase.Atoms("H", positions=np.zeros((1, 3)))])
    assert (tmp_path / "a@1.xyz").read_text().startswith("1\n")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path, tmp_path / "figures", other):
        folder.mkdir(exist_ok=True)
        (folder / f"{TEMPORARY}results-abc.json").write_text("half")
        (folder / ".results-mine.json").write_text("mine")
    (tmp_path / "figures" / f"{TEMPORARY}data-abc").mkdir()
    (tmp_path / "figures" / f"{TEMPORARY}data-abc" / "positions.npy").write_text("half")
    (other / LOCK).write_text("")
    with alone_in(tmp_path):
        left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob(f"{TEMPORARY}*"))
    assert left == [f"other/{TEMPORARY}results-abc.json"]
    assert len(list(tmp_path.rglob(".results-mine.json"))) == 3
