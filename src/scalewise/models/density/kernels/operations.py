r"""The products of the density network as operations that kernels compute.

With kernels (:func:`scalewise.models.compiler.with_kernels`), the network calls these operations
instead of the equivalent functions in PyTorch, which are the reference. The operations have first
derivatives only, with respect to positions or to weights; :func:`one_layer` returns derivatives
itself. ``kernels.cpp`` implements them, in compiled programs (with derivatives with respect to
positions) or in a :class:`scalewise.models.density.kernels.library.Library`. Shapes have n atoms, s
neighbors, c channels, h hidden, b Bessel functions, and k = (l_max+1)² components of a function on
the sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from scalewise.models.compiler import kernels

#: Operations of programs, and what they take and give; kernels.cpp has their definitions.
SCHEMAS: Final = {
    "vectors": "(Tensor positions, Tensor cell, Tensor system, Tensor index, Tensor shift, "
    "Tensor mask, Tensor example) -> Tensor",
    "vectors_back": "(Tensor d_vectors, Tensor positions, Tensor cell, Tensor system, "
    "Tensor index, Tensor shift, Tensor mask) -> (Tensor, Tensor)",
    "pair_energies": "(Tensor vectors, Tensor reach, Tensor first, Tensor types, Tensor index, "
    "Tensor coefficients, Tensor rate, Tensor strength, Tensor touch) -> (Tensor, Tensor, Tensor)",
    "one_layer": "(Tensor positions, Tensor cell, Tensor reach, Tensor system, Tensor index, "
    "Tensor shift, Tensor mask, Tensor types, Tensor radial, Tensor scale, Tensor table, "
    "Tensor mix, Tensor first, Tensor bias, Tensor second, Tensor second_bias, Tensor readout, "
    "Tensor coefficients, Tensor rate, Tensor strength, Tensor touch) -> "
    "(Tensor, Tensor, Tensor)",
    "collect": "(Tensor vectors, Tensor reach, Tensor radial, Tensor scale, Tensor table, "
    "Tensor index, int components) -> Tensor",
    "collect_messages_back": "(Tensor d_density, Tensor vectors, Tensor reach, Tensor radial, "
    "Tensor scale, Tensor table, Tensor index) -> (Tensor, Tensor, Tensor, Tensor)",
    "collect_elements_back": "(Tensor d_density, Tensor vectors, Tensor reach, Tensor radial, "
    "Tensor scale, Tensor table, Tensor index) -> (Tensor, Tensor, Tensor)",
    "collect_weights_back": "(Tensor d_density, Tensor vectors, Tensor reach, Tensor radial, "
    "Tensor scale, Tensor table, Tensor index) -> (Tensor, Tensor, Tensor)",
    "product": "(Tensor features, Tensor mix, Tensor first, Tensor bias, Tensor second, "
    "Tensor second_bias) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "product_back": "(Tensor d_scalars, Tensor d_field, Tensor d_product, Tensor field, "
    "Tensor product, Tensor other, Tensor before_first, Tensor before_second, Tensor factor, "
    "Tensor mix, Tensor first, Tensor second) -> (Tensor, Tensor)",
    "product_weights_back": "(Tensor d_scalars, Tensor d_field, Tensor d_product, "
    "Tensor features, Tensor field, Tensor product, Tensor other, Tensor before_first, "
    "Tensor before_second, Tensor factor, Tensor mix, Tensor first, Tensor second) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "send": "(Tensor features, Tensor weight, Tensor scalars, Tensor vectors, Tensor longest) -> "
    "(Tensor, Tensor)",
    "send_back": "(Tensor d_messages, Tensor field, Tensor weight, Tensor vectors, "
    "Tensor longest) -> "
    "(Tensor, Tensor, Tensor)",
    "send_weights_back": "(Tensor d_messages, Tensor features, Tensor weight, Tensor vectors, "
    "Tensor longest) -> (Tensor, Tensor, Tensor)",
}

_LIBRARY: Final = torch.library.Library("scalewise", "DEF")  # type: ignore[no-untyped-call]  # PyTorch
for _name, _schema in SCHEMAS.items():
    _LIBRARY.define(_name + _schema)  # type: ignore[no-untyped-call]  # PyTorch
#: The operations of compiled programs, while they are traced.
TRACED: Final = torch.ops.scalewise

_Kept = tuple[Tensor, ...]
_Asked = tuple[bool, ...]
_Slopes = tuple[Tensor | None, ...]


def vectors(
    positions: Tensor,
    cell: Tensor,
    system: Tensor,
    index: Tensor,
    shift: Tensor,
    mask: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Vectors to neighbors, Å [n, s, 3]; :data:`scalewise.models.graph.FAR` where masked.

    Parameters
    ----------
    positions, cell
        Å [atoms, 3] and [systems, 3, 3], in double precision; the first n atoms have lists.
    system
        The system of each atom [n] or more.
    index, shift, mask
        The neighbors [n, s], their cells [n, s, 3] and which there are [n, s]; no cells [0, 3]: all
        are in the same one.
    dtype
        Of the result; differences are taken in double precision.
    """
    given = (positions, cell, system, index, shift, mask, positions.new_empty(1, dtype=dtype))
    found: Tensor = _VECTORS(*(t.contiguous() for t in given))
    return found


