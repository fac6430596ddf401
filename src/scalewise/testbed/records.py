"""Manifests and records of replicas, which ``scalewise generate`` writes and a study reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from scalewise.core.documents import (
    Count,
    Digest,
    FileName,
    Name,
    Record,
    Size,
    Text,
    checked,
    read_plain,
)
from scalewise.core.errors import InputError
from scalewise.testbed.settings import SolutionSettings


class Check(Record):
    """One check of generated data."""

    quantity: Name
    ok: bool
    sentence: Text


class ReplicaFiles(Record):
    """What a study needs to know of a replica."""

    files: dict[FileName, Digest]
    label_error: Size


class Manifest(Record):
    """``manifest.json`` of ``scalewise generate``."""

    replicas: Annotated[list[ReplicaFiles], Field(min_length=1, max_length=10_000)]
    checks: Annotated[list[Check], Field(max_length=100)]

    @model_validator(mode="after")
    def _has_frames(self) -> Manifest:
        if not any(name.startswith("replica-") for r in self.replicas for name in r.files):
            raise ValueError("no file replica-*")
        return self


class ReplicaReport(ReplicaFiles):
    """All that the manifest and its checks take from the record of one replica."""

    replica: Count
    platform: Name
    ion_pairs: Count
    waters: Count
    dissolved_pairs: Count | None = None
    edge: Annotated[float, Field(ge=1.0, le=1e6)]
    density: Annotated[float, Field(ge=0.0, le=1e6)] | None
    temperature: Annotated[float, Field(ge=0.0, le=1e12)]
    temperature_error: Annotated[float, Field(ge=0.0, le=1e12)] | None
    label_error: Annotated[float, Field(ge=0.0, le=1e12)]
    drift: Annotated[float, Field(ge=-1e12, le=1e12)] | None
    drift_error: Annotated[float, Field(ge=0.0, le=1e12)] | None
    beyond: dict[str, Annotated[float, Field(ge=0.0, le=1e12)]] = Field(default_factory=dict)


class Versions(Record):
    """Of the programs that made a replica."""

    scalewise: Name
    openmm: Name
    ase: Name
    numpy: Name


class ReplicaRecord(Record):
    """``replica-00.json`` of ``scalewise generate``."""

    digest: str
    versions: Versions
    report: ReplicaReport

    def fits(self, settings: SolutionSettings, replica: int, cutoffs: list[str]) -> bool:
        """Whether it tells all that there is to say of this replica of these settings."""
        told = self.report
        return (
            self.digest == settings.digest()
            and told.replica == replica
            and (told.drift is not None or not told.drift_error)
            and (told.dissolved_pairs is not None or settings.geometry in ("bulk", "pair"))
            and (list(told.beyond) == cutoffs or settings.law != "screened")
        )


def read_generated(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of ``scalewise generate``.

    Raises
    ------
    InputError
        There is none, or it names what is not in the folder, or lacks what a study needs.
    """
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = read_plain(path, "")
        checked(Manifest, manifest, str(path), "")
    except InputError as error:
        raise InputError(
            str(path),
            "missing, damaged, or not written by `scalewise generate`",
            "Give the folder that `scalewise generate` finished, or generate it again.",
        ) from error
    return manifest
