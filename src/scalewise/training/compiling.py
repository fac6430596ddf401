"""When compiling code for a training pays, and how several processes share compiled code.

On the CPU, kernels are compiled for the size of the network, and programs for the batches of long
trainings; later trainings of the user use them again. On other devices, ``torch.compile`` is used.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, Final

import torch
from lightning_fabric import Fabric

from scalewise.models.compiler import compiler_found
from scalewise.training.job import Job
from scalewise.training.settings import TrainSettings
from scalewise.training.together import reduced

#: Minutes of training from which ``torch.compile`` pays: it takes two and a quarter on an idle
#: core, and steps take two thirds of the time (benchmarks/speed.py).
COMPILE_PAYS: Final = 10.0
#: Minutes of training, or steps times atoms, from which kernels pay: they take five seconds to
#: compile, and save half of 0.3 ms for each atom of a step.
KERNELS_PAY_MINUTES: Final = 1.0
KERNELS_PAY: Final = 100_000.0
#: The same of programs, which take most of a minute for each kind of batches (a ladder with long
#: range has two), and save half of what is left.
PROGRAMS_PAY_MINUTES: Final = 5.0
PROGRAMS_PAY: Final = 2_000_000.0
#: Share of a budget that compiling may take, on a busy machine as on an idle one.
COMPILE_SHARE: Final = 0.25


class Compiled(IntEnum):
    """What is compiled for a training on the CPU."""

    NOTHING = 0
    KERNELS = 1
    #: And programs.
    PROGRAMS = 2

    @classmethod
    def of(cls, job: Job, device: torch.device, processes: int) -> Compiled:
        """What pays: the same whatever is compiled already."""
        settings = job.settings
        if device.type != "cpu" or settings.adaptive_cutoff is not None:
            return cls.NOTHING
        if settings.compile == "always":
            return cls.PROGRAMS
        if settings.compile == "never" or not compiler_found():
            return cls.NOTHING
        return cls._paying(job, processes)

    @classmethod
    def _paying(cls, job: Job, processes: int) -> Compiled:
        settings = job.settings
        if settings.minutes is not None:
            spent, pays = settings.minutes, (KERNELS_PAY_MINUTES, PROGRAMS_PAY_MINUTES)
        else:
            steps_per_epoch = len(job.train) // (job.batch_size * processes)
            steps = settings.steps or settings.epochs * steps_per_epoch
            spent, pays = steps * job.batch_size * job.train.atoms, (KERNELS_PAY, PROGRAMS_PAY)
        network = settings.network
        kinds = 1 + (network.long_range_optional and network.fork is None)
        return cls(sum(spent >= least for least in (pays[0], kinds * pays[1])))

    @classmethod
    def missed(cls, job: Job) -> str | None:
        """What to say of a training on the CPU that would be faster with a compiler."""
        asked = job.settings.compile == "auto" and job.settings.adaptive_cutoff is None
        if not asked or compiler_found() or job.settings.device == "cuda":
            return None
        if torch.cuda.is_available() or cls._paying(job, job.settings.processes) == cls.NOTHING:
            return None
        return "no C++ compiler: with one, such as g++, steps take a third to a half of the time"


def compiles(settings: TrainSettings, device: torch.device) -> bool:
    """Whether a training compiles its steps with ``torch.compile``."""
    if device.type == "cpu":
        return False
    network = settings.network
    if settings.compile != "auto" or (network.ladder and network.fork is None):
        # the steps of a ladder have many shapes: how often they are compiled again is not measured
        return settings.compile == "always"
    return settings.minutes is not None and settings.minutes >= COMPILE_PAYS and compiler_found()


def compiled_by_all(
    fabric: Fabric, step: Callable[[], None], seconds: float | None, what: str
) -> bool:
    """Whether every process compiled what ``step`` compiles; ``what`` names it.

    One process compiles, and the others find the result in the compiler's cache. Where any fails,
    or takes more than some seconds, all must go on without.
    """
    done = torch.ones(1)
    if not fabric.is_global_zero:
        fabric.barrier()
    try:
        with at_most(seconds), without_logs():
            step()
    except Exception as error:  # compilers fail in many ways
        logging.getLogger("scalewise").warning("training without %s: %s", what, error)
        done.zero_()
    if fabric.is_global_zero:
        fabric.barrier()
    return float(reduced(fabric, done, "mean")) == 1.0


@contextlib.contextmanager
def without_logs() -> Iterator[None]:
    """Keep what is logged to itself: a compiler that is stopped logs its own code, line by line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class OutOfTimeError(Exception):
    """What was not done in time. TimeoutError is an OSError, and files and compilers have those."""


@contextlib.contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTimeError in what takes longer than some seconds; main thread of POSIX alone.

    It is raised again and again until it gets through: whatever swallows one exception goes on.
    """
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    done = False

    def late(number: int, frame: Any) -> None:
        if not done:
            raise OutOfTimeError(f"not done within {seconds:.0f} s")

    try:
        before = signal.signal(signal.SIGALRM, late)
    except ValueError:  # another thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        done = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
