"""Kernels for one size of network as a shared library, which Python calls.

Trainings and predictions of many atoms use it; compiled programs contain their own kernels.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from scalewise.core.code import source_digest
from scalewise.core.errors import InputError
from scalewise.core.files import replacing
from scalewise.core.machine import cache_folder, processor
from scalewise.models.density.kernels.build import SOURCE, build_library, tables
from scalewise.models.density.settings import NetworkSettings

#: Functions of the table in kernels.cpp, in its order.
FUNCTIONS: Final = (
    "make_vectors",
    "make_vectors_back",
    "pair_energies",
    "collect",
    "collect_back",
    "product",
    "product_back",
    "send",
    "send_back",
)


class Library:
    """The operations of :mod:`scalewise.models.density.kernels.operations` on tensors in memory.

    Functions that end in ``_back`` give the derivatives with respect to positions, vectors and
    features; those that end in ``_weights_back``, with respect to weights and features.

    Parameters
    ----------
    path
        Of the shared library.
    settings
        Of the networks that it is for.

    Raises
    ------
    OSError
        The library does not load.
    """

    def __init__(self, path: Path, settings: NetworkSettings) -> None:
        self._loaded = ctypes.CDLL(str(path))
        table = (ctypes.c_void_p * len(FUNCTIONS)).in_dll(self._loaded, "scalewise_kernels")
        self._functions = dict(zip(FUNCTIONS, table, strict=True))
        self._hidden = settings.hidden

    def _call(self, name: str, *given: Tensor | int | bool | float | None) -> None:
        torch.get_num_threads()  # PyTorch tells OpenMP only when it is asked, in each thread
        types: list[Any] = []
        values: list[Any] = []
        for value in given:
            if isinstance(value, Tensor):
                if not value.is_contiguous() or value.device.type != "cpu":
                    raise TypeError(f"{name}: {tuple(value.shape)} on {value.device}")
                types.append(ctypes.c_void_p)
                values.append(value.data_ptr())
            elif isinstance(value, bool):
                types.append(ctypes.c_bool)
                values.append(value)
            elif isinstance(value, int):
                types.append(ctypes.c_int64)
                values.append(value)
            else:
                types.append(ctypes.c_void_p)
                values.append(None)
        ctypes.CFUNCTYPE(None, *types)(self._functions[name])(*values)

    def vectors(
        self,
        positions: Tensor,
        cell: Tensor,
        system: Tensor,
        index: Tensor,
        shift: Tensor,
        mask: Tensor,
        example: Tensor,
    ) -> Tensor:
        """See :func:`scalewise.models.density.kernels.operations.vectors`."""
        found = example.new_empty(*index.shape, 3)
        shifts = shift if shift.shape[0] else None
        given = (positions, cell, system, index, shifts, mask, found)
        self._call("make_vectors", *index.shape, *given)
        return found

    def vectors_back(
        self,
        d_vectors: Tensor,
        positions: Tensor,
        cell: Tensor,
        system: Tensor,
        index: Tensor,
        shift: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Derivatives by positions and cells."""
        d_positions, d_cell = torch.empty_like(positions), torch.empty_like(cell)
        sizes = (*index.shape, positions.shape[0], cell.shape[0])
        shifts = shift if shift.shape[0] else None
        given = (d_vectors, system, index, shifts, mask, d_positions, d_cell)
        self._call("make_vectors_back", *sizes, *given)
        return d_positions, d_cell

    def pair_energies(
        self,
        vectors: Tensor,
        reach: Tensor,
        first: Tensor,
        types: Tensor,
        index: Tensor,
        *tables: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies, and their derivatives by vectors and reach.

        See :func:`scalewise.models.density.kernels.operations.pair_energies`.
        """
        found = torch.empty_like(reach), torch.empty_like(vectors), torch.empty_like(reach)
        given = (vectors, reach, first, types, index, tables[1].shape[0])
        self._call("pair_energies", *index.shape, *given, *tables, *found)
        return found

    def collect(
        self,
        vectors: Tensor,
        reach: Tensor,
        radial: Tensor,
        scale: Tensor,
        table: Tensor,
        index: Tensor,
        components: int,
    ) -> Tensor:
        """See :func:`scalewise.models.density.kernels.operations.collect`."""
        found = vectors.new_empty(vectors.shape[0], components, radial.shape[2])
        shared = radial.shape[0] == 1
        given = (vectors, reach, radial, shared, scale, table, index, found)
        self._call("collect", *index.shape, *given)
        return found

    def collect_elements_back(
        self, d_density: Tensor, vectors: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Derivatives by vectors, reach, and radial functions of each atom."""
        reach, radial = given[:2]
        found = torch.empty_like(vectors), torch.empty_like(reach)
        d_radial = None if radial.shape[0] == 1 else torch.empty_like(radial)
        self._collect_back(d_density, (vectors, *given), (*found, d_radial, None, None))
        return *found, d_radial

    def collect_messages_back(
        self, d_density: Tensor, vectors: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Those, and by the rows of messages."""
        reach, radial, _, table, _ = given
        found = torch.empty_like(vectors), torch.empty_like(reach)
        d_radial = None if radial.shape[0] == 1 else torch.empty_like(radial)
        d_table = torch.empty_like(table)
        self._collect_back(d_density, (vectors, *given), (*found, d_radial, None, d_table))
        return *found, d_radial, d_table

    def collect_weights_back(
        self, d_density: Tensor, vectors: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives by radial functions, scale and rows."""
        found = torch.empty_like(given[1]), torch.empty_like(given[2]), torch.empty_like(given[3])
        self._collect_back(d_density, (vectors, *given), (None, None, *found))
        return found

    def _collect_back(
        self, d_density: Tensor, given: Sequence[Tensor], found: Sequence[Tensor | None]
    ) -> None:
        vectors, reach, radial, scale, table, index = given
        rows = table.shape[0]
        # there are as many messages as pairs; elements have a row for each atom
        shared, own = radial.shape[0] == 1, rows == index.numel()
        self._call(
            "collect_back",
            *index.shape,
            *(d_density, vectors, reach, radial, shared, scale, table, rows, own, index),
            *found,
        )

    def product(
        self,
        features: Tensor,
        mix: Tensor,
        first: Tensor,
        bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """See :func:`scalewise.models.density.kernels.operations.product`, and what it keeps."""
        scalars, before_first, before_second = (torch.empty_like(bias) for _ in range(3))
        field, result, other = (torch.empty_like(features) for _ in range(3))
        factor = features.new_empty(features.shape[0])
        given = (features, mix, first, bias, second, second_bias)
        found = (scalars, field, other, result, before_first, before_second, factor)
        self._call("product", features.shape[0], *given, *found)
        return scalars, field, result, other, before_first, before_second, factor

    def product_back(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by features and bias."""
        found = torch.empty_like(given[1]), torch.empty_like(given[0])
        self._product_back(given, found, [None] * 5)
        return found

    def product_weights_back(
        self, d_scalars: Tensor, d_field: Tensor, d_product: Tensor, features: Tensor, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        """Those, and by the weights: mix, first, second, second_bias."""
        found = torch.empty_like(features), torch.empty_like(d_scalars)
        weights = tuple(torch.empty_like(w) for w in kept[-3:])
        d_bias = features.new_empty(self._hidden)
        more = (features, *weights, d_bias)
        self._product_back((d_scalars, d_field, d_product, *kept), found, more)
        return *found, *weights, d_bias

    def _product_back(
        self, given: Sequence[Tensor], found: Sequence[Tensor], more: Sequence[Tensor | None]
    ) -> None:
        (*slopes, field, result, other), rest = given[:6], given[6:]
        self._call(
            "product_back", field.shape[0], *slopes, field, other, result, *rest, *found, *more
        )

    def send(
        self, features: Tensor, weight: Tensor, scalars: Tensor, vectors: Tensor, longest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :func:`scalewise.models.density.kernels.operations.send`, and the mixed features."""
        atoms, slots = vectors.shape[:2]
        messages = features.new_empty(atoms, slots, features.shape[2])
        field = torch.empty_like(features)
        given = (features, weight, scalars, vectors, longest, messages, field)
        self._call("send", atoms, slots, *given)
        return messages, field

    def send_back(
        self, d_messages: Tensor, field: Tensor, weight: Tensor, vectors: Tensor, longest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives by features, scalars and vectors."""
        found = torch.empty_like(field), field.new_empty(field.shape[0], field.shape[2])
        d_vectors = torch.empty_like(vectors)
        given = (d_messages, field, weight, vectors, longest, *found, d_vectors, None, None)
        self._call("send_back", *vectors.shape[:2], *given)
        return *found, d_vectors

    def send_weights_back(
        self, d_messages: Tensor, features: Tensor, weight: Tensor, vectors: Tensor, longest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives by features, scalars and weight."""
        found = torch.empty_like(features), features.new_empty(len(features), features.shape[2])
        d_weight = torch.empty_like(weight)
        given = (d_messages, None, weight, vectors, longest, *found, None, features, d_weight)
        self._call("send_back", *vectors.shape[:2], *given)
        return *found, d_weight


def kernel_library(settings: NetworkSettings, dtype: torch.dtype) -> Library:
    """Kernels for networks of these sizes, compiled once for a user and kept in the cache.

    The name of a file in the cache ends with the digest of its content: one that is damaged would
    kill the process. Where the cache cannot be written, kernels are compiled for this process.

    Raises
    ------
    InputError
        No C++ compiler, or one that fails; no folder for a cache.
    OSError
        The library does not load.
    """
    parts = (
        tables(settings, dtype),
        SOURCE.read_text(encoding="utf-8"),
        source_digest("scalewise.models.density.kernels.build"),
        *processor(),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    folder = cache_folder()
    for path in folder.glob(f"{key}-kernels-*.so"):
        with contextlib.suppress(OSError, ValueError):
            if path.name == _name(key, path.read_bytes()):
                return Library(path, settings)
        with contextlib.suppress(OSError):
            path.unlink()
    with tempfile.TemporaryDirectory(prefix="scalewise-") as place:
        built = build_library(settings, dtype, Path(place))
        kept = folder / _name(key, built.read_bytes())
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary:
                temporary.write_bytes(built.read_bytes())
        except (InputError, OSError):  # a cache that is full, or not the user's
            return Library(built, settings)
    return Library(kept, settings)


def _name(key: str, content: bytes) -> str:
    return f"{key}-kernels-{hashlib.sha256(content).hexdigest()[:24]}.so"
