"""One optimiser step, whatever the optimiser lives on: a gradient or measurements."""

from collections.abc import Callable

from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine
from dpbench.train.optimisers.average import Averaged
from dpbench.train.optimisers.kalman import KalmanFilter
from dpbench.train.optimisers.measurements import take_measurements
from dpbench.train.optimisers.protocol import Optimiser

Step = Callable[[Batch, Tensor, float], None]
"""Moves the parameters: batch, gradient of its loss (parameter), learning rate."""


def stepper(optimiser: Optimiser, engine: Engine, model: DeepPotential) -> Step:
    """Return what makes a step of ``optimiser``.

    Args:
        optimiser: Over the parameters of ``model``.
        engine: Gives a Kalman filter its measurements.
        model: Changed in place by every step.

    Returns:
        A function of batch, gradient and learning rate. A Kalman filter looks at the
        batch alone; all others at the gradient and the rate.
    """
    inner = optimiser.inner if isinstance(optimiser, Averaged) else optimiser
    if not isinstance(inner, KalmanFilter):
        return lambda _, gradient, rate: optimiser.step(gradient, learning_rate=rate)
    kalman = inner

    def measure(batch: Batch, gradient: Tensor, rate: float) -> None:
        take_measurements(kalman, model, batch, engine=engine, config=kalman.config)
        if isinstance(optimiser, Averaged):
            optimiser.follow()

    return measure
