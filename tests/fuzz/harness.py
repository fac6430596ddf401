"""Readers work through damaged inputs in a child process, which may die without harm.

A reader makes its input from a seed, puts it into a folder, and reads it. The only good outcomes
are success and ``InputError``. Everything else is a finding: another exception, a signal, a read
of more than five seconds, memory far above the need of a small file, a message that is no
paragraph, a result that what comes next cannot use.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import mmap
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from scalewise.core.errors import InputError

#: Seconds of processor time that one read may take (a busy machine does not count), and seconds
#: more on the clock before a child that waits for ever is killed.
LIMIT, GRACE = 5.0, 25.0
#: Bytes by which one read of a small input may raise the resident size.
MOST_MEMORY = 512 << 20
#: Address space of a child, GiB.
ADDRESS_SPACE = 6.0
#: Characters of the longest paragraph that is still a message.
LONGEST_MESSAGE = 4000

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Special:
    """Something else than a file: a pipe, a folder, or a link."""

    kind: str  # "fifo", "folder", "link"
    target: str = ""


#: What a reader is given, by name: bytes of a file, or something else than a file.
Input = dict[str, bytes | Special]


@dataclass(frozen=True)
class Reader:
    """What makes an input from a seed, and what reads it from the folder it was put into."""

    name: str
    mutate: Callable[[random.Random], Input]
    read: Callable[[Path], None]


@dataclass
class Outcome:
    """What came of one seed; ``kind`` tells findings apart, ``detail`` is for a person."""

    seed: int
    status: str  # "ok", "refused", "bad"
    kind: str = ""
    detail: str = ""
    seconds: float = 0.0
    warned: str = ""


@dataclass
class Report:
    """Outcomes of one reader."""

    reader: str
    count: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    bad: dict[str, list[Outcome]] = field(default_factory=dict)
    warned: dict[str, list[int]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.count += 1
        self.statuses[outcome.status] += 1
        if outcome.status == "refused":
            self.refusals[outcome.kind] += 1
        if outcome.status == "bad":
            self.bad.setdefault(outcome.kind, []).append(outcome)
        if outcome.warned:
            self.warned.setdefault(outcome.warned, []).append(outcome.seed)

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "reader": self.reader,
            "count": self.count,
            "seconds": round(self.seconds, 1),
            "statuses": dict(self.statuses),
            "refusals": dict(self.refusals.most_common()),
            "bad": {
                kind: {"count": len(found), "seeds": [o.seed for o in found[:20]]}
                | {"detail": found[0].detail}
                for kind, found in self.bad.items()
            },
            "warned": {k: {"count": len(v), "seeds": v[:5]} for k, v in self.warned.items()},
        }


class HangError(BaseException):
    """Raised by the alarm; no handler of exceptions catches it."""


class BrokenHarnessError(Exception):
    """A child failed outside the reader: the fault is ours."""


class UnusableError(Exception):
    """A reader gave something back that what comes next cannot use."""


def place(given: Input, folder: Path) -> None:
    """Put an input into an empty folder."""
    for name, content in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.kind == "fifo":
            os.mkfifo(path)
        elif content.kind == "folder":
            path.mkdir(exist_ok=True)
        else:
            path.symlink_to(content.target)


def generator(reader: Reader, seed: int) -> random.Random:
    """The generator of a seed: text, and so another one for every reader."""
    return random.Random(f"{reader.name} {seed}")


def attempt(reader: Reader, seed: int, folder: Path) -> Outcome:
    """Make, place and read one input; the folder is empty before and after."""
    given = reader.mutate(generator(reader, seed))
    place(given, folder)
    _reset_peak()
    before = _memory("VmRSS")
    started = time.monotonic()
    heard: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = (
            lambda m, c, f, n, *_: heard.append(  # type: ignore[assignment]
                f"{c.__name__} at {_short(f)}:{n}: {str(m)[:80]}"
            )
        )
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            outcome = _read(reader, seed, folder)
        except HangError as error:
            outcome = Outcome(seed, "bad", f"hang at {_where(error)}", _trace(error))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
    outcome.seconds = time.monotonic() - started
    outcome.warned = heard[0] if heard else ""
    grown = _memory("VmHWM") - before
    if outcome.status != "bad" and grown > MOST_MEMORY:
        what = f"{grown >> 20} MiB for an input of {_size(given)} bytes"
        outcome = Outcome(seed, "bad", f"memory ({outcome.status})", what, outcome.seconds)
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    return outcome


def _read(reader: Reader, seed: int, folder: Path) -> Outcome:
    try:
        reader.read(folder)
    except InputError as error:
        try:
            wrong = unreadable(str(error))
        except Exception as other:  # a message that cannot even be made
            wrong = type(other).__name__
        if wrong:
            kind = f"message: {wrong}, from {_where(error)}"
            return Outcome(seed, "bad", kind, ascii(str(error))[:1500])
        # the words of a refusal without what is peculiar to one input
        return Outcome(seed, "refused", f"{_where(error)}")
    except Exception as error:
        kind = f"{type(error).__name__} at {_where(error)}"
        return Outcome(seed, "bad", kind, _trace(error))
    return Outcome(seed, "ok")


def unreadable(message: str) -> str:
    """What keeps a message from being one paragraph that a terminal can show; empty: nothing."""
    if len(message) > LONGEST_MESSAGE:
        return f"longer than {LONGEST_MESSAGE} characters"
    try:
        message.encode()
    except UnicodeEncodeError:
        return "cannot be encoded"
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in message):
        return "control characters"
    if "\n\n" in message:
        return "more than one paragraph"
    return ""


def _where(error: BaseException) -> str:
    """The innermost line of scalewise, and the function outside that raised, if it was one."""
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, HangError):
        del frames[-1]  # the alarm itself
    own = [f for f in frames if "scalewise" in Path(f.filename).parts]
    if not own:
        own = [f for f in frames if "fuzz" in Path(f.filename).parts] or frames
    last = own[-1]
    text = f"{_short(last.filename)}:{last.lineno} {last.name}"
    if frames[-1] is not last:
        text += f" > {_short(frames[-1].filename)} {frames[-1].name}"
    return text


def _trace(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception as other:
        text = f"{type(error).__name__} whose text is a {type(other).__name__}"
    return ascii(text)[:600]


def _short(filename: str) -> str:
    parts = Path(filename).parts
    return "/".join(parts[-2:])


def _size(given: Input) -> int:
    return sum(len(v) for v in given.values() if isinstance(v, bytes))


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    try:
        with open("/proc/self/status") as stream:
            for line in stream:
                if line.startswith(name):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


# -- children --------------------------------------------------------------------------------------


def run(
    reader: Reader,
    seeds: range,
    *,
    batch: int = 500,
    stop_at: float = float("inf"),
    address_space: float = ADDRESS_SPACE,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Work through seeds in one child after the other; ``tell`` hears of every finding.

    Deaths and hangs are tried again in a child of their own: a busy machine is no finding.
    """
    report = Report(reader.name)
    started = time.monotonic()
    at = seeds.start
    while at < seeds.stop and time.monotonic() - started < stop_at:
        part = range(at, min(at + batch, seeds.stop))
        for outcome in _child(reader, part, address_space):
            at = outcome.seed + 1
            if outcome.status == "bad" and outcome.kind.startswith(("hang", "killed", "signal")):
                again = list(_child(reader, range(outcome.seed, at), address_space))
                outcome = again[0] if again else outcome
            report.add(outcome)
            if outcome.status == "bad":
                tell(outcome)
    report.seconds = time.monotonic() - started
    return report


