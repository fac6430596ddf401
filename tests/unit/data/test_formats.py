"""Formats of other programs: signs, units, files that are cut off, and folders of many files."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.spacegroup import crystal
from ase.units import GPa

from format_samples import FORMATS, KBAR, outcar, structures, vasprun, write_deepmd, write_outcar
from scalewise.core.errors import InputError
from scalewise.core.progress import Messages
from scalewise.data.readers import files_of, hash_file, read_file, reader_for
from scalewise.data.reading import read_structures, without_labels, write_structures
from scalewise.data.splits import DataFile, identify
from scalewise.data.structure import Labels
from scalewise.testing import check_reader


def energy(atoms: ase.Atoms) -> float:
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def compressed() -> tuple[ase.Atoms, float]:
    """Copper under pressure, and the derivative of its energy by the logarithm of its volume."""
    atoms = bulk("Cu", cubic=True, a=3.5)
    ends = []
    for strain in (-1e-4, 1e-4):
        other = atoms.copy()
        other.set_cell(atoms.cell * (1 + strain / 3), scale_atoms=True)
        ends.append(energy(other))
    slope = (ends[1] - ends[0]) / 2e-4
    assert slope < 0
    return atoms, slope


def test_the_sign_of_a_virial_is_that_of_physics(tmp_path: Path) -> None:
    # the trace of the virial is -dE/d(ln V) summed over three directions: -3 V dE/dV
    atoms, slope = compressed()
    path = tmp_path / "copper"
    part = path / "set.000"
    part.mkdir(parents=True)
    path.joinpath("type.raw").write_text("0 0 0 0")
    path.joinpath("type_map.raw").write_text("Cu")
    arrays = {
        "coord": atoms.positions.reshape(1, -1),
        "box": np.asarray(atoms.cell).reshape(1, 9),
        "energy": [[energy(atoms)]],
        "force": atoms.get_forces().reshape(1, -1),
        "virial": (-slope * np.eye(3)).reshape(1, 9),
    }
    for name, values in arrays.items():
        np.save(part / f"{name}.npy", np.asarray(values, dtype=np.float32))
    (found,) = read_structures(path, stress="REF_stress")
    meant = atoms.get_stress(voigt=False)
    assert np.trace(meant) < 0
    np.testing.assert_allclose(found.labels.stress, meant, atol=1e-4)


def test_the_sign_of_vasps_pressure_is_that_of_physics(tmp_path: Path) -> None:
    atoms, slope = compressed()
    atoms.calc = EMT()
    pressure = -slope / atoms.get_volume() / KBAR
    assert pressure > 100  # kbar: copper is pressed together, and VASP's `in kB` is positive then
    text = outcar(structures(1, alike=True))
    line = next(x for x in text.splitlines() if x.startswith("  in kB"))
    text = text.replace(line, "  in kB  " + 3 * f"{pressure:12.5f}" + 3 * f"{0.0:12.5f}")
    path = tmp_path / "OUTCAR"
    path.write_text(text)
    (found,) = read_structures(path, stress="REF_stress", check_units=False)
    np.testing.assert_allclose(
        found.labels.stress, atoms.get_stress(voigt=False), rtol=1e-3, atol=1e-5
    )


def test_external_pressure_is_no_part_of_the_energy(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(frames, pressure=50.0))
    found = [image.info["REF_energy"] for image in read_file(path)]
    np.testing.assert_allclose(found, [f.labels.energy for f in frames], atol=1e-6)


def test_what_is_said_of_a_vasprun_that_was_cut_off_helps(tmp_path: Path) -> None:
    path, text = tmp_path / "vasprun.xml", vasprun(structures(3, alike=True))
    path.write_text(text[: text.rindex("<structure>")])
    with pytest.raises(InputError, match=r"after 2 steps .*</calculation> and end"):
        read_file(path)
    whole = text[: text.rindex("<structure>")].rpartition("</calculation>")
    path.write_text(whole[0] + whole[1] + "</modeling>")
    assert len(read_file(path)) == 2


def test_what_is_said_of_an_outcar_that_was_cut_off_helps(tmp_path: Path) -> None:
    path, text = tmp_path / "OUTCAR", outcar(structures(3, alike=True))
    path.write_text(text[: text.rindex("TOTAL-FORCE") + 200])
    with pytest.raises(InputError, match=r"hold 2 whole steps: .*head -n \d+") as caught:
        read_file(path)
    kept = int(str(caught.value).split("head -n ")[1].split(")")[0])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    assert len(read_file(path)) == 2
    path.write_text(text[: text.index("TOTAL-FORCE") + 200])
    with pytest.raises(InputError, match=r"cut off\? Write it again"):
        read_file(path)


REACHED = "----- aborting loop because EDIFF is reached -----"
#: What an OUTCAR of three steps has after the line of each electronic iteration; the second step
#: is not converged in those that end in False.
LOOPS: dict[str, tuple[str, tuple[str, str, str], bool]] = {
    "converged": ("", (REACHED, REACHED, REACHED), True),
    "nothing said": ("", ("", "", ""), True),
    "said": (
        "",
        (REACHED, "----- aborting loop EDIFF was not reached (unconverged) -----", REACHED),
        False,
    ),
    "line missing": ("", (REACHED, "", REACHED), False),
    "limit": (
        "   NELM   =      7;   NELMIN=  2; NELMDL= -5\n",
        ("", "--- Iteration      2(   7)  ---", ""),
        False,
    ),
    "below the limit": (
        "   NELM   =     60;   NELMIN=  2; NELMDL= -5\n",
        ("", "--- Iteration      2(   7)  ---", ""),
        True,
    ),
    "reached at the limit": ("   NELM   =      1;\n", (REACHED, REACHED, REACHED), True),
}


@pytest.mark.parametrize("name", LOOPS)
def test_steps_of_outcar_that_did_not_converge_are_left_out(name: str, tmp_path: Path) -> None:
    limit, ends, converged = LOOPS[name]
    first, *steps = outcar(structures(3, alike=True)).split("--- Iteration")
    body = ""
    for step, end in zip(steps, ends, strict=True):
        head, rest = step.split("\n", 1)
        body += f"--- Iteration{head}\n{end}\n{rest}"
    path = tmp_path / "OUTCAR"
    path.write_text(first + limit + body)
    said: list[str] = []
    found = read_structures(path, progress=Messages(said.append))
    assert len(found) == (3 if converged else 2)
    assert any("1 of 3 frames are left out" in line for line in said) is not converged
    whole = read_structures(path, forces=None, energy=None, stress=None)
    assert len(whole) == 3  # nothing is wrong with the positions


@pytest.mark.parametrize(
    ("energies", "limit", "converged"),
    [
        ((9.0, 8.0, 7.5), 3, False),
        ((9.0, 7.5, 7.5), 3, True),
        ((9.0, 8.0), 3, True),
        ((9.0,), 1, False),
    ],
)
def test_steps_of_vasprun_that_did_not_converge_are_left_out(
    energies: tuple[float, ...], limit: int, converged: bool, tmp_path: Path
) -> None:
    text = vasprun(structures(3, alike=True))
    rounds = [
        f'<scstep><energy><i name="e_fr_energy"> {e} </i></energy></scstep>' for e in energies
    ]
    start, end = text.index("<scstep>"), text.index("</scstep>") + len("</scstep>")
    text = text[:start] + "".join(rounds) + text[end:]
    settings = f'<parameters>\n<i name="NELM">{limit}</i><i name="EDIFF">0.0001</i>'
    if limit == 1:
        text = text[: text.index("<calculation>")] + text[text.rindex("<calculation>") :]
        text = text.replace(text[text.index("<scstep>") : text.rindex("</scstep>") + 9], rounds[0])
    path = tmp_path / "vasprun.xml"
    path.write_text(text.replace("<parameters>", settings))
    if limit == 1:
        with pytest.raises(InputError, match="did not converge in any of 1 frame"):
            read_structures(path)
    else:
        assert len(read_structures(path)) == (3 if converged else 2)


def test_frames_of_any_format_may_say_that_they_did_not_converge(tmp_path: Path) -> None:
    images = [frame.to_ase() for frame in structures(3, alike=True)]
    images[1].info["scf_converged"] = False
    images[2].info["scf_converged"] = True
    ase.io.write(tmp_path / "a.extxyz", images)
    found = read_structures(tmp_path / "a.extxyz")
    assert [f.where.split("frame ")[1][0] for f in found] == ["0", "2"]


def test_pressures_that_touch_are_parted(tmp_path: Path) -> None:
    text = outcar(structures(1, alike=True))
    line = next(x for x in text.splitlines() if x.startswith("  in kB"))
    path = tmp_path / "OUTCAR"
    path.write_text(text.replace(line, "  in kB " + "".join(6 * [f"{-10000.0:12.5f}"])))
    (found,) = read_structures(path, stress="REF_stress", check_units=False)
    np.testing.assert_allclose(found.labels.stress, np.full((3, 3), 1000.0 * GPa))


@pytest.mark.parametrize("axes", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("key", ["F", "R"])
def test_arrays_with_their_axes_in_another_order_are_refused(
    key: str, axes: tuple[int, ...], tmp_path: Path
) -> None:
    frames = structures(4, alike=True)
    arrays = {
        "R": np.array([f.positions for f in frames]),
        "F": np.array([f.labelled_forces for f in frames]),
    }
    arrays[key] = arrays[key].transpose(axes)
    energies = [[f.labels.energy] for f in frames]
    path = tmp_path / "a.npz"
    np.savez(path, z=frames[0].numbers, E=energies, e_unit=b"eV", r_unit="Ang", **arrays)
    with pytest.raises(InputError, match=r"of shape \(.*where \("):
        read_file(path)
    arrays[key] = arrays[key].transpose(np.argsort(axes))
    np.savez(path, z=frames[0].numbers, E=energies, e_unit=b"eV", r_unit="Ang", **arrays)
    assert len(read_file(path)) == 4


def machine_learned(text: str) -> str:
    """As VASP writes a step that it has predicted, between two that it has computed."""
    first, second = text.split("--- Iteration      2(   1)  ---")
    start = first.index("--- Iteration")
    learned = first[start:].replace("TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst) (ML)")
    learned = learned.replace("energy   TOTEN", "energy ML TOTEN")
    return first + learned + "--- Iteration      2(   1)  ---" + second


def dispersion(text: str) -> str:
    lines = text.replace(" eV\n", " eV    w/o vdW =   -1.0 eV\n").split("\n")
    rows = [k for k, line in enumerate(lines) if len(line) == 3 * 13 + 3 + 3 * 14]
    for k in rows:
        lines[k] += 3 * f"{0.5:14.6f}"
    return "\n".join(lines)


def untitled(text: str) -> str:
    return "\n".join(x for x in text.split("\n") if "TITEL" not in x and "VRHFIN" not in x)


@pytest.mark.parametrize("change", [machine_learned, dispersion, untitled, lambda t: t + t])
def test_variants_of_outcar(change, tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    path = tmp_path / "OUTCAR"
    path.write_text(change(outcar(frames)))
    images = read_file(path)
    assert len(images) in (2, 4)
    for image, frame in zip(images, frames * 2, strict=False):
        np.testing.assert_array_equal(image.numbers, frame.numbers)
        assert image.info["REF_energy"] == pytest.approx(frame.labels.energy)
        np.testing.assert_allclose(image.arrays["REF_forces"], frame.labels.forces, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PAW_PBE H_pv", "PAW_PBE H1.25", "pseudo-atoms"),
        ("NIONS =      5", "NIONS =      7", r"numbers of 3 kinds .* Give the vasprun\.xml"),
        ("   1   2   2", "   1   2", r"numbers of 3 kinds"),
        ("   1   2   2", "   1   2   9", r"numbers of 3 kinds"),
        ("POSITION  ", "PLACES    ", "no ionic step|where"),
        (" eV\n  energy  without", "\n  energy  without", "an energy in eV belongs"),
    ],
)
def test_an_outcar_that_cannot_be_meant(old: str, new: str, message: str, tmp_path: Path) -> None:
    path, text = tmp_path / "OUTCAR", outcar(structures(1, alike=True))
    assert old in text
    text = text.replace(old, new)
    path.write_text(text.replace("TOTAL-FORCE (eV/Angst)", "") if "PLACES" in new else text)
    with pytest.raises(InputError, match=message):
        read_file(path)


ONE_FILE = [n for n in FORMATS if not n.startswith(("deepmd", "shards", "folder"))]


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_file_that_is_cut_off_anywhere(name: str, tmp_path: Path) -> None:
    file, write, options, _ = FORMATS[name]
    path, frames = tmp_path / file, structures(**options)
    write(path, frames)
    whole, images = path.read_bytes(), read_file(path)
    rng = np.random.default_rng(0)
    refused = 0
    for size in rng.integers(1, len(whole) - 1, 60).tolist():
        path.write_bytes(whole[:size])
        try:
            found = read_file(path)
        except InputError:
            refused += 1
            continue
        # what ends after a whole frame may be a whole file
        assert len(found) <= len(images)
        # the last number of a text without a last line feed may have lost digits
        kept = found[:-1] if path.suffix in (".xyz", ".extxyz") else found
        for a, b in zip(kept, images, strict=False):
            assert a.info["REF_energy"] == b.info["REF_energy"]
            np.testing.assert_array_equal(a.arrays["REF_forces"], b.arrays["REF_forces"])
    assert refused > 0 or name.startswith("db")


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_damaged_file_ends_in_one_sentence(name: str, tmp_path: Path) -> None:
    file, write, options, _ = FORMATS[name]
    path = tmp_path / file
    write(path, structures(**options))
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3).tolist():
            damaged[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(InputError):  # and nothing else
            read_structures(path, check_units=False, stress="REF_stress")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "type_map.raw").unlink(), r"type_map\.raw: no such file"),
        (lambda p: (p / "type_map.raw").write_text("H"), r"type_map\.raw has 1 elements"),
        (lambda p: (p / "type_map.raw").write_text("H O Q"), r"'Q'"),
        (lambda p: (p / "type.raw").write_text("0 a"), r"type\.raw"),
        (lambda p: (p / "type.raw").write_text("0 1"), r"every frame has 6 numbers"),
        (lambda p: (p / "set.000/coord.npy").unlink(), r"coord\.npy: no such file"),
        (lambda p: (p / "set.000/box.npy").unlink(), r"no box\.npy"),
        (lambda p: (p / "set.000/force.npy").write_bytes(b"x"), r"force\.npy: not an array"),
        (lambda p: np.save(p / "set.001/energy.npy", [1.0]), r"1 frames in energy\.npy, but 2"),
        (lambda p: np.save(p / "set.001/energy.npy", ["a"]), r"not an array of numbers"),
        (lambda p: [shutil.rmtree(p / f"set.00{k}") for k in (0, 1)], r"no folder set\.\*"),
    ],
)
def test_a_folder_of_deepmd_that_does_not_fit(spoil, message: str, tmp_path: Path) -> None:
    path = tmp_path / "water"
    write_deepmd(path, structures(alike=True))
    spoil(path)
    with pytest.raises(InputError, match=message):
        read_structures(path)


def test_text_of_deepmd_is_to_be_converted(tmp_path: Path) -> None:
    write_deepmd(tmp_path / "a", structures(2, alike=True))
    for part in (tmp_path / "a").glob("set.*"):
        shutil.rmtree(part)
    with pytest.raises(InputError, match=r"no folder set\.\* in it\. Give a folder"):
        read_file(tmp_path / "a")
    (tmp_path / "a/coord.raw").write_text("0 0 0\n")
    with pytest.raises(InputError, match=r"Make set\.\* of the files \*\.raw"):
        read_file(tmp_path / "a")


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "water"
    write_deepmd(path, structures(alike=True))
    np.save(path / "set.000/force.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not an array of numbers"):
        read_structures(path)


# -- folders of many files -------------------------------------------------------------------------


def test_every_file_below_a_folder_that_a_reader_knows(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    folder = tmp_path / "all"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    write_outcar(folder / "b/OUTCAR", frames)
    write_outcar(folder / ".git/OUTCAR", frames)
    write_outcar(folder / "a.OUTCAR", frames[:1])
    FORMATS["OUTCAR, gzip"][1](folder / "a.OUTCAR.gz", frames[:1])
    write_deepmd(folder / "c", frames)
    (folder / "notes.txt").write_text("of no kind")
    found = read_structures(folder)
    files = [s.info["source_file"] for s in found]
    assert files == ["a.OUTCAR", "b/OUTCAR", "b/OUTCAR", "c", "c"]
    assert found[2].where == f"{folder}, frame 2 (b/OUTCAR)"
    assert [s.source for s in found] == 5 * [str(folder)]


def test_a_run_of_vasp_is_read_once(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        write_outcar(tmp_path / run / "OUTCAR", frames)
    FORMATS["vasprun"][1](tmp_path / "two/vasprun.xml", frames)
    names = [str(f.relative_to(tmp_path)) for f in files_of(tmp_path)]
    assert names == ["one/OUTCAR", "two/vasprun.xml"]


def test_an_error_in_a_folder_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    frames = structures(2, alike=True)
    write_outcar(tmp_path / "run/OUTCAR_1", frames)
    write_outcar(tmp_path / "run/OUTCAR_2", frames)
    path = tmp_path / "run/OUTCAR_2"
    text = path.read_text()
    path.write_text(text.replace("  free  energy", "  gone", 1))
    with pytest.raises(InputError, match=r"OUTCAR_2"):
        read_structures(tmp_path)
    positions = f"{frames[1].positions[0, 0]:13.5f}"
    path.write_text(text.replace(positions, f"{3e8:13.0f}"))
    with pytest.raises(InputError, match=r"frame 3 \(run/OUTCAR_2\), key 'positions'"):
        read_structures(tmp_path)


def test_folders_without_known_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file in it that a reader knows"):
        read_file(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="no file in it that a reader knows"):
        read_file(tmp_path)


def test_files_of_other_programs_are_no_members(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    write_outcar(tmp_path / "OUTCAR", frames)
    others = {
        "OUTCAR_notes.txt": "of no kind",
        "outcar.py": "print()",
        "OUTCAR_2": "",
        "pom.xml": "<project><modules/></project>",
        "input.data": "LAMMPS data file\n\n2 atoms\n",
        "Thumbs.db": "of no kind",
    }
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("create table other (id integer)")
    np.savez(tmp_path / "cache.npz", values=np.ones(3))
    assert [f.name for f in files_of(tmp_path)] == ["OUTCAR"]
    assert len(read_file(tmp_path)) == 2
    with pytest.raises(InputError, match="no ionic step"):
        read_file(tmp_path / "pom.xml")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = "\ufeff\n<!DOCTYPE html><html><body>404: Not Found</body></html>\n"


@pytest.mark.parametrize("name", [*ONE_FILE, "a.xyz.gz", "a.traj", "a.db", "a.npz"])
@pytest.mark.parametrize(
    ("content", "message"), [(POINTER, "git lfs pull"), (PAGE, "a web page.*raw file")]
)
def test_what_stands_for_a_file_is_not_read_in_its_place(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_file(path)


@pytest.mark.parametrize(("text", "hint"), [('{"a": 1}\n', "another format"), ("", "no frames")])
def test_a_file_without_a_first_frame(text: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text)
    with pytest.raises(InputError, match=hint):
        read_file(path)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    for name in ("elsewhere/one", "data/two"):
        (tmp_path / name).mkdir(parents=True)
        write_outcar(tmp_path / name / "OUTCAR", frames)
    folder = tmp_path / "data"
    targets = {"again": "../elsewhere/one", "one": "../elsewhere/one", "loop": ".", "up": ".."}
    for name, target in {**targets, "within": "two"}.items():
        (folder / name).symlink_to(target, target_is_directory=True)
    names = [str(f.relative_to(folder)) for f in files_of(folder)]
    assert names == ["again/OUTCAR", "two/OUTCAR"]
    found = read_structures(folder, check_units=False)
    assert [f.info["source_file"] for f in found] == [n for n in names for _ in range(2)]


def test_the_hash_of_a_folder_is_that_of_what_is_read(tmp_path: Path) -> None:
    frames = structures(2, alike=True)
    write_outcar(tmp_path / "OUTCAR", frames)
    before = hash_file(tmp_path)
    (tmp_path / "notes.txt").write_text("of no kind")
    assert hash_file(tmp_path) == before
    assert identify(read_structures(tmp_path)) == DataFile.of(tmp_path, 2)
    (tmp_path / "OUTCAR").rename(tmp_path / "OUTCAR_1")
    renamed = hash_file(tmp_path)
    write_outcar(tmp_path / "OUTCAR_1", frames[:1])
    assert len({before, renamed, hash_file(tmp_path)}) == 3


def test_a_database_is_left_alone_where_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table other (id integer)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"damaged .*no such table"):
        read_file(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


def test_arrays_of_a_database_that_were_stored_as_lists_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with ase.db.connect(str(path)) as rows:
        for k, forces in enumerate((np.full((2, 3), 0.5), [[0.5] * 3] * 2)):
            atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
            rows.write(atoms, dft_energy=-k, data={"dft_forces": forces})
    found = read_structures(path)
    assert [f.labels.energy for f in found] == [0, -1]
    for frame in found:
        np.testing.assert_array_equal(frame.labels.forces, np.full((2, 3), 0.5))


@pytest.mark.parametrize("atoms", [3, 6])
@pytest.mark.parametrize("shape", [(6,), (3, 3)])
def test_a_stress_in_a_database_is_none_of_its_atoms(
    atoms: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    image = ase.Atoms(f"Cu{atoms}", cell=3 * [9.0], pbc=True)
    image.positions[:, 0] = np.arange(atoms) * 2.5
    with ase.db.connect(str(tmp_path / "a.db")) as rows:
        data = {"dft_forces": np.zeros((atoms, 3)), "dft_stress": np.full(shape, 0.25)}
        rows.write(image, dft_energy=-1.0, data=data)
    (frame,) = read_structures(tmp_path / "a.db", check_units=False)
    np.testing.assert_array_equal(frame.labels.stress, np.full((3, 3), 0.25))


def test_what_was_written_into_a_folder_of_data_is_no_data(tmp_path: Path) -> None:
    """Predictions and trajectories of commands whose ``--out`` was there."""
    frames = structures(2, alike=True)
    write_outcar(tmp_path / "OUTCAR", frames)
    before = hash_file(tmp_path)
    for folder, name, beside in (
        ("evaluate", "predictions.xyz", "evaluation.json"),
        ("md", "trajectory.extxyz", "restart.npz"),
        ("md", "last.extxyz", "restart.npz"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_structures(tmp_path / folder / name, frames)
        np.savez(tmp_path / folder / "restart.npz", step=3)
        (tmp_path / folder / beside).touch()
    assert hash_file(tmp_path) == before
    assert len(read_structures(tmp_path)) == 2
    # of another program
    write_structures(tmp_path / "predictions.xyz", frames)
    assert len(read_structures(tmp_path)) == 4


@pytest.mark.parametrize("wrong", ["r ", "X ", ""])
def test_elements_that_vasp_misspells_are_those_of_their_potentials(
    wrong: str, tmp_path: Path
) -> None:
    frames = structures(1, alike=True)
    text = vasprun(frames).replace("<rc><c>Na</c>", f"<rc><c>{wrong}</c>")
    text = text.replace("<rc><c>O </c><c>   1<", "<rc><c>O </c><c>   2<")
    text = text.replace("<rc><c>H </c><c>   1<", "<rc><c>H </c><c>   3<")
    path = tmp_path / "vasprun.xml"
    path.write_text(text)
    with pytest.raises(InputError, match="where an element belongs"):
        read_file(path)
    kinds = "".join(f"<rc><c>1</c><c>PAW_PBE {s}_sv 07Sep2000</c></rc>" for s in ("Na", "O", "H"))
    kinds = f'<array name="atomtypes"><set>{kinds}</set></array></atominfo>'
    path.write_text(text.replace("</atominfo>", kinds))
    (image,) = read_file(path)
    np.testing.assert_array_equal(image.numbers, frames[0].numbers)


def test_exponents_of_fortran(tmp_path: Path) -> None:
    path = tmp_path / "input.data"
    path.write_text("begin\natom 1D0 0 0 H 0D0 0 0 0 1.0D-01\nenergy -0.5d+00\ncharge 0\nend\n")
    (image,) = read_file(path)
    assert image.positions[0, 0] == pytest.approx(0.529177, abs=1e-6)
    assert image.info["REF_energy"] == pytest.approx(-13.605693, abs=1e-5)
    assert image.arrays["REF_forces"][0, 2] == pytest.approx(5.1422067, abs=1e-5)


def test_units_of_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    kcal = 0.0433641
    arrays = {"coords": np.ones((2, 1, 3)), "nuclear_charges": np.array([8], dtype=np.uint8)}
    arrays |= {"energies": np.array([1.0, 2.0]), "forces": np.full((2, 1, 3), 3.0)}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=r"key 'e_unit'.*numpy\.savez\(.*e_unit='kcal/mol'"):
        read_file(path)
    np.savez(path, **arrays, old_indices=np.arange(2))  # rMD17
    found = read_file(path)
    assert [a.info["REF_energy"] for a in found] == pytest.approx([kcal, 2 * kcal], rel=1e-5)
    assert found[1].arrays["REF_forces"] == pytest.approx(np.full((1, 3), 3 * kcal), rel=1e-5)
    assert found[0].positions.tolist() == [[1, 1, 1]]
    assert not found[0].pbc.any()
    lattice = np.array([[9.0, 1, 0], [0, 9, 0], [0, 0, 9]])  # vectors are columns
    np.savez(path, **arrays, e_unit="eV", r_unit="Ang", lattice=lattice)
    (first, _) = read_file(path)
    np.testing.assert_array_equal(first.cell[1], [1, 9, 0])
    assert first.info["REF_energy"] == 1.0
    for key, value in {"e_unit": "Ry", "forces": np.ones(5), "nuclear_charges": [1.5]}.items():
        np.savez(path, **{**arrays, "e_unit": "eV", key: value})
        with pytest.raises(InputError, match=r"'Ry'.*Known units|(forces|elements) of shape"):
            read_file(path)


def test_units_of_runner_and_its_charges(tmp_path: Path) -> None:
    path = tmp_path / "input.data"
    path.write_text(
        "begin\ncomment two words\natom 0 0 0 H 0.25 0 0 0 1\natom 0 0 1 F -0.25 0 0 0 -1\n"
        "energy -1\ncharge -2\nend\n"
    )
    (image,) = read_file(path)
    assert image.positions[1, 2] == pytest.approx(0.529177, abs=1e-6)
    assert image.info["REF_energy"] == pytest.approx(-27.211386, abs=1e-5)
    assert image.arrays["REF_forces"][0, 2] == pytest.approx(51.422067, abs=1e-4)
    assert image.info["total_charge"] == -2.0
    assert image.info["comment"] == "two words"
    assert image.arrays["REF_charges"].tolist() == [0.25, -0.25]
    assert not image.pbc.any()


# -- structures without labels ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR_3", "a.vasp", "b.vasp.gz"])
def test_a_poscar_is_a_structure_without_labels(name: str, tmp_path: Path) -> None:
    frame = replace(structures(1)[0], labels=Labels())
    path = tmp_path / name
    text = io.StringIO()
    ase.io.write(text, frame.to_ase(), format="vasp", direct=True)
    written = text.getvalue().encode()
    path.write_bytes(gzip.compress(written) if name.endswith("gz") else written)
    check_reader(reader_for(path), path, [frame], tolerance=1e-9)


def test_a_cif_has_all_sites_that_its_symmetry_makes(tmp_path: Path) -> None:
    path = tmp_path / "salt.cif"
    salt = crystal(
        ["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3
    )
    ase.io.write(path, [salt, bulk("Cu", cubic=True)], format="cif")
    found = read_structures(path, without_labels())
    assert [sorted(f.symbols) for f in found] == [["Cl"] * 4 + ["Na"] * 4, ["Cu"] * 4]
    assert all(f.pbc.all() and f.labels.forces is None for f in found)
    np.testing.assert_allclose(found[0].cell, 5.64 * np.eye(3), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("POSCAR", "salt\n1.0\n5 0 0\n0 5 0\n", "damaged"),
        ("a.cif", "data_x\n_cell_length_a 5\n", "damaged|no frames"),
        ("a.cif", "", "damaged|no frames"),
        ("a.cif", None, "no such file|No such file|not a"),
    ],
)
def test_damaged_structures_are_refused(
    name: str, text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_structures(tmp_path / name, without_labels())


def test_a_cif_with_partly_occupied_sites_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alloy.cif"
    ase.io.write(path, bulk("Cu", cubic=True), format="cif")
    text = path.read_text()
    assert "1.0000" in text
    path.write_text(text.replace("1.0000", "0.5000", 1))
    with pytest.raises(InputError, match="partly occupied"):
        read_structures(path, without_labels())


SITES = """data_salt
_cell_length_a 5
_cell_length_b 5
_cell_length_c 5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
O1 O 0.25 0.25 0.25
"""


@pytest.mark.parametrize("row", ["Cl1 Cl 0.5 0.5 0.5 0.01", "K1 K 0 0 0"])
def test_a_cif_of_which_something_would_be_left_out_is_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    path.write_text(SITES)
    assert len(read_structures(path, without_labels())[0].numbers) == 2
    path.write_text(f"{SITES}{row}\n")
    with pytest.raises(InputError, match="damaged"):
        read_structures(path, without_labels())


@pytest.mark.parametrize("lines", [("1 1", "Direct"), ("Na Cl", "1"), ("Na", "1 1")])
def test_a_poscar_of_unknown_elements_is_refused(lines: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "POSCAR"
    lattice = "5 0 0\n0 5 0\n0 0 5"
    path.write_text("\n".join(["Na Cl", "1.0", lattice, *lines, "Direct", "0 0 0", ".5 .5 .5", ""]))
    with pytest.raises(InputError, match="damaged"):
        read_structures(path, without_labels())


def test_structures_beside_a_run_are_not_read_with_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    frames = structures(2, alike=True)
    FORMATS["OUTCAR"][1](tmp_path / "run/OUTCAR", frames)
    for name in ("POSCAR", "CONTCAR"):
        ase.io.write(tmp_path / "run" / name, frames[0].to_ase(), format="vasp")
    assert len(read_structures(tmp_path)) == 2
    (tmp_path / "run/poscar_notes.md").write_text("POSCAR is that of\nthe first run\nof all\n")
    (tmp_path / "run/OUTCAR").unlink()
    assert [f.info["source_file"] for f in read_structures(tmp_path, without_labels())] == [
        "run/CONTCAR",
        "run/POSCAR",
    ]
