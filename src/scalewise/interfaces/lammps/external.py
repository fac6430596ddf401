"""The potential through ``fix external``: no compiler is needed, and LAMMPS runs on one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from ase.data import atomic_numbers

from scalewise.core.errors import InputError
from scalewise.data.structure import Structure
from scalewise.interfaces.lists import BufferedLists
from scalewise.models.potential import Potential, check_scale
from scalewise.models.protocol import Scale

#: Name of the fix.
FIX: Final = "scalewise"


def attach_to_lammps(
    lmp: Any,
    potential: Potential,
    elements: Sequence[str],
    *,
    cutoff: float | None = None,
    long_range: bool = True,
    total_charge: float = 0.0,
    skin: float = 1.0,
    dtype: torch.dtype | None = None,
    compiled: bool | None = None,
) -> None:
    """Apply a potential to the atoms of a LAMMPS instance.

    This defines the fix ``scalewise``, whose energy and virial are added to those of the system.
    LAMMPS needs a pair style; ``pair_style zero`` adds no forces. The potential has its own
    neighbor lists.

    Parameters
    ----------
    lmp
        An instance of ``lammps.lammps`` with atoms, in units ``metal``, on one process.
    potential
        The potential.
    elements
        Chemical symbol of every atom type, in the order of the types.
    total_charge
        Total charge of all atoms, e; the charges of atoms in LAMMPS are not used.
    cutoff, long_range, skin, dtype, compiled
        As in :class:`scalewise.interfaces.ase.ScalewiseCalculator`.

    Raises
    ------
    InputError
        Units other than ``metal``; several processes; a number of elements that is not the number
        of atom types; an element that the potential does not know; a scale that the potential does
        not have.

    Examples
    --------
    ::

        from scalewise import import_lammps

        lmp = import_lammps().lammps()
        lmp.file("in.lammps")
        attach_to_lammps(lmp, potential, ["H", "O"])
        lmp.command("run 1000")
    """
    _check(lmp, potential, elements)
    potential = potential.to(None, dtype, compiled=compiled)
    scale = Scale(cutoff, long_range)
    check_scale(potential, scale)
    numbers = np.array([0, *(atomic_numbers[e] for e in elements)])
    lists = BufferedLists(potential, skin)

    failed: list[BaseException] = []

    def compute(_: Any, step: int, atoms: int, tags: Any, positions: Any, forces: Any) -> None:
        del step
        try:
            evaluate(atoms, tags, positions, forces)
        except BaseException as error:  # it cannot be raised through LAMMPS
            failed.append(error)
            forces[:] = np.nan
            lmp.fix_external_set_energy_global(FIX, float("nan"))
            lmp.force_timeout()

    def evaluate(atoms: int, tags: Any, positions: Any, forces: Any) -> None:
        if not atoms:
            return
        order = np.argsort(tags)  # atoms keep their order while LAMMPS sorts its own
        cell, periodic = _cell(lmp)
        places = np.array(positions) + _images(lmp, atoms) @ cell
        frame = Structure(
            numbers=numbers[lmp.numpy.extract_atom("type")[:atoms]][order],
            positions=places[order],
            cell=cell if periodic.any() else np.zeros((3, 3)),
            pbc=periodic,
            molecule=np.arange(atoms),
            info={"charge": total_charge},
        )
        graph = lists(frame)
        found = potential.finish(frame, potential.evaluate_graph(graph, frame.positions, scale))
        forces[order] = found.forces
        lmp.fix_external_set_energy_global(FIX, found.energy)
        if found.stress is not None and frame.volume is not None:
            virial = -frame.volume * found.stress
            voigt = [virial[k] for k in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
            lmp.fix_external_set_virial_global(FIX, voigt)

    lmp.command(f"fix {FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {FIX} energy yes virial yes")
    lmp.set_fix_external_callback(FIX, compute, None)
    for name in ("command", "commands_list", "commands_string", "file"):
        setattr(lmp, name, _raising(getattr(lmp, name), failed))


def _raising(method: Callable[..., Any], failed: list[BaseException]) -> Callable[..., Any]:
    """A method of LAMMPS that raises what went wrong while it computed forces."""

    def call(*args: Any) -> Any:
        try:
            found = method(*args)
        except Exception:
            if failed:
                raise failed.pop() from None
            raise
        if failed:
            raise failed.pop()
        return found

    return call


def _check(lmp: Any, potential: Potential, elements: Sequence[str]) -> None:
    if (units := lmp.extract_global("units")) != "metal":
        raise InputError("units of LAMMPS", str(units), "Write: units metal (eV, Å, ps).")
    if (ranks := lmp.extract_setting("world_size")) > 1:
        raise InputError(
            "LAMMPS",
            f"{ranks} processes, but fix external is for one",
            "Use the pair style: scalewise export MODEL FILE --to lammps.",
        )
    if (types := lmp.extract_setting("ntypes")) != len(elements):
        found = f"{len(elements)} for {types} atom types"
        raise InputError("elements", found, "Give one for each atom type, in their order.")
    unknown = [e for e in elements if atomic_numbers.get(e) not in potential.elements]
    if unknown:
        raise InputError(
            "elements",
            f"{', '.join(unknown)}, which the potential does not know",
            "Give those of its training, or train one with frames that hold them all.",
        )


def _cell(lmp: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lattice vectors in rows, Å, and along which axes the box is periodic."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = (b - a for a, b in zip(low, high, strict=True))
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), np.array(periodic, dtype=bool)


def _images(lmp: Any, atoms: int) -> np.ndarray:
    """How many cells each atom has left behind [atoms, 3]: lists outlive that it enters again."""
    packed = np.array(lmp.numpy.extract_atom("image")[:atoms]).reshape(atoms, -1)
    if packed.shape[1] == 3:
        return packed
    bits, mask = lmp.extract_setting("IMGBITS"), lmp.extract_setting("IMGMASK")
    flags = packed[:, 0]
    half = lmp.extract_setting("IMGMAX")
    second = lmp.extract_setting("IMG2BITS")
    parts = (flags & mask, (flags >> bits) & mask, flags >> second)
    return np.stack(parts, axis=1) - half
