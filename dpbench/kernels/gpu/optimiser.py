"""Adam on the device: one program, no number from the host."""

from typing import final

import torch
from torch import Tensor

from dpbench.kernels.gpu import launch
from dpbench.shapes import Float, Float64, Int64


@final
class DeviceAdam:
    """Adam whose learning rate and step count lie on the device.

    m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    p <- p - lr / (1 - beta1^k) m / (sqrt(v / (1 - beta2^k)) + epsilon)

    Source:
        Kingma and Ba, arXiv:1412.6980, algorithm 1.
    """

    def __init__(
        self,
        parameters: Float[Tensor, " parameter"],
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        max_norm: float | None = None,
    ) -> None:
        """Start with empty moments.

        Args:
            parameters: One flat buffer, changed in place.
            beta1: Decay of the mean.
            beta2: Decay of the mean square.
            epsilon: Added to the root.
            max_norm: Longer gradients are shortened to this.
        """
        self.parameters = parameters
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        self.count: Int64[Tensor, ""] = torch.zeros(
            (), dtype=torch.int64, device=parameters.device
        )
        """Steps done."""
        self._constants = {"BETA1": beta1, "BETA2": beta2, "EPSILON": epsilon}
        self._max_norm = max_norm
        self._one = torch.ones((), dtype=torch.float64, device=parameters.device)

    def step(
        self,
        gradient: Float[Tensor, " parameter"],
        course: Float64[Tensor, "step column"],
    ) -> None:
        """Move the parameters against ``gradient``.

        Args:
            gradient: In the layout of the parameters.
            course: Learning rate of each step in its first column; row ``count`` is
                used.
        """
        from dpbench.kernels.gpu.programs import elementwise

        scale = self._one
        if self._max_norm is not None:
            norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
            scale = (self._max_norm / norm).clamp(max=1.0)
        size, block = len(self.parameters), launch.flat_block()
        elementwise.adam[(-(-size // block),)](
            *(self.parameters, gradient, self.mean, self.square, course),
            *(self.count, scale, size, len(course)),
            **self._constants,
            COURSE=course.shape[1],
            BLOCK=block,
        )
        self.count += 1
