"""Where an engine gets its model from: a model in memory, or any file of one."""

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from dpbench.models.files import Potential, load_potential
from dpbench.models.parameters import DTYPES

Precision = Literal["float32", "float64"]


def open_model(
    model: Potential | str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """Return a model and its provenance; a file is known by its content.

    Args:
        model: A model, which keeps device and precision unless another is asked for,
            or an ``m.pth`` of dpbench, plain or compressed, or a ``.dp`` or ``.yaml``
            of DeePMD-kit.
        device: Where a model of a file shall lie.
        precision: Of the nets; None keeps the model's.

    Raises:
        ModelError: If the file is missing, damaged, or holds no model that dpbench
            evaluates.
    """
    dtype = None if precision is None else DTYPES[precision]
    if isinstance(model, str | PathLike):
        return load_potential(Path(model), device=device, dtype=dtype)
    return (model if dtype is None else model.to(model.device, dtype)), {}
