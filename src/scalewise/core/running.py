"""Concurrent runs, runs of several processes, and signals that end a run.

Only one run at a time may use a folder. All processes that torchrun or srun started are one run.
SIGTERM ends a run. SIGUSR1 ends it with an exit code that asks the queueing system to start it
again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from scalewise.core.errors import InputError
from scalewise.core.files import TEMPORARY, cannot_write

#: Held by the run that writes to a folder, and removed with its end.
LOCK: Final = ".scalewise-run"
#: Folders that this process holds: its own locks do not keep it out.
_HELD: set[Path] = set()
#: What the shell reports of a program that SIGTERM ended.
TERMINATED: Final = 128 + 15


#: EX_TEMPFAIL of sysexits.h: run it again later, such as with ``scontrol requeue``.
REQUEUE: Final = 75
#: A queue's word that time is nearly up; Windows has no such signal.
USR1: Final[int | None] = getattr(signal, "SIGUSR1", None)


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as by a queue whose time is up."""


class Requeued(KeyboardInterrupt):
    """The process was asked by SIGUSR1 to end and to be queued again."""


class Group(NamedTuple):
    """Processes that torchrun or srun started: number of this one, of all, and of those here."""

    rank: int
    size: int
    here: int


def group() -> Group | None:
    """The processes that this one was started with; none where it was started alone."""
    names = {
        "TORCHELASTIC_RUN_ID": ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
        "SLURM_STEP_ID": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
    }
    for mark, words in names.items():
        found = [os.environ.get(word, "") for word in words]
        if mark in os.environ and all(word.isdecimal() for word in found[:2]):
            rank, size = int(found[0]), int(found[1])
            here = int(found[2]) if found[2].isdecimal() else size
            return Group(rank, size, here) if size > 1 else None
    return None


def _terminate(number: int, frame: Any) -> None:
    raise Requeued if number == USR1 else Terminated


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated`, and SIGUSR1 :class:`Requeued`; main thread only.

    Whatever is open is closed then. A signal that is ignored, as in a background job of ``nohup``,
    stays so.
    """
    numbers = [signal.SIGTERM, *([] if USR1 is None else [USR1])]
    taken = [n for n in numbers if signal.getsignal(n) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _terminate)
    except ValueError:  # another thread
        yield
        return
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for one run at a time; a process that dies lets go of it.

    Raises
    ------
    InputError
        Another run works in the folder, or it cannot be written to.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    if folder.resolve() in _HELD:
        raise _another(folder, None)
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    stream = _locked(folder, fcntl)
    try:
        _HELD.add(folder.resolve())
        if stream is not None:
            _sign(stream)
            _sweep(folder)
        yield
    finally:
        _HELD.discard(folder.resolve())
        if stream is not None:
            # first the name, then the lock: whoever opens the old file finds that it has no name
            (folder / LOCK).unlink(missing_ok=True)
            stream.close()
        with contextlib.suppress(OSError):  # a run that wrote nothing leaves nothing
            for empty in made:
                empty.rmdir()


def _locked(folder: Path, fcntl: Any) -> IO[str] | None:
    """The locked file; none where the file system has no locks."""
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # of the process, not of its children: they may outlive it for a moment
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            with stream:
                raise _another(folder, stream) from None
        except OSError:
            path.unlink(missing_ok=True)
            stream.close()
            return None
        with contextlib.suppress(OSError):
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        stream.close()  # it was removed in between


def _sign(stream: IO[str]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    words = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a signature
        os.ftruncate(stream.fileno(), 0)
        os.write(stream.fileno(), words.encode())


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed left half written, but not below other runs' folders."""
    for place, folders, files in os.walk(folder):
        if LOCK in files and Path(place) != folder:
            folders.clear()
            continue
        for name in files:
            if name.startswith(TEMPORARY):
                (Path(place) / name).unlink(missing_ok=True)
        for name in [name for name in folders if name.startswith(TEMPORARY)]:
            folders.remove(name)
            shutil.rmtree(Path(place) / name, ignore_errors=True)


def _another(folder: Path, stream: IO[str] | None) -> InputError:
    who = " (in this process)" if stream is None else _signed(stream)
    return InputError(
        str(folder),
        f"another run works in this folder{who}",
        "Wait for its end, or give another folder with --out.",
    )


def _signed(stream: IO[str]) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stream.seek(0)
        found = json.loads(stream.read(1000))
        return f" (process {found['process']} on {found['host']}, since {found['since']})"
    return ""
