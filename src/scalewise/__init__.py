"""Find which length scales a machine-learned force field needs, and for which atoms.

The names below are the public library; the modules and all their other contents may change without
notice. A name is imported when it is first used: ``import scalewise`` loads neither torch nor ASE.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public names, and where each lives.
_PUBLIC = {
    # structures, labels and splits
    "Structure": "data.structure",
    "Labels": "data.structure",
    "read_structures": "data.reading",
    "register_reader": "data.readers",
    "write_structures": "data.reading",
    "write_shards": "data.shard_writing",
    "ShardedStructures": "data.shards",
    "Split": "data.splits",
    "make_split": "data.splits",
    "diagnose_data": "doctor.examine",
    # models
    "Potential": "models.potential",
    "load_potential": "models.opening",
    "open_model": "models.opening",
    "InteratomicPotential": "models.protocol",
    "LongRange": "models.protocol",
    "Prediction": "models.protocol",
    "Scale": "models.protocol",
    "Ladder": "models.protocol",
    "AdaptiveCutoff": "models.adaptive_cutoff",
    "PredictionFile": "models.adapters.prediction_file",
    "AseModel": "models.adapters.ase_calculator",
    "ScalewiseCalculator": "interfaces.ase",
    "openmm_system": "interfaces.openmm",
    "in_openmm_form": "interfaces.openmm",
    "mixed_openmm_system": "interfaces.openmm_mixed",
    "attach_to_lammps": "interfaces.lammps.external",
    "import_lammps": "interfaces.lammps.installed",
    # training
    "train": "training.run",
    "TrainSettings": "training.settings",
    "NetworkSettings": "models.density.settings",
    # what scales are worth
    "evaluate": "analysis.evaluation.evaluate",
    "scan_cutoffs": "analysis.cutoff_scan.scan",
    "compare_forks": "analysis.forks.run",
    "refine_cutoffs": "analysis.refinement.refine",
    "attribute_error": "analysis.attribution.run",
    "bound_locality": "analysis.locality.run",
    "audit_predictions": "study.run",
    "simulate": "simulation.run",
    "assess_trust": "trust.card",
    "distill": "distillation.distill",
    "export_potential": "export.command",
    "EvaluateSettings": "analysis.evaluation.settings",
    "ScanSettings": "analysis.cutoff_scan.settings",
    "ForkComparisonSettings": "analysis.forks.settings",
    "RefineSettings": "analysis.refinement.settings",
    "AttributionSettings": "analysis.attribution.settings",
    "LocalitySettings": "analysis.locality.settings",
    "DoctorSettings": "doctor.settings",
    "AseReference": "analysis.locality.reference",
    "SolutionReference": "analysis.locality.reference",
    "SimulationSettings": "simulation.settings",
    "TrustSettings": "trust.settings",
    "DistillSettings": "distillation.settings",
    "ExportSettings": "export.settings",
    "Report": "reporting.report",
    "Verdict": "statistics.verdict",
    # the testbed
    "generate_solution": "testbed.solution",
    "SolutionSettings": "testbed.settings",
    "ScreenedLaw": "testbed.screened",
    "Geometry": "testbed.geometry.base",
    "Filling": "testbed.geometry.base",
    "Places": "testbed.geometry.base",
    "Scene": "testbed.geometry.base",
    "register_geometry": "testbed.geometry",
    # progress and errors
    "Messages": "core.progress",
    "InputError": "core.errors",
}

#: Public names that another package has to be installed for: ``import *`` leaves them out.
_EXTRAS = {
    "metatomic_model": "interfaces.metatomic",
    "TorchSimModel": "interfaces.torchsim",
    "ScalewiseDriver": "interfaces.ipi",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    where = _PUBLIC.get(name) or _EXTRAS.get(name)
    if where is None:
        raise AttributeError(f"module 'scalewise' has no attribute '{name}'")
    value = getattr(import_module(f"scalewise.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from scalewise.analysis.attribution.run import attribute_error as attribute_error
    from scalewise.analysis.attribution.settings import AttributionSettings as AttributionSettings
    from scalewise.analysis.cutoff_scan.scan import scan_cutoffs as scan_cutoffs
    from scalewise.analysis.cutoff_scan.settings import ScanSettings as ScanSettings
    from scalewise.analysis.evaluation.evaluate import evaluate as evaluate
    from scalewise.analysis.evaluation.settings import EvaluateSettings as EvaluateSettings
    from scalewise.analysis.forks.run import compare_forks as compare_forks
    from scalewise.analysis.forks.settings import ForkComparisonSettings as ForkComparisonSettings
    from scalewise.analysis.locality.reference import AseReference as AseReference
    from scalewise.analysis.locality.reference import SolutionReference as SolutionReference
    from scalewise.analysis.locality.run import bound_locality as bound_locality
    from scalewise.analysis.locality.settings import LocalitySettings as LocalitySettings
    from scalewise.analysis.refinement.refine import refine_cutoffs as refine_cutoffs
    from scalewise.analysis.refinement.settings import RefineSettings as RefineSettings
    from scalewise.core.errors import InputError as InputError
    from scalewise.core.progress import Messages as Messages
    from scalewise.data.readers import register_reader as register_reader
    from scalewise.data.reading import read_structures as read_structures
    from scalewise.data.reading import write_structures as write_structures
    from scalewise.data.shard_writing import write_shards as write_shards
    from scalewise.data.shards import ShardedStructures as ShardedStructures
    from scalewise.data.splits import Split as Split
    from scalewise.data.splits import make_split as make_split
    from scalewise.data.structure import Labels as Labels
    from scalewise.data.structure import Structure as Structure
    from scalewise.distillation.distill import distill as distill
    from scalewise.distillation.settings import DistillSettings as DistillSettings
    from scalewise.doctor.examine import diagnose_data as diagnose_data
    from scalewise.doctor.settings import DoctorSettings as DoctorSettings
    from scalewise.export.command import export_potential as export_potential
    from scalewise.export.settings import ExportSettings as ExportSettings
    from scalewise.interfaces.ase import ScalewiseCalculator as ScalewiseCalculator
    from scalewise.interfaces.ipi import ScalewiseDriver as ScalewiseDriver
    from scalewise.interfaces.lammps.external import attach_to_lammps as attach_to_lammps
    from scalewise.interfaces.lammps.installed import import_lammps as import_lammps
    from scalewise.interfaces.metatomic import metatomic_model as metatomic_model
    from scalewise.interfaces.openmm import in_openmm_form as in_openmm_form
    from scalewise.interfaces.openmm import openmm_system as openmm_system
    from scalewise.interfaces.openmm_mixed import mixed_openmm_system as mixed_openmm_system
    from scalewise.interfaces.torchsim import TorchSimModel as TorchSimModel
    from scalewise.models.adapters.ase_calculator import AseModel as AseModel
    from scalewise.models.adapters.prediction_file import PredictionFile as PredictionFile
    from scalewise.models.adaptive_cutoff import AdaptiveCutoff as AdaptiveCutoff
    from scalewise.models.density.settings import NetworkSettings as NetworkSettings
    from scalewise.models.opening import load_potential as load_potential
    from scalewise.models.opening import open_model as open_model
    from scalewise.models.potential import Potential as Potential
    from scalewise.models.protocol import InteratomicPotential as InteratomicPotential
    from scalewise.models.protocol import Ladder as Ladder
    from scalewise.models.protocol import LongRange as LongRange
    from scalewise.models.protocol import Prediction as Prediction
    from scalewise.models.protocol import Scale as Scale
    from scalewise.reporting.report import Report as Report
    from scalewise.simulation.run import simulate as simulate
    from scalewise.simulation.settings import SimulationSettings as SimulationSettings
    from scalewise.statistics.verdict import Verdict as Verdict
    from scalewise.study.run import audit_predictions as audit_predictions
    from scalewise.testbed.geometry import register_geometry as register_geometry
    from scalewise.testbed.geometry.base import Filling as Filling
    from scalewise.testbed.geometry.base import Geometry as Geometry
    from scalewise.testbed.geometry.base import Places as Places
    from scalewise.testbed.geometry.base import Scene as Scene
    from scalewise.testbed.screened import ScreenedLaw as ScreenedLaw
    from scalewise.testbed.settings import SolutionSettings as SolutionSettings
    from scalewise.testbed.solution import generate_solution as generate_solution
    from scalewise.training.run import train as train
    from scalewise.training.settings import TrainSettings as TrainSettings
    from scalewise.trust.card import assess_trust as assess_trust
    from scalewise.trust.settings import TrustSettings as TrustSettings
