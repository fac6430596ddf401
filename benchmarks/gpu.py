"""Speed on a GPU, beside NequIP compiled and MACE with cuEquivariance.

python benchmarks/gpu.py [scalewise|nequip|mace] [ATOMS...]

Each is timed by a process of its own, in an environment that has it; float32, salt water at the
density of the liquid, 5 Å. A prediction is energy and forces; a training step adds the derivative
of a loss on the forces. Medians, with the GPU waited for; lists of neighbors are made before.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from speed import CUTOFF, ELEMENTS, liquid

SYMBOLS = ["H", "O", "Na", "Cl"]
NEIGHBOURS = 52.0
REPEATS = 15
Step = Callable[[], Any]


def median(call: Step) -> float:
    """Milliseconds, after three calls that do not count."""
    times = []
    for k in range(REPEATS + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if k >= 3:
            times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[REPEATS // 2]


def report(name: str, atoms: int, what: str, call: Step) -> None:
    start = time.perf_counter()
    try:
        call()
        torch.cuda.synchronize()
        ready = time.perf_counter() - start
        each = median(call)
    except Exception as error:  # one peer or size that fails must not cost the others
        print(f"{name:38s} {atoms:6d} atoms {what:8s} failed: {str(error)[-300:]}", flush=True)
        return
    memory = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    print(
        f"{name:38s} {atoms:6d} atoms {what:8s} {each:8.2f} ms {1e3 * each / atoms:8.3f} us/atom "
        f" ready after {ready:5.1f} s  {memory:6.2f} GiB",
        flush=True,
    )


def scalewise(sizes: list[int]) -> None:
    from scalewise.models.density.network import DensityNetwork
    from scalewise.models.density.settings import NetworkSettings as Settings
    from scalewise.models.gradients import Evaluator
    from scalewise.models.graph import build

    for charges in (False, True):
        settings = Settings.model_validate({"cutoff": CUTOFF, "charges": charges})
        network = DensityNetwork(settings, ELEMENTS).cuda()
        frozen = {k: v.detach() for k, v in network.named_parameters()}
        kind = "with long range" if charges else "local"
        for compiled in (False, True):
            run = Evaluator(network, compiled=compiled)
            name = f"scalewise medium, {kind}, {'compiled' if compiled else 'eager'}"
            for atoms in sizes:
                smearing = settings.smearing if charges else 0.0
                graph = build(liquid(atoms), ELEMENTS, CUTOFF, smearing=smearing)
                graph = graph.to(device="cuda", dtype=torch.float32)
                positions = torch.tensor(liquid(atoms).positions, dtype=torch.float64).cuda()

                predict = partial(_predict, run, graph, positions, frozen)
                train = partial(_train, run, graph, positions)
                report(name, atoms, "predict", predict)
                if atoms <= 5000:
                    report(name, atoms, "train", train)


def _predict(run: Any, graph: Any, positions: Any, frozen: Any) -> None:
    with torch.no_grad():
        run(graph, positions, weights=frozen if run.compiled else None)


def _train(run: Any, graph: Any, positions: Any) -> None:
    run(graph, positions).forces.abs().mean().backward()
    run.network.zero_grad()


def frame(atoms: int) -> Atoms:
    """The same frame for the peers, with the labels that some ask for."""
    ours = liquid(atoms)
    found = Atoms(ours.numbers, ours.positions, cell=ours.cell, pbc=True)
    found.info["REF_energy"] = 0.0
    found.arrays["REF_forces"] = np.zeros((atoms, 3))
    return found


def nequip(sizes: list[int]) -> None:
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import NequIPGNNModel
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model
    from nequip.utils.global_state import set_global_state

    set_global_state()
    types = ChemicalSpeciesToAtomTypeMapper(model_type_names=SYMBOLS)
    edges = NeighborListTransform(r_max=CUTOFF)
    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=SYMBOLS,
        r_max=CUTOFF,
        l_max=1,
        parity=True,
        num_layers=2,
        num_features=64,
        num_bessels=8,
        polynomial_cutoff_p=6,
        radial_mlp_depth=2,
        radial_mlp_width=64,
        avg_num_neighbors=NEIGHBOURS,
    ).cuda()

    def batch(atoms: int) -> dict[str, torch.Tensor]:
        made = edges(types(from_ase(frame(atoms))))
        moved = {k: v.cuda() for k, v in made.items()}
        return {k: v.float() if v.is_floating_point() else v for k, v in moved.items()}

    for atoms in sizes:
        data = batch(atoms)

        def eager(data: Any = data) -> None:
            model.eval()
            model(data.copy())

        def train(data: Any = data) -> None:
            model.train()
            model(data.copy())[AtomicDataDict.FORCE_KEY].abs().mean().backward()
            model.zero_grad()

        report("NequIP l=1, 64 features, eager", atoms, "predict", eager)
        if atoms <= 5000:
            report("NequIP l=1, 64 features, eager", atoms, "train", train)
    target = COMPILE_TARGET_DICT["ase"]
    shapes: dict[str, Any] = {k: torch.export.Dim(f"num_{k}s", min=2) for k in ("node", "edge")}
    shapes["graph"] = torch.export.Dim.STATIC
    file = Path(tempfile.mkdtemp()) / "model.nequip.pt2"
    start = time.perf_counter()
    aot_export_model(
        model=model.eval(),
        device="cuda",
        input_fields=target["input"],
        output_fields=target["output"],
        data=target["data_settings"](batch(sizes[0])),
        batch_map=shapes,
        output_path=str(file),
    )
    compiled = torch._inductor.aoti_load_package(str(file))
    print(f"NequIP compiled in {time.perf_counter() - start:.0f} s", flush=True)
    for atoms in sizes:
        data = target["data_settings"](batch(atoms))
        inputs = [data[k] for k in target["input"]]
        report(
            "NequIP, nequip-compile (AOTInductor)", atoms, "predict", lambda i=inputs: compiled(i)
        )


def mace(sizes: list[int]) -> None:
    from mace import modules  # isort: skip  # before e3nn: it lifts torch.load's restriction
    from e3nn import o3
    from mace.cli.convert_e3nn_cueq import run as accelerated
    from mace.data import AtomicData, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric

    torch.set_default_dtype(torch.float32)
    table = AtomicNumberTable(list(ELEMENTS))
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    plain = modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        num_interactions=2,
        hidden_irreps=o3.Irreps("64x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        correlation=3,
        radial_MLP=[64, 64, 64],
        interaction_cls=block,
        interaction_cls_first=block,
        num_elements=len(table),
        atomic_energies=np.zeros((1, len(table))),
        atomic_numbers=list(ELEMENTS),
        avg_num_neighbors=NEIGHBOURS,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    ).cuda()
    models = {"MACE 64x0e, eager": plain}
    try:
        models["MACE 64x0e, cuEquivariance"] = accelerated(plain, device="cuda").cuda()
    except Exception as error:  # tell what is missing
        print(f"MACE with cuEquivariance failed: {str(error)[-300:]}", flush=True)
    for name, model in models.items():
        for atoms in sizes:
            item = AtomicData.from_config(
                config_from_atoms(frame(atoms)), z_table=table, cutoff=CUTOFF
            )
            data = torch_geometric.Batch.from_data_list([item]).to("cuda").to_dict()

            def predict(model: Any = model, data: Any = data) -> None:
                model(dict(data), training=False, compute_force=True)

            def train(model: Any = model, data: Any = data) -> None:
                out = model(dict(data), training=True, compute_force=True)
                out["forces"].abs().mean().backward()
                model.zero_grad()

            report(name, atoms, "predict", predict)
            if atoms <= 5000:
                report(name, atoms, "train", train)


def main() -> None:
    words = sys.argv[1:]
    sizes = [int(w) for w in words if w.isdigit()] or [601, 4808, 38464]
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    for name in [w for w in words if not w.isdigit()] or ["scalewise"]:
        {"scalewise": scalewise, "nequip": nequip, "mace": mace}[name](sizes)


if __name__ == "__main__":
    main()
