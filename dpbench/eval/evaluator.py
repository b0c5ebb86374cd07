"""What a backend must be able to do so that the tasks can measure it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.metrics.frame_errors import Predictions
from dpbench.models.config import EnergyFittingConfig


class AbstractEvaluator(ABC):
    """A model on one backend, in one precision, on one device."""

    backend: str
    """Name of the backend, e.g. ``dpbench``."""
    precision: str
    """``float64`` or ``float32``."""
    device: str
    """Torch's name of the device."""
    type_map: tuple[str, ...]
    """Elements that the model knows."""
    rcut: float | None
    """Cutoff radius, Å; None where the backend does not tell."""
    fitting: EnergyFittingConfig | None = None
    """What the model takes beside structures; None = nothing, or not known."""

    @abstractmethod
    def predict(
        self, frames: Frames, *, fparam: NDArray[np.float64] | None = None
    ) -> Predictions:
        """Energy (eV), force (eV/Å) and virial (eV) of some frames.

        Args:
            frames: The frames.
            fparam: (frame, number), the facts of each that ``fitting`` names.
        """

    @abstractmethod
    def prepare(self, frame: Frames) -> Callable[[], object] | None:
        """Build the neighbour list of one frame; return the forward pass on it.

        None where the backend keeps its lists to itself.
        """

    @abstractmethod
    def forward(self, frame: Frames) -> object:
        """Build the neighbour list of one frame and run the forward pass."""

    @abstractmethod
    def calculator(self) -> Any:
        """Make a new ASE calculator."""

    @abstractmethod
    def list_builds(self, calculator: Any) -> int | None:
        """Neighbour lists that a calculator has built; None if it does not tell."""

    def kernels(self) -> dict[str, str]:
        """Name what has run so far, for records; empty where a backend cannot tell."""
        return {}

    @abstractmethod
    def synchronise(self) -> None:
        """Wait until the device has done all it was asked."""
