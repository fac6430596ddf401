"""Requirements of readers of file formats."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np

from scalewise.core.quantities import FORCES_KEY, STRESS_KEY
from scalewise.data.keys import LabelKeys
from scalewise.data.readers import Reader, hash_file
from scalewise.data.reading import convert_images, without_labels
from scalewise.data.structure import Structure
from scalewise.testing.refusing import check_refused


def check_reader(
    reader: Reader, path: Path | str, structures: Sequence[Structure], *, tolerance: float = 1e-6
) -> None:
    """Check the requirements of a reader, for a file or folder with known contents.

    The reader returns every frame in the order of the file, in Å, with the labels of
    ``structures`` in eV and Å under ``REF_energy``, ``REF_forces`` and ``REF_stress``. A second
    call gives the same result, and the file is not changed. A file that is missing, empty or not in
    the format raises an ``InputError``.

    Parameters
    ----------
    reader
        Function of a path that returns a list of ASE's atoms.
    path
        A file of the format of the reader, or a folder.
    structures
        The structures that the file holds.
    tolerance
        Largest difference of a number, in Å, eV, eV/Å and eV/Å³.

    Raises
    ------
    AssertionError
        A requirement that is not met.
    """
    path = Path(path)
    before = hash_file(path)
    images = reader(path)
    assert isinstance(images, list), "a list of frames"
    assert all(isinstance(image, ase.Atoms) for image in images), "frames are ASE's atoms"
    assert len(images) == len(structures), f"{len(structures)} frames, not {len(images)}"
    labels = [s.labels for s in structures]
    labelled = any(v is not None for x in labels for v in (x.forces, x.energy, x.stress))
    forces = FORCES_KEY if any(x.forces is not None for x in labels) else None
    keys = LabelKeys(forces, stress=STRESS_KEY, check_units=False)
    if not labelled:
        keys = without_labels(check_units=False)
    found, again = (convert_images(i, str(path), keys) for i in (images, reader(path)))
    for read, twice, meant in zip(found, again, structures, strict=True):
        _check_equal(read, meant, tolerance, f"frame {read.index}")
        _check_equal(twice, read, 0.0, f"frame {read.index}, read again")
    assert hash_file(path) == before, "the file was changed"
    _check_refusals(reader, path)


def _check_equal(read: Structure, meant: Structure, tolerance: float, where: str) -> None:
    np.testing.assert_array_equal(read.numbers, meant.numbers, f"{where}: elements")
    np.testing.assert_array_equal(read.pbc, meant.pbc, f"{where}: periodicity")
    values = {
        "positions": (read.positions, meant.positions),
        "cell": (read.cell, meant.cell),
        "forces": (read.labels.forces, meant.labels.forces),
        "energy": (read.labels.energy, meant.labels.energy),
        "stress": (read.labels.stress, meant.labels.stress),
    }
    for name, (actual, desired) in values.items():
        if desired is None:
            continue
        assert actual is not None, f"{where}: no {name}"
        np.testing.assert_allclose(
            actual, desired, rtol=0, atol=tolerance, err_msg=f"{where}: {name}"
        )


def _check_refusals(reader: Reader, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / path.name
        check_refused(lambda: reader(other), "a missing file")
        if path.is_dir():
            other.mkdir()
            check_refused(lambda: reader(other), "an empty folder")
            return
        other.write_bytes(b"")
        check_refused(lambda: reader(other), "an empty file")
        other.write_bytes(b"not\xff this format\n\x00")
        check_refused(lambda: reader(other), "a file of something else")
