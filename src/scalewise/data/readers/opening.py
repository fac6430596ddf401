"""Open files as streams, plain or compressed by gzip, bzip2 or xz, according to their suffix."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from scalewise.core.errors import InputError, cut
from scalewise.core.files import check_regular

#: Programs that compress, by the suffix of what they write.
_COMPRESSED: Final[dict[str, Callable[..., IO[Any]]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
SUFFIXES: Final = tuple(_COMPRESSED)


def every_suffix(*names: str) -> tuple[str, ...]:
    """Names and suffixes of files, plain and compressed.

    Examples
    --------
    >>> every_suffix(".xyz")
    ('.xyz', '.xyz.gz', '.xyz.bz2', '.xyz.xz')
    """
    return tuple(name + suffix for name in names for suffix in ("", *SUFFIXES))


@contextlib.contextmanager
def opened(path: Path, give: str, *, encoding: str | None = "utf-8-sig") -> Iterator[IO[Any]]:
    """Open a regular file to be read from its beginning; only line feeds end lines.

    Parameters
    ----------
    path
        Compressed where it ends in ``.gz``, ``.bz2`` or ``.xz``. Members that follow each other in
        one file are read as one.
    give
        What to give instead, if this cannot be read.
    encoding
        Of the text; none: bytes.

    Raises
    ------
    InputError
        Not a regular file; not compressed as its name says, or cut off; not text.
    """
    check_regular(path, give)
    text = {} if encoding is None else {"encoding": encoding, "newline": "\n"}
    mode = "rb" if encoding is None else "rt"
    start: Callable[..., IO[Any]] = _COMPRESSED.get(path.suffix.lower(), open)
    try:
        with start(path, mode, **text) as stream:
            yield stream
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(str(path), f"damaged ({error})", "Compress it again.") from None
    except UnicodeDecodeError:
        raise InputError(
            str(path), "not text in UTF-8", "Uncompress it, or write it again as plain text."
        ) from None
    except gzip.BadGzipFile:
        remedy = f"Remove {path.suffix} from its name, or compress it."
        raise InputError(str(path), "not compressed by gzip", remedy) from None
    except OSError as error:
        # bz2 has no error of its own
        wrong = error.errno is None and path.suffix.lower() in _COMPRESSED
        remedy = f"Remove {path.suffix} from its name, or compress it." if wrong else give
        raise InputError(str(path), error.strerror or str(error), remedy) from None


def malformed(path: Path, line: int, text: str, wanted: str, remedy: str) -> InputError:
    """A line of a file that is not what its place asks for."""
    found = " ".join(text.split())
    return InputError(f"{path}, line {line}", f"{cut(found, 60)!r} where {wanted}", remedy)
