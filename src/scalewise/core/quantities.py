"""Units and property keys, in one place.

Inside scalewise every length is in Å and every energy in eV. Other units appear only at the edges:
OpenMM speaks nm and kJ/mol, and the report prints forces in kJ/mol/nm beside meV/Å because the
literature on classical models uses the former.
"""

from __future__ import annotations

from typing import Final

import ase.units

#: Conventional keys of labels in extxyz: total energy (eV) and forces (eV/Å, shape [atoms, 3]).
ENERGY_KEY: Final = "REF_energy"
FORCES_KEY: Final = "REF_forces"
#: Stress (eV/Å³, positive under tension, nine values or six in Voigt's order).
STRESS_KEY: Final = "REF_stress"
#: Per-atom integer: atoms of one molecule share it; pairs inside a molecule are excluded.
MOLECULE_KEY: Final = "molecule"
#: Per-atom word: where the atom is, such as interior, surface, crystal, interface.
PLACE_KEY: Final = "place"
#: Per-frame word: the file that a frame of a folder is from, as a path below the folder.
FILE_KEY: Final = "source_file"

NM: Final = float(ase.units.nm)  # Å
KJ_PER_MOL: Final = float(ase.units.kJ / ase.units.mol)  # eV
#: One kJ/mol/nm in eV/Å (1.0364e-3).
KJ_PER_MOL_NM: Final = KJ_PER_MOL / NM
#: e²/(4πε₀) in eV Å: the Coulomb energy of two unit charges 1 Å apart.
COULOMB_CONSTANT: Final = 14.399645478425668


def to_mev_per_angstrom(force: float) -> float:
    """Convert a force from eV/Å to meV/Å."""
    return 1e3 * force


def to_kj_per_mol_nm(force: float) -> float:
    """Convert a force from eV/Å to kJ/mol/nm.

    Examples
    --------
    >>> round(to_kj_per_mol_nm(1.0), 2)
    964.85
    """
    return force / KJ_PER_MOL_NM
