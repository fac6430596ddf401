"""From structures and settings to a potential: split, fit the composition model, train."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from lightning_fabric import Fabric
from pydantic import ValidationError

from scalewise.core.documents import read_kept
from scalewise.core.errors import InputError
from scalewise.core.files import read_json, write_json
from scalewise.core.loading import explain
from scalewise.core.progress import SILENT, Progress
from scalewise.core.settings import differences
from scalewise.core.wording import count
from scalewise.data.keys import LabelKeys
from scalewise.data.reading import LARGE, read_or_shard
from scalewise.data.shard_writing import write_shards
from scalewise.data.shards import ShardedStructures, elements_of, reopen_shards, take
from scalewise.data.splits import (
    Split,
    hash_file,
    make_split,
    say_untrained,
    untrained_elements,
)
from scalewise.data.structure import Structure
from scalewise.models import checkpoint
from scalewise.models.density.settings import PRESETS, NetworkSettings
from scalewise.models.potential import Potential
from scalewise.models.protocol import Ladder
from scalewise.reporting.experiments import Request
from scalewise.training.baseline import TrainingBaseline, energy_offset, fit_baseline
from scalewise.training.compiling import Compiled
from scalewise.training.dataset import frames_per_step, prepare
from scalewise.training.default_cutoff import SHORTEST, with_cutoff
from scalewise.training.distributed import follow, join_group, leading, run
from scalewise.training.job import Job
from scalewise.training.log import history
from scalewise.training.settings import DataSettings, TrainSettings
from scalewise.training.state import OTHER, TrainingProgress, check_state, read_progress
from scalewise.training.trainer import STATE

#: Force error over that of predicting no force, above which a potential has learned little.
LITTLE = 0.5
#: Folder of the frames below that of a run, where they are too many for memory.
SHARDS = "data"


def train(
    structures: Sequence[Structure],
    split: Split | None = None,
    settings: TrainSettings | None = None,
    *,
    ladder: Ladder | Sequence[float | str] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    initial: Potential | None = None,
    out: Path | str | None = None,
    progress: Progress = SILENT,
    **changes: Any,
) -> Potential:
    """Train a potential on labelled structures.

    Parameters
    ----------
    structures
        Structures of which some or all have forces (eV/Å), energies (eV) and stresses (eV/Å³) as
        labels.
    split
        Roles of the structures, of which ``train`` and ``valid`` are used; default: the split that
        :func:`scalewise.make_split` makes.
    settings
        All settings; default: those of :class:`scalewise.TrainSettings`.
    ladder
        Scales to train for, as a :class:`scalewise.Ladder` or a list as in the settings, such as
        ``[3, 5.5, "long"]``; default: those of the settings, one cutoff.
    minutes, steps
        Budget in wall-clock minutes or in optimiser steps; default: ``epochs`` of the settings.
    initial
        A potential whose weights the training starts from.
    out
        Folder of the run, in which an interrupted training continues; default: a temporary folder.
    progress
        Receives messages and progress, such as ``scalewise.Messages()``.
    changes
        Further settings by name, such as ``seed=1`` or ``network={"channels": 16}``.

    Returns
    -------
    Potential
        The potential with the lowest validation loss; with an adaptive cutoff, the potential of the
        last validation.

    Raises
    ------
    InputError
        Faulty data or settings; a role without structures; a loss that is not finite.
    """
    given = {k: v for k, v in (("minutes", minutes), ("steps", steps)) if v is not None} | changes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if out is None else out)
        if initial is not None:
            given["start"] = folder / "initial"
        chosen = _settings(settings, given, ladder)
        if initial is not None:  # nothing is written for settings that are refused
            initial.save(folder / "initial")
        split = split or split_for(structures, chosen.data, chosen.seed, progress)
        return checkpoint.read(train_in(structures, split, chosen, folder, progress))


def _settings(
    settings: TrainSettings | None,
    changes: dict[str, Any],
    ladder: Ladder | Sequence[float | str] | None,
) -> TrainSettings:
    """Settings with changes, checked together."""
    base = {} if settings is None else settings.model_dump(exclude_unset=True)
    if changes.keys() & {"minutes", "steps"}:  # one budget replaces another
        base = {k: v for k, v in base.items() if k not in ("minutes", "steps")}
    given = changes.get("network", {})
    if isinstance(given, NetworkSettings):
        given = given.model_dump(exclude_unset=True)
    if isinstance(given, Mapping):  # anything else is refused with the other settings
        asked = list(ladder.rungs) if isinstance(ladder, Ladder) else ladder
        rungs = {} if ladder is None else {"ladder": asked}
        given = {**base.get("network", {}), **given, **rungs}
    try:
        return TrainSettings.model_validate({**base, **changes, "network": given})
    except ValidationError as error:
        raise explain(TrainSettings, "settings of train", error) from None


def run_command(request: Request) -> list[Path]:
    """Run ``scalewise train``."""
    (path,) = request.files
    settings, fabric = join_group(request.settings)
    out, progress = request.out, request.progress
    if fabric is not None and not fabric.is_global_zero:
        follow(fabric)
        return []
    with leading(fabric):
        keys = LabelKeys.of(settings.data, "data.")
        structures = read_or_shard(path, keys, out / SHARDS, progress=progress)
        split = split_for(structures, settings.data, settings.seed, progress)
        job = _prepared(structures, split, settings, out, progress)
    return [_trained(job, progress, fabric), out / "log.csv"]


def train_in(
    structures: Sequence[Structure],
    split: Split,
    settings: TrainSettings,
    out: Path,
    progress: Progress = SILENT,
    *,
    known: bool = False,
) -> Path:
    """Train in a folder; a killed run goes on where it was.

    Writes ``model/`` (the best so far), ``state.safetensors``, ``log.csv``, ``settings.json`` and
    ``split.json`` below ``out`` and returns the folder of the model. Frames that are ``known``,
    because another training had the same, are not all looked at first.

    Raises
    ------
    InputError
        Whatever is wrong with the data or the settings; a loss that is not finite.
    """
    return _trained(_prepared(structures, split, settings, out, progress, known=known), progress)


def _trained(job: Job, progress: Progress, fabric: Fabric | None = None) -> Path:
    if (missed := Compiled.missed(job)) is not None:
        progress.message(missed)
    run(job, progress, fabric)
    _complete(job)
    _judge_error(job.out / "model", job.valid.frames, progress)
    return job.out / "model"


def _complete(job: Job) -> None:
    """Take out the offset of the energies, and let the potential know how its errors fell.

    What its scales are worth depends on the latter.
    """
    model = job.out / "model"
    potential = checkpoint.read(model)  # a run that ended before may have lost a file since
    if "history" in potential.info:
        return
    info = {**potential.info, "history": history(job.out / "log.csv")}
    composition = potential.composition
    if not job.settings.freeze:  # a network that stays is off by what it was
        offset = energy_offset(potential, job.train.frames)
        composition = replace(composition, energies=composition.energies + offset)
    checkpoint.write(model, replace(potential, composition=composition, info=info))


def _prepared(
    structures: Sequence[Structure],
    split: Split,
    settings: TrainSettings,
    out: Path,
    progress: Progress,
    *,
    known: bool = False,
) -> Job:
    """Everything that the processes of a training need."""
    settings, first = _from(settings)
    split.check_count(structures)
    missing = [role for role in ("train", "valid") if role not in split.role]
    if missing:
        raise InputError(
            "split",
            f"no structure has the role {' or '.join(missing)}",
            "Training needs both: make_split deals them.",
        )
    settings = _with_cutoff(settings, take(structures, split.members("train")), progress)
    digest = _digest(settings, split)
    if (out / STATE).is_file():
        # before anything of that run is written over
        before = read_progress(out / STATE, _checked_state(out, settings, digest))
        progress.message(
            f"nothing left to train: {out} ended after step {before.step}"
            if before.finished
            else f"going on after step {before.step}"
        )
    split.save(out / "split.json")
    write_json(out / "settings.json", settings.model_dump(mode="json"))
    frames = _mapped(structures, split, out / SHARDS)
    members = {role: take(frames, split.members(role)) for role in ("train", "valid")}
    progress.message(", ".join(f"{count(len(v), 'frame')} to {k}" for k, v in members.items()))
    _check_labels(members)
    elements = elements_of(members["train"])
    start = (
        fit_baseline(members["train"], elements, settings.network)
        if first is None
        else TrainingBaseline.of(first)
    )
    if first is not None and not set(elements_of(frames)) <= {*first.network.elements}:
        known_elements = set(first.network.elements)
        for frame in frames:
            if unknown := sorted(set(frame.numbers.tolist()) - known_elements):
                names = ", ".join(chemical_symbols[z] for z in unknown)
                raise InputError(
                    f"{frame.where}, species",
                    f"the element(s) {names}, which the potential of start does not know",
                    "Leave start out, or give a potential of these elements.",
                )
    train_samples, valid_samples = (
        prepare(
            *(members[role], start.composition, settings.network, torch.float32),
            known=known,
        )
        for role in ("train", "valid")
    )
    return Job(
        settings=settings,
        batch_size=settings.batch_size or frames_per_step(members["train"], settings.processes),
        train=train_samples,
        valid=valid_samples,
        baseline=start,
        digest=digest,
        out=out,
        initial_weights=None if first is None else first.network.state_dict(),
    )


def _checked_state(out: Path, settings: TrainSettings, digest: str) -> dict[str, str]:
    """The header of the state of a run; of another one, say which settings differ."""
    try:
        return check_state(out / STATE, digest)
    except InputError as error:
        kept = read_kept(out / "settings.json")
        if error.found != OTHER or not isinstance(kept, dict):
            raise
        found = differences(kept, settings.model_dump(mode="json"))
        # where a split is, and the potential to start from, does not name them
        found = [one for one in found if not one.startswith(("data.split=", "start="))]
        said = f": {', '.join(found)}" if found else ""
        raise InputError(str(out / STATE), f"{OTHER}{said}", error.remedy) from None


def _with_cutoff(
    settings: TrainSettings, frames: Sequence[Structure], progress: Progress
) -> TrainSettings:
    """Settings whose network has a cutoff; say which where that is not the usual."""
    chosen = with_cutoff(settings, frames)
    cutoff = chosen.network.cutoff
    if cutoff != settings.network.cutoff:
        progress.message(
            f"network.cutoff={cutoff:g} Å: within {SHORTEST:g} Å an atom has few neighbors here"
        )
    return chosen


def _mapped(structures: Sequence[Structure], split: Split, folder: Path) -> Sequence[Structure]:
    """Structures as they are or, of more than fit into memory twice, shards of them."""
    if isinstance(structures, ShardedStructures) or len(structures) <= LARGE:
        return structures
    made_from = split.data.sha256
    kept = reopen_shards(folder, made_from)
    return kept or write_shards(folder, structures, made_from=made_from)


def _judge_error(model: Path, frames: Sequence[Structure], progress: Progress) -> None:
    """Say so where a potential has learned little: it is written all the same."""
    info = read_json(model / checkpoint.MODEL, "Train again.").get("info", {})
    error = info.get("valid", {}).get("forces_mae")
    some = (frames[k] for k in range(0, len(frames), -(-len(frames) // LARGE)))
    labelled = [f.labels.forces for f in some if f.labels.forces is not None]
    nothing = 1e3 * float(np.abs(np.concatenate(labelled)).mean()) if labelled else 0.0
    if error is not None and nothing > 0 and error > LITTLE * nothing:
        progress.message(
            f"warning: hardly trained. After {info['step']} steps its force error on validation "
            f"frames is {error:.3g} meV/Å, where predicting none has {nothing:.3g}: give it more "
            "minutes or steps"
        )


def progress_of(out: Path, settings: TrainSettings, split: Split) -> TrainingProgress:
    """How far a training of these settings and data has come.

    The network of the settings has a cutoff, or that of the potential to start from.

    Raises
    ------
    InputError
        The folder holds a damaged training, or one of other settings or other data.
    """
    if not (out / STATE).is_file():
        return TrainingProgress()
    settings, _ = _from(settings)
    return read_progress(out / STATE, check_state(out / STATE, _digest(settings, split)))


def _digest(settings: TrainSettings, split: Split) -> str:
    """Name the settings and the data; of split and start, what is in them, and not where."""
    data = settings.data.model_copy(update={"split": None})
    start = settings.start
    if start is not None:
        start = Path(hash_file(checkpoint.locate(start) / checkpoint.MODEL))
    words = settings.model_copy(update={"data": data, "start": start}).digest()
    return hashlib.sha256((words + split.digest()).encode()).hexdigest()


def _from(settings: TrainSettings) -> tuple[TrainSettings, Potential | None]:
    """Take the network of the potential to start from, if there is one."""
    if settings.start is None:
        return settings, None
    first = checkpoint.read(checkpoint.locate(settings.start))
    network = first.network.settings
    if differ := _differing(settings.network, network):
        shown = ", ".join(f"{n}={getattr(settings.network, n)}" for n in differ)
        kept = ", ".join(f"{n}={getattr(network, n)}" for n in differ)
        raise InputError(
            "key 'network'",
            f"{shown}, another network than that of {settings.start} ({kept})",
            "Leave it out: a training that starts from a potential keeps its network.",
        )
    if settings.adaptive_cutoff is not None and not first.ladder:
        raise InputError(
            str(settings.start),
            f"a potential of one scale, {first.cutoff:g} Å",
            "An adaptive cutoff needs a potential that was trained over a ladder (--ladder).",
        )
    if settings.fork is not None:
        if not first.ladder:
            raise InputError(
                str(settings.start),
                f"a potential of one scale, {first.cutoff:g} Å",
                "A fork needs a potential that was trained over a ladder (--ladder).",
            )
        try:
            network = network.forked(settings.fork)
        except ValidationError as error:
            raise explain(NetworkSettings, "key 'fork'", error) from None
    return settings.model_copy(update={"network": network}), first


def _differing(given: NetworkSettings, network: NetworkSettings) -> list[str]:
    """Names of what was given, by itself or by a preset or a ladder, and is not so."""
    names = given.model_fields_set - {"preset", "fork"}
    if "preset" in given.model_fields_set:
        names |= PRESETS[given.preset].keys()
    if given.ladder:
        names |= {"cutoff", "charges"}
    fields = [name for name in type(given).model_fields if name in names]
    return [name for name in fields if getattr(given, name) != getattr(network, name)]


def split_for(
    structures: Sequence[Structure],
    settings: DataSettings,
    seed: int,
    progress: Progress = SILENT,
) -> Split:
    """Read the split of the settings, or deal groups of near-duplicates.

    Raises
    ------
    InputError
        A split of other data; a structure without the key; none to train or to validate.
    """
    path = Path(structures[0].source) if structures else Path("memory")
    frames = structures
    if settings.split is not None:
        split = Split.load(
            settings.split, structures=structures, data=path if path.exists() else None
        )
    else:
        dealing = settings.splitting(seed)
        split = make_split(structures, **dealing.model_dump(), progress=progress)
    missing = [role for role in ("train", "valid") if role not in split.role]
    if missing:
        raise InputError(
            f"split of {path}",
            f"no frame has the role {' or '.join(missing)}; roles: {', '.join(split.roles)}",
            _roles_for(settings, missing, path),
        )
    if lost := untrained_elements(frames, split.role):
        named = {symbol for symbol, roles in lost.items() if "valid" in roles}
        if named:
            raise InputError(
                f"split of {path}",
                say_untrained(lost),
                "The network would not know them, and validation needs it: give a frame of each "
                "the role train.",
            )
        progress.message(f"{say_untrained(lost)}: the potential will not know them")
    return split


def _roles_for(settings: DataSettings, missing: Sequence[str], path: Path) -> str:
    """How frames get the roles that none has."""
    if settings.split is not None:
        return (
            "Training needs both. Write the split again with smaller groups or other shares: "
            f"scalewise doctor {path} group_key=... or duplicate_distance=..."
        )
    if settings.split_key is not None:
        return (
            f"Training needs both: give some frames the role {' and some '.join(missing)} under "
            f"'{settings.split_key}'."
        )
    return "Training needs both: give more frames, or smaller groups with data.group_key."


def _check_labels(members: Mapping[str, Sequence[Structure]]) -> None:
    """Assert that there is something to learn from, and something to validate with."""
    for role, frames in members.items():
        if not any(
            f.labels.forces is not None
            or f.labels.energy is not None
            or (f.labels.stress is not None and f.volume is not None)
            for f in frames
        ):
            raise InputError(
                frames[0].source,
                f"no frame of the role {role} has forces, an energy, or a stress in a cell",
                "Name the keys that hold labels: data.forces_key, data.energy_key or "
                "data.stress_key.",
            )
