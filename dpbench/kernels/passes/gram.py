"""From moments to the descriptor and back: D = X^T X_<, bilinear in X.

X is (row, 4, width), of which the first ``channels`` count; D is (row, channels *
axis), row-major. Numba loops serve where the passes are numba's, elsewhere batched
products.
"""

from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.choice import choose
from dpbench.kernels.passes import reference
from dpbench.shapes import Float


def gram(
    x: Float[Tensor, "row 4 width"],
    y: Float[Tensor, "row 4 width"],
    *,
    channels: int,
    axis: int,
) -> Float[Tensor, "row component"]:
    """Return x^T y_< of each row."""
    if not _is_compiled(x):
        return (x[:, :, :channels].transpose(1, 2) @ y[:, :, :axis]).flatten(1)
    from dpbench.kernels.passes import gram_loops

    out = x.new_empty(len(x), channels * axis)
    gram_loops.gram(x.numpy(), y.numpy(), axis, out.numpy())
    return out


def gram_adjoint(
    grad: Float[Tensor, "row component"],
    x: Float[Tensor, "row 4 width"],
    *,
    axis: int,
) -> Float[Tensor, "row 4 width"]:
    """Return the gradient of D = gram(X, X) by X; channels beyond the net's are zero.

    Linear in both arguments, so that its change is the sum over a change of either.
    """
    if not _is_compiled(x):
        to_d = grad.reshape(len(x), grad.shape[1] // axis, axis)
        channels = to_d.shape[1]
        out = torch.zeros_like(x)
        out[:, :, :channels] = x[:, :, :axis] @ to_d.transpose(1, 2)
        out[:, :, :axis] += x[:, :, :channels] @ to_d
        return out
    from dpbench.kernels.passes import gram_loops

    out = torch.empty_like(x)
    gram_loops.gram_adjoint(grad.contiguous().numpy(), x.numpy(), axis, out.numpy())
    return out


def gram_tangent(
    x: Float[Tensor, "row 4 width"],
    x_dot: Float[Tensor, "row 4 width"],
    *,
    channels: int,
    axis: int,
) -> Float[Tensor, "row component"]:
    """Return the change of D = gram(X, X) along a change of X."""
    if not _is_compiled(x):
        one = gram(x_dot, x, channels=channels, axis=axis)
        return one.add_(gram(x, x_dot, channels=channels, axis=axis))
    from dpbench.kernels.passes import gram_loops

    out = x.new_empty(len(x), channels * axis)
    gram_loops.gram_tangent(x.numpy(), x_dot.numpy(), axis, out.numpy())
    return out


def gram_adjoint_tangent(
    grads: tuple[Float[Tensor, "row component"], Float[Tensor, "row component"]],
    moments: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    eps: Float[Tensor, " row"],
    base: Float[Tensor, "row 4 width"],
    *,
    axis: int,
) -> Float[Tensor, "row 4 width"]:
    """Return the change of ``gram_adjoint`` along changes of both arguments.

    Args:
        grads: The gradient by D and its change.
        moments: X and its change.
        eps: By row.
        base: What is added, times ``eps``.
        axis: Columns of the second factor.
    """
    if not _is_compiled(base):
        out = gram_adjoint(grads[1], moments[0], axis=axis)
        out += gram_adjoint(grads[0], moments[1], axis=axis)
        return out.addcmul_(base, eps[:, None, None])
    from dpbench.kernels.passes import gram_loops

    loops: Any = gram_loops  # numba tells no signatures
    found = torch.empty_like(base)
    loops.gram_adjoint_tangent(
        tuple(g.contiguous().numpy() for g in grads),
        tuple(x.numpy() for x in moments),
        *(eps.contiguous().numpy(), base.numpy(), axis, found.numpy()),
    )
    return found


def _is_compiled(x: Tensor) -> bool:
    if x.device.type != "cpu":
        return False
    return choose("passes", x.device, x.dtype) is not reference
