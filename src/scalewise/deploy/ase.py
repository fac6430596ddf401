"""The potential as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

from scalewise import checkpoint
from scalewise.data.frames import Frame
from scalewise.potential.graph import Graph, build, prune, total_charge
from scalewise.potential.potential import Potential


class ScalewiseCalculator(Calculator):
    """Energy (eV), energies per atom, forces (eV/Å), stress (eV/Å³) and charges (e).

    Parameters
    ----------
    potential
        A potential, or the folder of one.
    cutoffs
        Å, one for all atoms or one each; default: the network's.
    skin
        Å by which the neighbour list is longer than needed. It is rebuilt when an atom has moved
        by half of it, or the cell has changed.
    device, dtype
        Where and how to compute; float64 for vibrations and tight minima. Default: as the potential
        is; one that is read from a folder is float32 on the CPU.
    compiled
        Use ``torch.compile``, by default if the potential does: the first call takes a minute or
        two, the rest are faster.

    Raises
    ------
    InputError
        No potential there, an unknown element, overlapping atoms, a singular cell.

    Examples
    --------
    ::

        from ase.io import read
        from scalewise.deploy.ase import ScalewiseCalculator

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
        skin: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compiled: bool | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(potential, Potential):
            potential = checkpoint.read(Path(potential))
        self.potential = potential.to(device, dtype, compiled=compiled)
        self.cutoffs = cutoffs
        self.skin = skin
        self._buffered: tuple[Frame, Graph] | None = None

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
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # ASE has just put them there
        frame = _frame(self.atoms)
        graph = prune(
            self._list(frame),
            torch.as_tensor(
                frame.positions, dtype=self.potential.dtype, device=self.potential.device
            ),
            self.potential.cutoff,
        )
        found = self.potential.derivatives(graph, frame.positions, self.cutoffs)
        predicted = self.potential.finish(frame, found)
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

    def _list(self, frame: Frame) -> Graph:
        """The buffered neighbour list, built again where it may miss a pair."""
        if self._buffered is not None and _still_holds(self._buffered[0], frame, self.skin):
            return self._buffered[1]
        settings = self.potential.network.settings
        graph = build(
            frame,
            self.potential.network.elements,
            settings.cutoff + self.skin,
            smearing=settings.smearing if settings.charges else 0.0,
            near=None if settings.inner is None else settings.inner + self.skin,
        ).to(self.potential.device, self.potential.dtype)
        self._buffered = (frame, graph)
        return graph


def _frame(atoms: ase.Atoms) -> Frame:
    n = len(atoms)
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.copy(),
        cell=np.asarray(atoms.cell).copy(),
        pbc=np.asarray(atoms.pbc).copy(),
        forces=np.zeros((n, 3)),
        energy=None,
        molecule=np.arange(n),
        info=dict(atoms.info),
    )


def _charge(atoms: ase.Atoms) -> list[Any]:
    return [atoms.info.get(key) for key in ("total_charge", "charge")]


def _still_holds(listed: Frame, frame: Frame, skin: float) -> bool:
    same = (
        np.array_equal(listed.numbers, frame.numbers)
        and np.array_equal(listed.pbc, frame.pbc)
        and np.array_equal(listed.cell, frame.cell)
        and total_charge(listed) == total_charge(frame)
    )
    if not same:
        return False
    moved = frame.positions - listed.positions
    return float((moved * moved).sum(axis=1).max(initial=0.0)) < (0.5 * skin) ** 2
