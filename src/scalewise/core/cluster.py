"""Jobs on the workers of a Dask scheduler, on other machines or in a queueing system.

The data of a job are sent to its worker and the result is sent back, so that no shared file system
is needed. Workers may join, leave and die at any moment, and so may the scheduler, if another one
answers at its address.
"""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from scalewise.core.errors import InputError
from scalewise.core.jobs import with_one_thread

S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")

#: Seconds in which a scheduler answers, its first worker comes, and a new scheduler replaces one
#: that is gone.
ANSWERS: Final = 20.0
COMES: Final = 60.0
RETURNS: Final = 120.0
#: Workers in a row that may die of jobs before any job is done.
DEATHS: Final = 12
_START: Final = (
    "Start it with `dask scheduler`, and workers, in the environment of scalewise, with "
    "`dask worker ADDRESS --nthreads 1`."
)


def run_on(
    address: str, function: Callable[[S, J], R], shared: S, jobs: Sequence[J]
) -> Iterator[tuple[int, R]]:
    """Do all jobs on the workers of a scheduler; yield the number of each and its result.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://node1:8786``.
    function, shared, jobs
        As of :func:`scalewise.core.jobs.run_jobs`.

    Raises
    ------
    InputError
        As the function; no Dask here; no scheduler or no worker there; workers with several
        threads, without scalewise, or with another version of it or of PyTorch; jobs of which
        workers die again and again.
    """
    left, deaths, patience = set(range(len(jobs))), 0, ANSWERS
    while left:
        with _connected(address, patience) as client:
            _check_workers(client, address)
            for k, found, died in _done(client, function, shared, jobs, sorted(left)):
                if died:
                    deaths += 1
                    continue
                left.discard(k)
                deaths = 0
                yield k, found
        if deaths >= DEATHS:
            raise InputError(
                f"workers of {address}",
                "they die again and again of these jobs",
                "They may lack memory: start fewer of them on a machine.",
            )
        patience = RETURNS  # the scheduler is gone, or workers died: what is left is done again


def _done(
    client: Any,
    function: Callable[[S, J], R],
    shared: S,
    jobs: Sequence[J],
    numbers: Sequence[int],
) -> Iterator[tuple[int, Any, bool]]:
    """Number and result of each job, or that a worker died of it; ends with the scheduler."""
    from distributed import CancelledError, as_completed
    from distributed.scheduler import KilledWorker

    with warnings.catch_warnings():
        # kept by the scheduler, and not by workers alone, which may die with it
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        common = client.submit(_same, shared, pure=False)
        futures = {
            client.submit(with_one_thread, function, common, jobs[k], pure=False): k
            for k in numbers
        }
    completed: Any = as_completed  # its types are its own
    for future in completed(futures, loop=client.loop):
        try:
            yield futures[future], future.result(), False
        except KilledWorker:
            yield futures[future], None, True
        except CancelledError:  # the scheduler is gone
            return
        except ModuleNotFoundError as error:
            raise InputError(
                f"workers of {client.scheduler.address}",
                f"one of them lacks a package ({error})",
                "Start workers in an environment with the same versions.",
            ) from error


def _same(shared: S) -> S:
    return shared


@contextmanager
def _connected(address: str, seconds: float) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "on",
            f"{address}, but Dask is not installed ({error})",
            "pip install 'scalewise[cluster]'",
        ) from error
    # it logs what is said here, once for each of its threads
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        connect: Any = Client  # its types are its own
        client = connect(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "option --on", f"no Dask scheduler answers at {address} within {seconds:.0f} s", _START
        ) from error
    with closing(_Quiet(client)):
        yield client


class _Quiet:
    """Closes a client whose scheduler may be gone."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def close(self) -> None:
        try:
            self.client.close(timeout=2)
        except Exception:  # whatever: nothing is lost with it
            logging.getLogger("scalewise").debug("a client of Dask did not close", exc_info=True)


def _version(name: str) -> str:
    return importlib.metadata.version(name)


def _check_workers(client: Any, address: str) -> None:
    """Refuse workers on which results would differ, or no job can be done."""
    try:
        client.wait_for_workers(1, timeout=COMES)
    except TimeoutError as error:
        raise InputError(
            "on", f"{address}, where no worker came in {COMES:.0f} s", _START
        ) from error
    for name in ("scalewise", "torch"):
        own = _version(name)
        found = client.run(importlib.metadata.version, name, on_error="return")
        for worker, version in found.items():
            if version != own:
                missing = isinstance(version, BaseException)
                raise InputError(
                    f"worker {worker}",
                    f"no {name} there" if missing else f"{name} {version} there, {own} here",
                    "Start workers in an environment with the same versions.",
                )
    for worker, threads in client.nthreads().items():
        if threads != 1:
            raise InputError(
                f"worker {worker}",
                f"{threads} threads: jobs in one process would disturb each other",
                f"Start several with `dask worker {address} --nthreads 1` instead.",
            )