def _child(reader: Reader, seeds: range, address_space: float) -> Iterator[Outcome]:
    """Outcomes of seeds in order; ends early, with the finding, where the child dies."""
    gc.collect()
    sys.stdout.flush()
    board = mmap.mmap(-1, 16)  # the seed at work, and when it began
    _note(board, seeds.start)
    inlet, outlet = os.pipe()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        tempfile.TemporaryFile() as stacks,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of forks beside threads
        child = os.fork()
        if child == 0:
            os.close(inlet)
            _work(reader, seeds, Path(folder), board, outlet, stacks, address_space)
        os.close(outlet)
        done = seeds.start
        killed = False
        for line in _lines(inlet, child, board):
            if line is None:
                killed = True
                break
            outcome = Outcome(**json.loads(line))
            done = outcome.seed + 1
            yield outcome
        os.close(inlet)
        _, status = os.waitpid(child, 0)
        if done >= seeds.stop:
            return
        if os.WIFEXITED(status):
            raise BrokenHarnessError(f"{reader.name}: the child gave up at seed {done}")
        stacks.seek(0)
        stack = stacks.read().decode("utf-8", "replace")
        seed = max(done, int.from_bytes(board[:8], "little"))
        kind = f"signal: the process died of {signal.Signals(os.WTERMSIG(status)).name}"
        if killed:
            kind = "killed: a hang that no alarm ends"
        yield Outcome(seed, "bad", f"{kind} at {_innermost(stack)}", stack[:600])