def pair_energies(
    vectors: Tensor,
    reach: Tensor,
    first: Tensor,
    types: Tensor,
    index: Tensor,
    coefficients: Tensor,
    nuclei: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Energies of the pair potential, eV [n].

    Parameters
    ----------
    vectors, reach
        As for :func:`collect`; ``reach`` is at most the potential's own cutoff.
    first, types
        Elements of the atoms that have lists [n], and of all [atoms].
    index
        The neighbors [n, s].
    coefficients, nuclei
        Of :class:`scalewise.models.density.pair_baseline.PairBaseline`, for each pair of elements
        [kinds, kinds, ...]; no weights.
    """
    given = (vectors, reach, first, types, index, coefficients, *nuclei)
    found: Tensor = _PAIR_ENERGIES(*(t.contiguous() for t in given))[0]
    return found


def collect(
    vectors: Tensor,
    reach: Tensor,
    radial: Tensor,
    scale: Tensor,
    table: Tensor,
    index: Tensor,
    components: int,
) -> Tensor:
    r"""Densities of neighbors [n, k, c].

    .. math:: A_{kc} = s_c \sum_j Y_k(\hat r_j) f_j x_{jc} \sum_b b_b(r_j) W_{bc}

    Parameters
    ----------
    vectors, reach
        To the neighbors, Å [n, s, 3], and where the envelope f of each atom ends, Å [n]; what is
        farther counts as no neighbor.
    radial
        The weights W of the Bessel functions, of all atoms [1, b, c] or of each [n, b, c].
    scale
        [n, c].
    table, index
        Rows x [rows, c], and which row belongs to each neighbor [n, s].
    components
        k, of a function on the sphere.
    """
    given = (vectors, reach, radial, scale, table, index)
    found: Tensor = _COLLECT(*(t.contiguous() for t in given), components)
    return found


def product(
    features: Tensor,
    mix: Tensor,
    first: Tensor,
    bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """A product layer: scalars [n, h], field and product [n, k, c].

    Parameters
    ----------
    features
        [n, k, c].
    mix, first, second, second_bias
        Weights of :class:`scalewise.models.density.layers.ProductLayer`.
    bias
        Of the first linear layer, for each atom [n, h].
    """
    given = (features, mix, first, bias, second, second_bias)
    found = _PRODUCT(*(t.contiguous() for t in given))
    return found[0], found[1], found[2]


def send(
    features: Tensor, weight: Tensor, scalars: Tensor, vectors: Tensor, longest: Tensor
) -> Tensor:
    r"""Messages that atoms send along vectors [n, s, c].

    .. math:: m_{jc} = \sum_k Y_k(\hat r_j) \Big(\sum_{c'} A_{kc'} W_{l(k),c'c}
       + \delta_{k0}\, a_c\Big)

    with the features A [n, k, c] and scalars a [n, c] of the atom. The weight W
    is [l_max+1, c, c], ``vectors`` [n, s, 3] are in Å. Along vectors that are
    longer than ``longest`` [1], Å, the values are undefined.
    """
    given = (features, weight, scalars, vectors, longest)
    found: Tensor = _SEND(*(t.contiguous() for t in given))[0]
    return found


def one_layer(
    positions: Tensor, cell: Tensor, reach: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Energies of a network of one layer [n], and the derivatives of their sum.

    That is, :func:`vectors`, :func:`collect`, :func:`product` and :func:`pair_energies` in one
    pass, for programs alone. It gives the derivatives by positions [n, 3] and by a strain of one
    structure [3, 3], and has none itself.

    Parameters
    ----------
    positions, cell
        As for :func:`vectors`; every atom has a list.
    reach
        Where envelopes and pair potential of each atom end, Å [n].
    given
        ``system``, ``index``, ``shift`` and ``mask`` of :func:`vectors`; ``types`` [n]; ``radial``
        (of all atoms), ``scale`` and ``table`` (a row for each atom) of :func:`collect`; ``mix``,
        ``first``, ``bias``, ``second`` and ``second_bias`` of :func:`product`; ``readout`` [h], by
        which scalars are multiplied; ``coefficients`` and three more of :func:`pair_energies`.
    """
    found: tuple[Tensor, Tensor, Tensor] = kernels().one_layer(
        *(t.contiguous() for t in (positions, cell, reach, *given))
    )
    return found


def _one_layer_shapes(
    positions: Tensor, cell: Tensor, reach: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(reach), _like(positions), positions.new_empty(3, 3)


def _vectors_shapes(
    positions: Tensor,
    cell: Tensor,
    system: Tensor,
    index: Tensor,
    shift: Tensor,
    mask: Tensor,
    example: Tensor,
) -> Tensor:
    return example.new_empty(*index.shape, 3)


def _vectors_back_shapes(
    d_vectors: Tensor, positions: Tensor, cell: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor]:
    return _like(positions), _like(cell)


def _collect_shapes(
    vectors: Tensor,
    reach: Tensor,
    radial: Tensor,
    scale: Tensor,
    table: Tensor,
    index: Tensor,
    components: int,
) -> Tensor:
    return vectors.new_empty(vectors.shape[0], components, radial.shape[2])


def _collect_elements_back_shapes(
    d_density: Tensor,
    vectors: Tensor,
    reach: Tensor,
    radial: Tensor,
    scale: Tensor,
    table: Tensor,
    index: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    # radial functions of all atoms are weights, and constant
    atoms = 0 if radial.shape[0] == 1 else vectors.shape[0]
    return _like(vectors), _like(reach), radial.new_empty(atoms, *radial.shape[1:])


def _collect_messages_back_shapes(
    d_density: Tensor,
    vectors: Tensor,
    reach: Tensor,
    radial: Tensor,
    scale: Tensor,
    table: Tensor,
    index: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    atoms = 0 if radial.shape[0] == 1 else vectors.shape[0]
    d_radial = radial.new_empty(atoms, *radial.shape[1:])
    return _like(vectors), _like(reach), d_radial, _like(table)


def _collect_weights_back_shapes(
    d_density: Tensor,
    vectors: Tensor,
    reach: Tensor,
    radial: Tensor,
    scale: Tensor,
    table: Tensor,
    index: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(radial), _like(scale), _like(table)


def _product_shapes(
    features: Tensor, mix: Tensor, first: Tensor, bias: Tensor, second: Tensor, second_bias: Tensor
) -> tuple[Tensor, ...]:
    field = (_like(features), _like(features), _like(features))
    return _like(bias), *field, _like(bias), _like(bias), features.new_empty(features.shape[0])


def _product_back_shapes(
    d_scalars: Tensor, d_field: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor]:
    return _like(d_field), _like(d_scalars)


def _product_weights_back_shapes(
    d_scalars: Tensor, d_field: Tensor, d_product: Tensor, features: Tensor, *kept: Tensor
) -> tuple[Tensor, ...]:
    mix, first, second = (_like(w) for w in kept[-3:])
    return _like(features), _like(d_scalars), mix, first, second, second.new_empty(second.shape[0])


def _send_shapes(
    features: Tensor, weight: Tensor, scalars: Tensor, vectors: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor]:
    atoms, slots = features.shape[0], vectors.shape[1]
    return features.new_empty(atoms, slots, features.shape[2]), _like(features)


def _send_back_shapes(
    d_messages: Tensor, field: Tensor, weight: Tensor, vectors: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(field), field.new_empty(field.shape[0], field.shape[2]), _like(vectors)


def _send_weights_back_shapes(
    d_messages: Tensor, features: Tensor, weight: Tensor, vectors: Tensor, longest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d_scalars = features.new_empty(features.shape[0], features.shape[2])
    return _like(features), d_scalars, _like(weight)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _pair_energies_shapes(
    vectors: Tensor, reach: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(reach), _like(vectors), _like(reach)


_SHAPES: Final[dict[str, Callable[..., Any]]] = {
    "vectors": _vectors_shapes,
    "pair_energies": _pair_energies_shapes,
    "one_layer": _one_layer_shapes,
    "vectors_back": _vectors_back_shapes,
    "collect": _collect_shapes,
    "collect_elements_back": _collect_elements_back_shapes,
    "collect_messages_back": _collect_messages_back_shapes,
    "collect_weights_back": _collect_weights_back_shapes,
    "product": _product_shapes,
    "product_back": _product_back_shapes,
    "product_weights_back": _product_weights_back_shapes,
    "send": _send_shapes,
    "send_back": _send_back_shapes,
    "send_weights_back": _send_weights_back_shapes,
}
for _name, _shapes in _SHAPES.items():
    torch.library.register_fake(f"scalewise::{_name}", _shapes, lib=_LIBRARY)


def _differentiable(
    operation: str,
    kept: Callable[[tuple[Any, ...], Any], tuple[Tensor, ...]],
    back: Callable[..., _Slopes],
    results: int = 1,
) -> Callable[..., Any]:
    """An operation with its first derivative.

    Parameters
    ----------
    operation
        What is computed.
    kept
        Of its inputs and results, those that the derivative needs.
    back
        The derivatives by the inputs, from the operations, the derivatives by the results, what was
        kept, and which inputs have any.
    results
        How many of the results have derivatives; others are kept alone.
    """

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(*given: Any) -> Any:
            return getattr(kernels(), operation)(*given)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.save_for_backward(*kept(inputs, output))
            ctx.kernels = kernels()
            if isinstance(output, tuple):
                ctx.mark_non_differentiable(*output[results:])

        @staticmethod
        def backward(ctx: Any, *slopes: Tensor) -> _Slopes:
            given = [slope.contiguous() for slope in slopes[:results]]
            return back(ctx.kernels, given, ctx.saved_tensors, ctx.needs_input_grad)

    applied: Callable[..., Any] = Differentiable.apply
    return applied


def _vectors_slopes(run: Any, slopes: list[Tensor], kept: _Kept, _: _Asked) -> _Slopes:
    d_positions, d_cell = run.vectors_back(*slopes, *kept)
    return d_positions, d_cell, *[None] * 5


def _pair_energies_slopes(run: Any, slopes: list[Tensor], kept: _Kept, _: _Asked) -> _Slopes:
    by_vectors, by_reach = kept
    (slope,) = slopes
    return slope[:, None, None] * by_vectors, slope * by_reach, *[None] * 7


def _collect_slopes(run: Any, slopes: list[Tensor], kept: _Kept, asked: _Asked) -> _Slopes:
    if not asked[0]:
        return None, None, *run.collect_weights_back(*slopes, *kept), None, None
    # a table of messages has derivatives, one of elements has none
    messages = asked[4]
    back = run.collect_messages_back if messages else run.collect_elements_back
    found = back(*slopes, *kept)
    d_radial = None if kept[2].shape[0] == 1 else found[2]
    return found[0], found[1], d_radial, None, found[3] if messages else None, None, None


def _product_slopes(run: Any, slopes: list[Tensor], kept: _Kept, asked: _Asked) -> _Slopes:
    features, *rest = kept
    if any(asked[k] for k in (1, 2, 4, 5)):
        found = run.product_weights_back(*slopes, features, *rest)
        d_features, d_bias, d_mix, d_first, d_second, d_second_bias = found
        return d_features, d_mix, d_first, d_bias, d_second, d_second_bias
    d_features, d_bias = run.product_back(*slopes, *rest)
    return d_features, None, None, d_bias, None, None


def _send_slopes(run: Any, slopes: list[Tensor], kept: _Kept, asked: _Asked) -> _Slopes:
    features, field, weight, vectors, longest = kept
    if asked[1]:
        d_features, d_scalars, d_weight = run.send_weights_back(
            *slopes, features, weight, vectors, longest
        )
        return d_features, d_weight, d_scalars, None, None
    d_features, d_scalars, d_vectors = run.send_back(*slopes, field, weight, vectors, longest)
    return d_features, None, d_scalars, d_vectors, None


_VECTORS: Final = _differentiable("vectors", lambda inputs, _: inputs[:-1], _vectors_slopes)
_PAIR_ENERGIES: Final = _differentiable(
    "pair_energies", lambda _, output: output[1:], _pair_energies_slopes
)
_COLLECT: Final = _differentiable("collect", lambda inputs, _: inputs[:-1], _collect_slopes)
_PRODUCT: Final = _differentiable(
    "product",
    lambda inputs, output: (inputs[0], *output[1:], inputs[1], inputs[2], inputs[4]),
    _product_slopes,
    results=3,
)
_SEND: Final = _differentiable(
    "send",
    lambda inputs, output: (inputs[0], output[1], inputs[1], inputs[3], inputs[4]),
    _send_slopes,
)
