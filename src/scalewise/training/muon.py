"""Muon: an optimiser for matrices with orthogonalised momentum steps.

torch.optim.Muon iterates in bfloat16, which CPUs without such instructions emulate: 69 ms per step
for the medium network on one thread, as long as the rest of the step. This implementation iterates
in the type of the weights, and in batches, because the weights of each degree are stacks of
matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

#: Coefficients of the quintic iteration of the reference implementation.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5
#: Columns for each row from which the Gram matrix is iterated.
WIDE = 4


class Muon(torch.optim.Optimizer):
    r"""Orthogonalised Nesterov momentum for weights [..., rows, columns].

    The update is :math:`-\eta\, (U V^T + \lambda W)` with :math:`U S V^T` the momentum's singular
    value decomposition, approached by five Newton-Schulz iterations, and the decay λ of the weights
    W, which keeps their singular values below 1/λ.

    References
    ----------
    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # two overloads
        """Take one step with the gradients that are there."""
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            updates = []
            for weight in weights:
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"]
                buffer.lerp_(weight.grad, 1.0 - group["momentum"])
                updates.append(weight.grad.lerp(buffer, group["momentum"]))
            torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(weights, _all_orthogonal(updates), alpha=group["lr"])


def _all_orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """:func:`orthogonal` of each, those of one shape together: most of the time is calls."""
    alike: dict[torch.Size, list[int]] = {}
    for k, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(k)
    found: dict[int, Tensor] = {}
    for members in alike.values():
        made = orthogonal(torch.stack([matrices[k] for k in members]))
        found.update(zip(members, made, strict=True))
    return [found[k] for k in range(len(matrices))]


def orthogonal(matrix: Tensor) -> Tensor:
    r"""Nearly U V^T of the singular value decomposition U S V^T, for [..., rows, columns].

    Newton and Schulz iterate X → (a + b G + c G²) X with G = X X^T. Of wide matrices, the small G
    is iterated in place of X, in double precision, because small singular values are squared in it:
    both are multiplied by one polynomial, which commutes with G.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    rows, columns = x.shape[-2:]
    if columns <= WIDE * rows:
        for _ in range(STEPS):
            gram = x @ x.mT
            x = A * x + (B * gram + C * gram @ gram) @ x
    else:
        wide = x.double()
        gram, whole = wide @ wide.mT, torch.eye(rows, dtype=wide.dtype, device=x.device)
        for _ in range(STEPS):
            factor = B * gram + C * gram @ gram
            factor.diagonal(dim1=-2, dim2=-1).add_(A)
            whole = factor @ whole
            gram = factor @ gram @ factor
        x = whole.to(x.dtype) @ x
    return x.mT if tall else x
