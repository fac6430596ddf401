"""Force fields of salt water that come with OpenMM, and the import of OpenMM if it is installed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from scalewise.core.errors import InputError
from scalewise.testbed.settings import SolutionSettings

#: (water, ions): the file that ships with OpenMM, and where its ions come from.
FORCE_FIELDS: Final = {
    ("tip3p", "amber"): ("amber14/tip3p.xml", "Joung-Cheatham 2008, TIP3P set"),
    ("spce", "amber"): ("amber14/spce.xml", "Joung-Cheatham 2008, SPC/E set"),
    ("tip3pfb", "amber"): ("amber14/tip3pfb.xml", "Joung-Cheatham 2008, TIP3P set"),
    ("opc3", "amber"): ("amber14/opc3.xml", "Sengupta 2021, hydration free energy set"),
    ("tip3p", "charmm"): ("charmm36/water.xml", "Beglov-Roux 1994 with NBFIX"),
    ("spce", "charmm"): ("charmm36/spce.xml", "Beglov-Roux 1994 with NBFIX"),
}


def require_openmm() -> Any:
    """Return the module ``openmm``, or say how to get it."""
    try:
        import openmm
        import openmm.app
    except ImportError:
        raise InputError("OpenMM", "not installed", "Run: pip install 'openmm>=8.2'.") from None
    return openmm


def platform_name(settings: SolutionSettings) -> str:
    """Return the OpenMM platform that the settings lead to on this machine."""
    mm = require_openmm()
    offered = [mm.Platform.getPlatform(i).getName() for i in range(mm.Platform.getNumPlatforms())]
    if settings.platform == "auto":
        return "CUDA" if "CUDA" in offered else "CPU"
    if settings.platform not in offered:
        raise InputError(
            f"platform={settings.platform}",
            "this OpenMM does not offer it",
            f"Choose one of: {', '.join(offered)}.",
        )
    return settings.platform


def merge_lennard_jones(mm: Any, system: Any, pairs: int) -> None:
    """Move the tabulated Lennard-Jones of the charmm files into the fast standard force.

    A custom force over all pairs is 40 times slower on a CPU. Only Na-Cl departs from the
    combination rules (NBFIX): a custom force over these few pairs makes up the difference.
    """
    forces = list(system.getForces())
    tables = [i for i, f in enumerate(forces) if isinstance(f, mm.CustomNonbondedForce)]
    if not tables:
        return
    table = forces[tables[0]]
    standard = next(f for f in forces if isinstance(f, mm.NonbondedForce))
    functions = [table.getTabulatedFunction(i).getFunctionParameters() for i in (0, 1)]
    a, b = (np.array(values).reshape(n, m) for n, m, values in functions)
    kind = [int(table.getParticleParameters(i)[0]) for i in range(system.getNumParticles())]
    sigma, epsilon = (a / b).diagonal() ** (1 / 6), (b**2 / (4 * a)).diagonal()
    for i, k in enumerate(kind):
        charge = standard.getParticleParameters(i)[0]
        standard.setParticleParameters(i, charge, sigma[k], epsilon[k])
    mixed = (0.5 * (sigma[:, None] + sigma)) ** 6
    depth = 4.0 * np.sqrt(epsilon[:, None] * epsilon)
    na, cl = kind[0], kind[pairs]
    da, db = (a - depth * mixed**2)[na, cl], (b - depth * mixed)[na, cl]
    extra = mm.CustomNonbondedForce(f"{float(da)!r}/r^12 - ({float(db)!r})/r^6")
    extra.setNonbondedMethod(mm.CustomNonbondedForce.CutoffPeriodic)
    extra.setCutoffDistance(table.getCutoffDistance())
    extra.addInteractionGroup(range(pairs), range(pairs, 2 * pairs))
    for _ in kind:
        extra.addParticle([])
    for i in range(table.getNumExclusions()):
        extra.addExclusion(*table.getExclusionParticles(i))
    system.removeForce(tables[0])
    system.addForce(extra)
