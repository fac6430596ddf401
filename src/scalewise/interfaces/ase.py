"""The potential as an ASE calculator."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from jaxtyping import Float

from scalewise.core.errors import InputError, cut, shown
from scalewise.data.charges import CHARGE_KEYS
from scalewise.data.structure import Structure
from scalewise.interfaces.lists import BufferedLists
from scalewise.models import checkpoint
from scalewise.models.potential import Potential
from scalewise.models.protocol import Scale

# a forked process has none of the threads that torch believes in: it would wait for them for ever
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class ScalewiseCalculator(Calculator):
    """ASE calculator of a potential.

    Results are the energy (eV), the energies of atoms (eV) [atoms], forces (eV/Å) [atoms, 3],
    stress (eV/Å³, positive under tension) [6] in Voigt order, and charges (e) [atoms]. There is no
    stress without periodicity, or for a slab or wire whose cell has no volume. A calculator can be
    pickled and copied. Several threads may use it; they compute one at a time.

    Parameters
    ----------
    potential
        A potential, or the folder of a potential or of the run that trained it.
    cutoffs
        Cutoff of all atoms, or of each [atoms], Å; default: those of the adaptive cutoff, else that
        of the network.
    long_range
        Whether long-range electrostatics are included; false is refused if the network was trained
        with them alone.
    skin
        Length by which the neighbor list exceeds the cutoff, Å. The list is rebuilt once the
        displacements of the atoms and the change of the cell are so large that a pair within the
        cutoff may be missing.
    device, dtype
        Device and floating-point type of the network; use float64 for vibrations and tight
        minimisations. Default: those of the potential; a potential that is read from a folder is
        float32 on the CPU.
    compiled
        Whether to use programs that are compiled ahead of time; default: as the potential does, and
        an exported potential does. The first call on a machine compiles for half a minute, later
        calls load the program; on the CPU, steps then take a quarter of the time.

    Raises
    ------
    InputError
        No potential in the folder; no such device; a skin, type or cutoff that is not valid; an
        unknown element, overlapping atoms, a singular cell; results that are not finite.

    Examples
    --------
    ::

        from ase.io import read
        from scalewise import ScalewiseCalculator

        atoms = read("water.xyz")
        atoms.calc = ScalewiseCalculator("runs/train/model")
        print(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_charges())
    """

    implemented_properties: list[str] = [  # noqa: RUF012  (ASE declares it so)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "charges",
    ]

    def __init__(
        self,
        potential: Potential | Path | str,
        *,
        cutoffs: np.ndarray | float | None = None,
        long_range: bool = True,
        skin: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compiled: bool | None = None,
    ) -> None:
        super().__init__()
        if dtype not in (None, torch.float32, torch.float64):
            raise InputError("dtype", shown(dtype), "Give torch.float32 or torch.float64.")
        if not isinstance(potential, Potential):
            if not isinstance(potential, str | os.PathLike):
                raise InputError("potential", shown(potential), "Give a potential, or its folder.")
            potential = checkpoint.read(checkpoint.locate(Path(potential)))
        self.potential = potential.to(_device(device), dtype, compiled=compiled)
        self.cutoffs = None if cutoffs is None else self.potential.check_cutoffs(cutoffs)
        self.long_range = Scale(None, long_range).long_range
        self.atom_cutoffs: np.ndarray | None = None
        self._lists = BufferedLists(self.potential, skin)
        self.skin = self._lists.skin
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the lock and the neighbor list, which are made again."""
        return {**self.__dict__, "_lock": None, "_lists": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        lists = BufferedLists(state["potential"], state["skin"])
        self.__dict__.update(state, _lock=threading.RLock(), _lists=lists)

    def get_property(self, *args: Any, **options: Any) -> Any:
        """Return a property as ASE's method does; safe to call from several threads."""
        with self._lock:
            return super().get_property(*args, **options)

    def forget(self) -> None:
        """Delete the results and the neighbor list; ``reset``, which ASE calls, keeps the list."""
        self.reset()
        self._lists.forget()

    def forces_alone(self, atoms: ase.Atoms) -> Float[np.ndarray, "atoms 3"]:
        """Return the forces, eV/Å [atoms, 3], without storing any result.

        They are computed at each call, which saves time in integrators with short inner steps.

        Raises
        ------
        InputError
            As :class:`ScalewiseCalculator`.
        """
        with self._lock:
            frame = Structure.from_ase(atoms)
            if not len(frame.numbers):
                return np.zeros((0, 3))
            found = self.potential.evaluate_graph(self._lists(frame), frame.positions, self.scale)
            forces = found.forces.double().cpu().numpy()
            if not np.isfinite(forces).all():
                self.potential.finish(frame, found)  # says so
            return forces

    def use_lists_of(self, other: ScalewiseCalculator) -> None:
        """Share the neighbor list of another calculator of the same atoms, if this is possible.

        It is possible if both potentials have the same elements, device and type, the cutoff of
        this one is not longer, its kernels can use lists of that length, it has no charges, and
        neither has a shorter cutoff of the first layer. Otherwise this calculator keeps its own
        list.
        """
        own, whole = self.potential, other.potential
        serves = (
            own.network.elements == whole.network.elements
            and own.takes_lists_of(whole.network.settings.cutoff + other.skin, own.cutoff)
            and own.cutoff <= whole.cutoff
            and own.network.settings.first_layer_cutoff is None
            and whole.network.settings.first_layer_cutoff is None
            and not own.network.settings.charges
            and (own.device, own.dtype) == (whole.device, whole.dtype)
        )
        if serves:
            self._lists = other._lists

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation, with the total charge of ``info``."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.atoms is not None and _charge(self.atoms) != _charge(atoms):
            changes.append("charge")
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all results; units and shapes are those of :class:`ScalewiseCalculator`."""
        with self._lock:
            super().calculate(atoms, properties, system_changes)
            assert self.atoms is not None  # ASE has just put them there
            self._compute(Structure.from_ase(self.atoms))

    def _compute(self, frame: Structure) -> None:
        if not len(frame.numbers):
            predicted = self.potential.predict(frame)
        else:
            graph = self._lists(frame)
            found = self.potential.evaluate_graph(graph, frame.positions, self.scale)
            predicted = self.potential.finish(frame, found)
        self.atom_cutoffs = predicted.cutoffs
        self.results: dict[str, Any] = {
            "energy": predicted.energy,
            "free_energy": predicted.energy,
            "energies": predicted.energies,
            "forces": predicted.forces,
            "charges": predicted.charges,
        }
        if predicted.stress is not None:
            rows, columns = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)  # Voigt's order
            self.results["stress"] = predicted.stress[rows, columns]

    @property
    def scale(self) -> Scale:
        """Scale at which the potential is evaluated."""
        return Scale(self.cutoffs, self.long_range)


def _charge(atoms: ase.Atoms) -> list[Any]:
    return [atoms.info.get(key) for key in CHARGE_KEYS]


def _device(device: torch.device | str | None) -> torch.device | None:
    if device is None:
        return None
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = cut(str(error).splitlines()[0], 80)
        raise InputError("device", f"{shown(device)} ({reason})", "Give cpu, or cuda.") from None
    return found
