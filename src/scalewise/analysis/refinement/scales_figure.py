"""Atoms of one frame, coloured by the cutoff that they were given."""

from __future__ import annotations

import ase
import numpy as np
from ase.data import covalent_radii
from ase.visualize.plot import plot_atoms
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from scalewise.data.structure import Structure
from scalewise.reporting.style import new_figure

#: Of covalent radii, so that atoms behind others are seen.
SIZE = 0.7


def draw_scales(frame: Structure, cutoffs: Float[np.ndarray, " atoms"]) -> Figure:
    """Draw a frame along its shortest edge, with a bar of cutoffs, Å.

    Parameters
    ----------
    frame
        What is drawn; molecules are wrapped into the cell atom by atom.
    cutoffs
        Å [atoms], as ``Potential.predict`` gives them.
    """
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.wrap()  # type: ignore[no-untyped-call]  # ASE leaves it untyped
    lengths = atoms.cell.lengths()
    rotation = ("0x,90y,0z", "90x,0y,0z", "0x,0y,0z")[int(np.argmin(lengths))]
    figure = new_figure(5.0, 5.8)
    ax = figure.subplots()
    ends = Normalize(float(cutoffs.min()), max(float(cutoffs.max()), float(cutoffs.min()) + 1e-6))
    shades = colormaps["viridis"]
    plot_atoms(
        atoms,
        ax,
        radii=SIZE * covalent_radii[frame.numbers],
        colors=[shades(ends(c))[:3] for c in cutoffs],
        rotation=rotation,
    )
    ax.set_axis_off()
    figure.colorbar(ScalarMappable(ends, shades), ax=ax, label="cutoff (Å)", shrink=0.8)
    return figure
