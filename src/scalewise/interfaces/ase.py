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

from scalewise.core.errors import InputError, shown
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
    """Energy (eV), energies per atom, forces (eV/Å), stress (eV/Å³) and charges (e).

    It can be pickled and copied, and used from several threads: one computes at a time.

    Parameters
    ----------
    potential
        A potential, or the folder of one, or of the run that trained it.
    cutoffs
        Å, one for all atoms or one each; default: those of the adaptive cutoff, or the network's.
    long_range
        With long range; without only where the network was trained for both.
    skin
        Å by which the neighbor list is longer than needed. It is rebuilt when atoms have moved
        and the cell has changed so far that it may miss a pair.
    device, dtype
        Where and how to compute; float64 for vibrations and tight minima. Default: as the potential
        is; one that is read from a folder is float32 on the CPU.
    compiled
        Use programs that are compiled ahead of time; by default if the potential does, as an
        exported one does. The first call on a machine compiles for half a minute, others load what
        it made; on the CPU, steps take a quarter of the time.

    Raises
    ------
    InputError
        No potential there, no such device; a skin, type or cutoff that cannot be; an unknown
        element, overlapping atoms, a singular cell, results that are not finite.

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
            potential = checkpoint.read(checkpoint.locate(Path(potential)))
        self.potential = potential.to(_device(device), dtype, compiled=compiled)
        self.cutoffs = None if cutoffs is None else self.potential.check_cutoffs(cutoffs)
        self.long_range = long_range
        self.atom_cutoffs: np.ndarray | None = None
        self._lists = BufferedLists(self.potential, skin)
        self.skin = self._lists.skin
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock and the neighbor list, which is made anew."""
        return {**self.__dict__, "_lock": None, "_lists": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        lists = BufferedLists(state["potential"], state["skin"])
        self.__dict__.update(state, _lock=threading.RLock(), _lists=lists)

    def get_property(self, *args: Any, **options: Any) -> Any:
        """As ASE's; a result belongs to the atoms that were given, whatever other threads ask."""
        with self._lock:
            return super().get_property(*args, **options)

    def forget(self) -> None:
        """Forget results and the neighbor list; ``reset``, which ASE calls, keeps the list."""
        self.reset()
        self._lists.forget()

    def forces_alone(self, atoms: ase.Atoms) -> Float[np.ndarray, "atoms 3"]:
        """Forces, eV/Å, computed anew at each call and not kept: for short time steps.

        Raises
        ------
        InputError
            As the calculator.
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
        """Use the neighbor list of another calculator of the same atoms, if it serves.

        It does where that potential is of the same elements, sees as far, and takes lists of the
        same type; else, and where a first layer sees less, this one keeps its own.
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
        """What has changed since the last calculation; ASE does not look at the total charge."""
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
        """Compute everything; see the class for the units."""
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
        """At which the potential is evaluated."""
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
        reason = str(error).splitlines()[0]
        raise InputError("device", f"{shown(device)} ({reason})", "Give cpu, or cuda.") from None
    return found
