"""The peers: what they are called, how they are installed and which interpreter runs them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs" / "peers"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer:
    """One model that can be timed and trained.

    `requirements` names a file in requirements/; None means the interpreter that runs this.
    `module` is what answers to the commands that the package's docstring describes.
    """

    name: str
    label: str
    colour: str
    requirements: str | None
    module: str
    no_dependencies: tuple[str, ...] = ()
    """Installed last and without their dependencies, because their pins exclude this torch."""
    first: tuple[str, ...] = ()
    """Installed before all others, which are compiled here and look for them."""

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return RUNS / "envs" / self.name

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return Path(sys.executable) if self.requirements is None else self.folder / "bin" / "python"


def _own(name: str, label: str, colour: str, **more: tuple[str, ...]) -> Peer:
    return Peer(name, label, colour, f"{name}.txt", f"benchmarks.peers.{name}", **more)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("scalewise", "scalewise", "#000000", None, "benchmarks.peers.scalewise"),
        _own("nequip", "NequIP", "#0072B2"),
        _own("mace", "MACE", "#D55E00"),
        _own("painn", "SchNetPack PaiNN", "#009E73", no_dependencies=("schnetpack==2.1.1",)),
        _own("tensornet", "TensorNet", "#CC79A7"),
        _own("pet", "metatrain PET", "#E69F00"),
        _own("deepmd", "DeePMD, compressed", "#56B4E9"),
        _own("polymlp", "pypolymlp", "#8C6D31", first=("cmeel-eigen==3.4.1",)),
        _own("uf3", "UF3 in LAMMPS", "#999933"),
        _own("nep", "NEP", "#882255"),
    )
}


def choose(names: list[str]) -> list[Peer]:
    """The peers of these names; all when none is named."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; known: {', '.join(PEERS)}")
    return [PEERS[name] for name in names or PEERS]