def _innermost(stack: str) -> str:
    """The innermost line of scalewise in what faulthandler wrote."""
    lines = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', stack)
    own = [line for line in lines if "scalewise" in Path(line[0]).parts] or lines
    if not own:
        return "an unknown place"
    file, line, function = own[0]
    text = f"{_short(file)}:{line} {function}"
    if lines[0] != own[0]:
        text += f" > {_short(lines[0][0])} {lines[0][2]}"
    return text


def _lines(inlet: int, child: int, board: mmap.mmap) -> Iterator[bytes | None]:
    """Lines of the child as they come; None once it was killed for not ending."""
    rest = b""
    while True:
        ready, _, _ = select.select([inlet], [], [], 0.5)
        if ready:
            chunk = os.read(inlet, 1 << 16)
            if not chunk:
                return
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            continue
        began = int.from_bytes(board[8:], "little") / 1e3
        if time.monotonic() - began > LIMIT + GRACE:
            os.kill(child, signal.SIGUSR1)  # says where it is
            time.sleep(0.3)
            os.kill(child, signal.SIGKILL)
            yield None
            return


def _note(board: mmap.mmap, seed: int) -> None:
    board[:8] = seed.to_bytes(8, "little")
    board[8:] = int(1e3 * time.monotonic()).to_bytes(8, "little")


def _work(
    reader: Reader,
    seeds: range,
    folder: Path,
    board: mmap.mmap,
    outlet: int,
    stacks: BinaryIO,
    address_space: float,
) -> None:
    """Be the child: never returns."""
    code = 1
    try:
        os.chdir(folder)
        limit = int(address_space * (1 << 30))
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.enable(stacks, all_threads=False)
        faulthandler.register(signal.SIGUSR1, stacks, all_threads=False)
        signal.signal(signal.SIGPROF, _alarm)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for seed in seeds:
            _note(board, seed)
            outcome = attempt(reader, seed, folder)
            _note(board, seed)
            os.write(outlet, (json.dumps(vars(outcome)) + "\n").encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _alarm(*_: object) -> None:
    raise HangError


# -- what generators share -------------------------------------------------------------------------


def damage(data: bytes, rng: random.Random) -> bytes:
    """One change that knows nothing of the format."""
    if not data:
        return data
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    which = rng.randrange(14)
    if which == 0:  # one byte
        flipped = bytearray(data)
        flipped[min(at, len(data) - 1)] = rng.randrange(256)
        return bytes(flipped)
    if which == 1:  # one bit of several bytes
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if which == 2:
        return data[:at]
    if which == 3:
        return data[at:]
    if which == 4:  # a part left out
        return data[:at] + data[min(end, at + 40) :]
    if which == 5:  # a part twice
        return data[:end] + data[at:]
    if which == 6:
        return data[:at] + rng.choice(JUNK) + data[at:]
    if which == 7:
        return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"\x0b\n")))
    if which == 8:
        return data.replace(b" ", rng.choice((b"\t", b"  ", b"\xc2\xa0", b"\x0c")))
    if which == 9:
        return (
            rng.choice((b"\xef\xbb\xbf", b"\x1f\x8b\x08\x00", b"\n", b"\x00", b"PK\x03\x04")) + data
        )
    if which == 10:
        text = data.decode("utf-8", "replace")
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")), "replace")
    if which == 11:  # a digit
        digits = [k for k, c in enumerate(data) if 48 <= c < 58]
        if not digits:
            return data
        k = rng.choice(digits)
        return data[:k] + rng.choice(DIGITS) + data[k + 1 :]
    if which == 12:  # a line elsewhere
        lines = data.split(b"\n")
        line = lines.pop(rng.randrange(len(lines)))
        if rng.random() < 0.6:
            lines.insert(rng.randint(0, len(lines)), line)
        if rng.random() < 0.3:
            lines.insert(rng.randint(0, len(lines)), line)
        return b"\n".join(lines)
    other = rng.choice((b"[", b"]", b"{", b"}", b'"', b"'", b"\\", b",", b":", b"="))
    return data[:at] + other * rng.choice((1, 1, 2, 50)) + data[at:]


JUNK = (
    b"\x00",
    b"\x00" * 300,
    b"\xff\xfe",
    b"\xed\xa0\x80",  # a surrogate, which UTF-8 has not
    b"\x1b[2J",
    "٣".encode(),  # a digit that int() takes
    "²".encode(),  # a digit that isdigit() takes and int() does not
    "\u2028".encode(),
    "\u202e".encode(),
    b"_",
    b"-",
    b"9" * 20,
    b"9" * 5000,
    b"nan",
    b"inf",
    b"1e999",
    b" \n",
    b"x" * 100_000,
)
DIGITS = (b"", b"-", b"9", b"99999999", b"1_0", b".", b"e", b"e9", b"x", "٣".encode(), b" ", b"\n")
