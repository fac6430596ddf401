"""Independent jobs, in one process or in several, with the same results.

A job is a picklable object. The function that runs it depends on the job and on data that all jobs
share, and on nothing else. Each job runs with one thread. A process may die at any moment, for
example for lack of memory; its jobs are then run again by other processes.
:mod:`scalewise.core.cluster` does the same on several machines.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, Final, TypeVar

from scalewise.core.errors import InputError

S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")

#: Times in a row that processes may die before any finishes a job.
DEATHS: Final = 3
#: What all jobs of this process share.
_SHARED: list[Any] = []


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    function: Callable[[S, J], R],
    shared: S,
    jobs: Sequence[J],
    workers: int,
    on: str | None = None,
) -> Iterator[tuple[int, R]]:
    """Do all jobs; yield the number of each and its result as they are done.

    Parameters
    ----------
    function
        Does a job: ``function(shared, job)``. It can be imported by its name.
    shared
        What all jobs need; it goes to each process once.
    jobs
        What is to be done.
    workers
        Processes; with one, all is done in this one.
    on
        Address of a Dask scheduler, whose workers do the jobs instead.

    Raises
    ------
    InputError
        As the function; processes that die again and again; as
        :func:`scalewise.core.cluster.run_on`.
    """
    if on is not None:
        from scalewise.core.cluster import run_on  # Dask is an extra

        yield from run_on(on, function, shared, jobs)
        return
    if workers == 1 or len(jobs) < 2:
        for k, job in enumerate(jobs):
            yield k, with_one_thread(function, shared, job)
        return
    left, deaths = set(range(len(jobs))), 0
    while left:
        before = len(left)
        try:
            for k, found in _pooled(function, shared, jobs, sorted(left), workers):
                left.discard(k)
                yield k, found
        except BrokenProcessPool as error:
            deaths = deaths + 1 if len(left) == before else 0
            if deaths == DEATHS:
                raise InputError(
                    "workers",
                    f"{workers} processes, which die again and again ({error})",
                    "They may lack memory: give fewer workers. In your own script, calls stand "
                    "below `if __name__ == '__main__':`, or have workers=1.",
                ) from error


def _pooled(
    function: Callable[[S, J], R], shared: S, jobs: Sequence[J], numbers: list[int], workers: int
) -> Iterator[tuple[int, R]]:
    """Do some of the jobs in processes, which end with this generator."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(numbers)),
        mp_context=_context(function),
        initializer=_share,
        initargs=(shared,),
    )
    try:
        try:
            futures = {pool.submit(_do, function, jobs[k]): k for k in numbers}
        except OSError as error:  # a process died while others were started: its pipes are closed
            raise BrokenProcessPool(str(error)) from error
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # a training saves its state, and goes on there the next time
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _context(function: Callable[..., Any]) -> BaseContext:
    """How processes start: forked from one that has imported the function's module, and no more.

    That one is started once; PyTorch takes seconds to import. Windows spawns them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    return context


def _share(shared: Any) -> None:
    """Take what all jobs share; end with the process that started this one, however it ends."""
    _SHARED[:] = [shared]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(function: Callable[[Any, J], R], job: J) -> R:
    try:
        return with_one_thread(function, _SHARED[0], job)
    except KeyboardInterrupt:  # told to end: it must not wait for another job
        os._exit(1)


def with_one_thread(function: Callable[[S, J], R], shared: S, job: J) -> R:
    """Do a job with one thread of PyTorch, if it is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:  # the function does without
        return function(shared, job)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(shared, job)
    finally:
        torch.set_num_threads(threads)
