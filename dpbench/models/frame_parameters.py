"""Numbers of a frame or an atom that the fitting net takes beside the descriptor."""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.batch import Batch
from dpbench.models.config import EnergyFittingConfig
from dpbench.models.statistics import ModelStatistics
from dpbench.shapes import Float


@final
class FrameParameters:
    """Puts (value - mean) / deviation behind the descriptor."""

    def __init__(
        self,
        config: EnergyFittingConfig,
        statistics: ModelStatistics,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take mean and deviation of the training data.

        Args:
            config: How many numbers there are, and their default.
            statistics: Mean and deviation, where there are numbers.
            device: Where the model lies.
            dtype: Its precision.
        """
        self._config, self._dtype = config, dtype
        self._frame = _scale(statistics.fparam, config.numb_fparam, device)
        self._atom = _scale(statistics.aparam, config.numb_aparam, device)
        self._default: Tensor | None = None
        if config.numb_fparam and config.default_fparam is not None:
            self._default = torch.tensor(
                config.default_fparam, dtype=torch.float64, device=device
            )

    def append(
        self, descriptor: Float[Tensor, "atom component"], batch: Batch
    ) -> Float[Tensor, "atom input"]:
        """Return the inputs of the fitting net, atoms in ``atom_order``.

        Raises:
            ModelError: If the batch lacks numbers that the model needs.
        """
        columns = [descriptor]
        if self._frame is not None:
            values = (self._of_frames(batch) - self._frame[0]) / self._frame[1]
            values = values[batch.frame_idx[batch.atom_order]]
            columns.append(values.to(self._dtype))
        if self._atom is not None:
            found = batch.aparam
            count = self._config.numb_aparam
            if found is None or found.shape[1] != count:
                raise ModelError(
                    f"the model needs {count} numbers per atom (aparam); the atoms "
                    f"come with {0 if found is None else found.shape[1]}. Datasets and "
                    "the ASE calculator (atoms.arrays['aparam']) can give them; "
                    "dynamics, LAMMPS, i-PI and OpenMM cannot."
                )
            values = (found[batch.atom_order] - self._atom[0]) / self._atom[1]
            columns.append(values.to(self._dtype))
        return torch.cat(columns, dim=1) if len(columns) > 1 else descriptor

    def _of_frames(self, batch: Batch) -> Float[Tensor, "frame number"]:
        count = self._config.numb_fparam
        if batch.fparam is None and self._default is not None:
            return self._default.expand(batch.nframes, -1)
        if batch.fparam is None or batch.fparam.shape[1] != count:
            found = 0 if batch.fparam is None else batch.fparam.shape[1]
            names = ", ".join(self._config.fparam) or f"{count} numbers"
            raise ModelError(
                f"the model needs {names} per frame (fparam); the frames come with "
                f"{found} numbers. Give them, or train with default_fparam."
            )
        return batch.fparam


def _scale(
    array: NDArray[np.float64] | None, count: int, device: torch.device
) -> Tensor | None:
    if not count or array is None:
        return None
    return torch.as_tensor(array, dtype=torch.float64, device=device)
