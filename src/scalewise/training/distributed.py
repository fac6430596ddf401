"""Start a training in this process, in several processes with one thread each, or in a group.

In a group of processes that torchrun or srun started, the first process reads the data, prepares
what the others need, and writes the files; the others wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Final

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress, closing
from scalewise.core.running import Group, group
from scalewise.training.job import Job
from scalewise.training.settings import TrainSettings
from scalewise.training.stopping import Stop
from scalewise.training.trainer import Trainer

#: How long processes of a group wait for the first one: reading 10^7 frames of text takes hours.
PATIENCE: Final = timedelta(hours=12)


def join_group(settings: TrainSettings) -> tuple[TrainSettings, Fabric | None]:
    """Join the processes that this one was started with, if there are any.

    Returns
    -------
    tuple
        Settings with the number of all processes, and their connection; none without others.

    Raises
    ------
    InputError
        Settings of another number of processes; unlike numbers of processes on the nodes.
    """
    found = group()
    if found is None:
        return settings, None
    if settings.processes not in (1, found.size):
        raise InputError(
            "key 'processes'",
            f"processes={settings.processes}, but {found.size} were started together",
            "Leave it out: all that torchrun or srun started take part.",
        )
    if found.size % found.here:
        raise InputError(
            "torchrun or srun",
            f"{found.size} processes, {found.here} of them on this node",
            "Start as many on every node, such as with srun --ntasks-per-node=4.",
        )
    slurm = "TORCHELASTIC_RUN_ID" not in os.environ
    if slurm:
        _check_nodes(found)
    fabric = Fabric(
        accelerator=_accelerator(settings),
        devices=found.here,
        num_nodes=found.size // found.here,
        strategy=DDPStrategy(timeout=PATIENCE),
        plugins=[SLURMEnvironment() if slurm else TorchElasticEnvironment()],
    )
    fabric.launch()
    atexit.register(_disconnect)
    return settings.model_copy(update={"processes": found.size}), fabric


def _disconnect() -> None:
    """End the threads of the connection: one that outlives Python aborts the process.

    Lightning does so with NCCL alone.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _check_nodes(found: Group) -> None:
    """Refuse what Lightning's reading of SLURM refuses without a remedy."""
    nodes = os.environ.get("SLURM_NNODES", "1")
    each = os.environ.get("SLURM_NTASKS_PER_NODE", "")
    if not each.isdecimal() or int(each) * int(nodes) != found.size:
        raise InputError(
            "srun",
            f"{found.size} processes, {nodes} nodes and {each or 'no'} --ntasks-per-node",
            "Say how many processes each node has, such as with srun --nodes=2 "
            "--ntasks-per-node=4, and leave --ntasks out.",
        )


def follow(fabric: Fabric) -> None:
    """Train what the first process of the group hands out; leave with it where it has an error.

    Raises
    ------
    InputError
        As :func:`run`, in all processes.
    KeyboardInterrupt
        A process of the group was told to end; its state is saved.
    """
    job: Job | None = fabric.broadcast(None)
    if job is None:
        sys.exit(2)  # the first process says what is wrong
    _train(fabric, job, SILENT)


@contextlib.contextmanager
def leading(fabric: Fabric | None) -> Iterator[None]:
    """Let the others of a group leave where the first process fails before the training."""
    try:
        yield
    except BaseException:
        if fabric is not None:
            fabric.broadcast(None)
        raise


def run(job: Job, progress: Progress = SILENT, fabric: Fabric | None = None) -> None:
    """Train in one process, in several started for it, or in those of a group.

    Parameters
    ----------
    job
        What to train.
    progress
        Receives messages and progress.
    fabric
        Connection of a group, whose first process this is.

    Raises
    ------
    InputError
        Fewer frames than processes times batch; a loss that is not finite; the state of another
        run in the folder.
    KeyboardInterrupt
        Ctrl-C or SIGTERM; what was done is saved.
    """
    with leading(fabric):
        _check(job)
        accelerator = _accelerator(job.settings)
    settings = job.settings
    # what torchrun or a queue has set is for a group, and this process alone is none
    alone = LightningEnvironment()
    if fabric is not None:
        fabric.broadcast(job)
        _train(fabric, job, progress)
    elif settings.processes == 1:
        fabric = Fabric(accelerator=accelerator, devices=1, plugins=[alone])
        fabric.launch()
        _train(fabric, job, progress)
    else:
        fabric = Fabric(
            accelerator=accelerator,
            devices=settings.processes,
            strategy="ddp_spawn",
            plugins=[alone],
        )
        with Stop(forward=True).listening() as stop:
            # what is wrong with the input is wrong in every process: the first one's word is enough
            error = fabric.launch(partial(_train_one_thread, job=job, progress=progress))
        if stop.asked:
            raise stop.error
        if error is not None:
            raise error


def _check(job: Job) -> None:
    settings = job.settings
    needed = settings.processes * job.batch_size
    if len(job.train) < needed or not job.valid:
        raise InputError(
            "split",
            f"{len(job.train)} frames to train and {len(job.valid)} to validate",
            f"At least {needed} and 1 are needed: give more frames, or smaller processes or "
            "batch_size.",
        )


def _accelerator(settings: TrainSettings) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("key 'device'", "no CUDA device found", "Use device=cpu or device=auto.")
    return settings.device


def _train_one_thread(
    fabric: Fabric, job: Job, progress: Progress
) -> InputError | KeyboardInterrupt | None:
    torch.set_num_threads(1)
    # torch interrupts its processes when their parent has died; in the background that is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _train(fabric, job, progress)
    except (InputError, KeyboardInterrupt) as error:
        return error
    return None


def _train(fabric: Fabric, job: Job, progress: Progress) -> None:
    with (
        Stop().listening() as stop,
        closing(progress if fabric.is_global_zero else SILENT) as shown,
    ):
        Trainer(fabric, job, shown, stop).run()
