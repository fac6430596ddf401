"""Atomic writing of files, checked reading, and the memory that is free.

A file is written under a temporary name and then renamed, so that it is complete or missing. Only
regular files of a limited size are read: a pipe or a device would never end, and the contents of a
file are not trusted.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from scalewise.core.errors import InputError

#: Bytes of the largest text of settings or results that is read; frames and weights have no limit.
LARGEST_TEXT: Final = 256 << 20
#: How temporary files begin: what a process that was killed leaves is known by it.
TEMPORARY: Final = ".scalewise-part-"
#: Bytes that are not asked about: asking takes longer than it is worth.
ALWAYS_FREE: Final = 64 << 20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` when the block succeeds.

    Raises
    ------
    InputError
        The folder cannot be written or the disk is full; ``path`` is as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f"{TEMPORARY}{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` when the block succeeds.

    Raises
    ------
    InputError
        There is something at ``path``; it cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{TEMPORARY}{path.name}-"))
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, keys in the order given; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def check_new_file(path: Path, *suffixes: str) -> None:
    """Assert that a file may be written there: its name says its format, and nothing else is lost.

    Raises
    ------
    InputError
        A name that does not end in one of ``suffixes``, as that of a model or of results; a folder.
    """
    example = path.with_suffix(suffixes[0]).name if path.suffix else path.name + suffixes[0]
    if path.is_dir():
        raise InputError(
            str(path),
            "a folder",
            f"Give the file to write, such as {path / ('new' + suffixes[0])}.",
        )
    if not path.name.lower().endswith(suffixes):
        raise InputError(
            str(path),
            f"a name that does not end in {' or '.join(suffixes)}, the format that is written",
            f"Give another, such as {path.parent / example}.",
        )


def check_regular(path: Path, remedy: str) -> os.stat_result:
    """Assert that a path is a regular file, after following links, and return its status.

    Raises
    ------
    InputError
        Nothing there, a folder, a pipe, a device, a file that may not be read, or one that stands
        for another: a pointer of Git LFS, the page of a failed download.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a null character in a name is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        missing = isinstance(error, FileNotFoundError)
        raise InputError(str(path), "no such file" if missing else reason, remedy) from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device, not a file"
        raise InputError(str(path), kind, remedy)
    if not os.access(path, os.R_OK):
        raise InputError(str(path), "may not be read (Permission denied)", remedy)
    _check_standin(path, remedy)
    return found


def _check_standin(path: Path, remedy: str) -> None:
    """Refuse what is written in the place of a large file that was not fetched."""
    try:
        with path.open("rb") as stream:
            start = stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip().lower()
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), remedy) from None
    if start.startswith(b"version https://git-lfs"):
        raise InputError(
            str(path),
            "a pointer of Git LFS, which stands for the file in a repository",
            "Fetch the file itself: git lfs pull.",
        )
    if start.startswith((b"<!doctype html", b"<html")):
        raise InputError(
            str(path),
            "a web page, not the file that it was to be",
            "Download the file again, from the address that gives the raw file.",
        )


def read_text(path: Path, remedy: str, *, largest: int = LARGEST_TEXT) -> str:
    """Read a text file (UTF-8) of at most ``largest`` bytes.

    Raises
    ------
    InputError
        Not a regular file, too large, or not text; ``remedy`` says what to give instead.
    """
    size = check_regular(path, remedy).st_size
    if size > largest:
        raise InputError(str(path), f"{size} bytes, more than {largest}", remedy)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), remedy) from None
    except UnicodeDecodeError:
        raise InputError(str(path), "not text in UTF-8", remedy) from None


def read_json(path: Path, remedy: str, *, largest: int = LARGEST_TEXT) -> Any:
    """Read a JSON file of at most ``largest`` bytes.

    Raises
    ------
    InputError
        As :func:`read_text`; not valid JSON, or nested too deeply.
    """
    text = read_text(path, remedy, largest=largest)
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(str(path), f"not valid JSON ({reason})", remedy) from None


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word[:20]} is too large")
    return value


def free_memory() -> float:
    """Bytes that this process may still take, as far as the system tells; infinite otherwise."""
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024.0 * int(line.split()[1]))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most, used = (float((group / f"memory.{n}").read_text()) for n in ("max", "current"))
        # files that were read are counted, too, and make room
        lines = (group / "memory.stat").read_text().splitlines()
        cache = sum(
            float(v) for k, v in map(str.split, lines) if k in ("inactive_file", "active_file")
        )
        found.append(max(most - used + cache, 0.0))
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(max(float(limit - pages * resource.getpagesize()), 0.0))
    return min(found)


def check_memory(needed: float, where: str, what: str, remedy: str) -> None:
    """Refuse what memory does not hold, before the system ends the process for it.

    Parameters
    ----------
    needed
        Bytes, estimated.
    where, what, remedy
        Of the error: ``what`` needs so much.

    Raises
    ------
    InputError
        More is needed than is free.
    """
    if needed < ALWAYS_FREE:
        return
    free = free_memory()
    if needed > free:
        raise InputError(
            where, f"{what} need {needed / 2**30:.3g} GiB, and {free / 2**30:.3g} are free", remedy
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(path: Path, error: OSError) -> InputError:
    """What is said of a file or folder that cannot be written."""
    reason = error.strerror or str(error)
    remedy = "Free space, or choose an --out folder that can be written to."
    if isinstance(error, FileExistsError | NotADirectoryError):
        remedy = "A file is in the place of the folder: choose another --out."
    return InputError(str(path), f"cannot be written ({reason})", remedy)
