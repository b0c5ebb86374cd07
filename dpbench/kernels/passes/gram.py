"""From moments to the descriptor and back: D = X^T X_<, bilinear in X.

X is (row, 4, width), of which the first ``channels`` count; D is (row, channels *
axis), row-major. On CPUs numba loops serve, elsewhere batched products.
"""

import torch
from torch import Tensor

from dpbench.shapes import Float


def gram(
    x: Float[Tensor, "row 4 width"],
    y: Float[Tensor, "row 4 width"],
    *,
    channels: int,
    axis: int,
) -> Float[Tensor, "row component"]:
    """Return x^T y_< of each row."""
    if x.device.type != "cpu":
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
    if x.device.type != "cpu":
        to_d = grad.view(len(x), -1, axis)
        channels = to_d.shape[1]
        out = torch.zeros_like(x)
        out[:, :, :channels] = x[:, :, :axis] @ to_d.transpose(1, 2)
        out[:, :, :axis] += x[:, :, :channels] @ to_d
        return out
    from dpbench.kernels.passes import gram_loops

    out = torch.empty_like(x)
    gram_loops.gram_adjoint(grad.contiguous().numpy(), x.numpy(), axis, out.numpy())
    return out
