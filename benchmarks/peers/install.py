"""One virtual environment per peer, from its own pinned requirements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peers.registry import HERE, RUNS, Peer

CONSTRAINTS = HERE / "requirements" / "constraints.txt"


def size_mib(folder: Path) -> float:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def install(peer: Peer) -> None:
    """Make the environment; what is there already is kept."""
    if peer.requirements is None:
        return
    stamp = peer.folder / "installed.json"
    if stamp.is_file():
        print(f"{peer.name}: already in {peer.folder}")
        return
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", "--clear", peer.folder], check=True)
    pip = [peer.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = HERE / "requirements" / peer.requirements
    environment = os.environ
    if peer.first:
        subprocess.run([*pip, *peer.first], check=True)
        (prefix,) = peer.folder.glob("lib/python*/site-packages/cmeel.prefix")
        environment = environment | {"CMAKE_PREFIX_PATH": str(prefix)}
    command = [*pip, "--constraint", CONSTRAINTS, "--requirement", wanted]
    subprocess.run(command, check=True, env=environment)
    if peer.no_dependencies:
        subprocess.run([*pip, "--no-deps", *peer.no_dependencies], check=True)
    facts = {"seconds": time.perf_counter() - start, "mib": size_mib(peer.folder)}
    stamp.write_text(json.dumps(facts))
    print(f"{peer.name}: {facts['mib']:.0f} MiB in {facts['seconds']:.0f} s")
    RUNS.mkdir(parents=True, exist_ok=True)
