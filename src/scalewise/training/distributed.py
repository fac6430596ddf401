"""Starting a training: in this process, or in several with one thread each."""

from __future__ import annotations

import signal
from functools import partial

import torch
from lightning_fabric import Fabric

from scalewise.core.errors import InputError
from scalewise.core.progress import SILENT, Progress, closing
from scalewise.training.dataset import Batch
from scalewise.training.stopping import Stop
from scalewise.training.trainer import Job, Trainer


def run(job: Job, progress: Progress = SILENT) -> None:
    """Train in one process, or in several started for it.

    Raises
    ------
    InputError
        Fewer frames than processes times batch; a loss that is not finite; the state of another
        run in the folder.
    KeyboardInterrupt
        Ctrl-C or SIGTERM; what was done is saved.
    """
    settings = job.settings
    needed = settings.processes * job.batch_size
    if len(job.train) < needed or not job.valid:
        raise InputError(
            "split",
            f"{len(job.train)} frames to train and {len(job.valid)} to validate",
            f"At least {needed} and 1 are needed: give more frames, or smaller processes or "
            "batch_size.",
        )
    if job.batch_size > 1 and len({s.graph.periodic for s in _kinds(job)}) > 1:
        raise InputError(
            "key 'batch_size'",
            f"batch_size={job.batch_size}, but some frames are periodic and some are not",
            "They cannot share a batch: use batch_size=1, or one kind of frames.",
        )
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("key 'device'", "no CUDA device found", "Use device=cpu or device=auto.")
    accelerator = "auto" if settings.device == "auto" else settings.device
    if settings.processes == 1:
        fabric = Fabric(accelerator=accelerator, devices=1)
        fabric.launch()
        _train(fabric, job, progress)
    else:
        fabric = Fabric(accelerator=accelerator, devices=settings.processes, strategy="ddp_spawn")
        with Stop(forward=True).listening() as stop:
            # what is wrong with the input is wrong in every process: the first one's word is enough
            error = fabric.launch(partial(_train_one_thread, job=job, progress=progress))
        if stop.asked:
            raise stop.error
        if error is not None:
            raise error


def _kinds(job: Job) -> list[Batch]:
    return [s for role in (job.train, job.valid) for s in role.one_of_each_periodicity()]


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
