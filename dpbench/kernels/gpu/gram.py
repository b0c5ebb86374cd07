"""D = X^T X_< and its adjoint on the device; one program an atom."""

import torch
from torch import Tensor

from dpbench.kernels.gpu import launch
from dpbench.shapes import Float


def gram(
    x: Float[Tensor, "row 4 width"],
    y: Float[Tensor, "row 4 width"],
    *,
    channels: int,
    axis: int,
    both: bool = False,
) -> Float[Tensor, "row component"]:
    """Return x^T y_< of each row; with ``both`` y^T x_< is added."""
    from dpbench.kernels.gpu.programs import gram as programs

    out = x.new_empty(len(x), channels * axis)
    if len(x):
        programs.gram[(len(x),)](
            *(x, y, out), **_sizes(x, channels, axis), BOTH=both, num_warps=4
        )
    return out


def gram_adjoint(
    grad: Float[Tensor, "row component"],
    x: Float[Tensor, "row 4 width"],
    *,
    axis: int,
    scale: float,
) -> Float[Tensor, "row 4 width"]:
    """Return ``scale`` times the gradient by X; zero in channels beyond the net's."""
    return _adjoint((grad, x, grad, x, x, x), axis=axis, scale=scale, tangent=False)


def gram_adjoint_dot(
    grads: tuple[Float[Tensor, "row component"], Float[Tensor, "row component"]],
    moments: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    base: Float[Tensor, "row 4 width"],
    eps: Float[Tensor, " row"],
    *,
    axis: int,
    scale: float,
) -> Float[Tensor, "row 4 width"]:
    """Return the change of ``gram_adjoint`` along a tangent, plus eps times ``base``.

    Args:
        grads: dE/dD and its change.
        moments: X and its change.
        base: What ``gram_adjoint`` returned.
        eps: Weight of each row's energy.
        axis: Columns that D contracts.
        scale: As given to ``gram_adjoint``.
    """
    arrays = (grads[0], moments[0], grads[1], moments[1], base, eps)
    return _adjoint(arrays, axis=axis, scale=scale, tangent=True)


def _adjoint(
    arrays: tuple[Tensor, ...], *, axis: int, scale: float, tangent: bool
) -> Tensor:
    from dpbench.kernels.gpu.programs import gram as programs

    grad, x = arrays[0], arrays[1]
    out = torch.empty_like(x)
    if len(x):
        programs.gram_adjoint[(len(x),)](
            *(array.contiguous() for array in arrays),
            out,
            SCALE=scale,
            **_sizes(x, grad.shape[1] // axis, axis),
            TANGENT=tangent,
        )
    return out


def _sizes(x: Tensor, channels: int, axis: int) -> dict[str, int]:
    return {
        "CHANNELS": channels,
        "WIDTH": x.shape[2],
        "LANES": launch.power_of_two(x.shape[2]),
        "AXIS": axis,
        "AXES": launch.power_of_two(axis),
    }
