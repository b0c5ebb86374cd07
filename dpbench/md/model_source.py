"""Where an engine gets its model from: a model in memory, or any file of one."""

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from dpbench.models.deepmd_file import read_deepmd
from dpbench.models.files import Potential, load_potential
from dpbench.models.parameters import DTYPES

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

Precision = Literal["float32", "float64"]


def open_model(
    model: Potential | str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """Return a model and its provenance; a file is known by its content.

    Args:
        model: A model, which keeps device and precision unless others are asked for,
            or an ``m.pth`` of dpbench, plain or compressed, or a ``.dp`` of DeePMD-kit.
        device: Where a model of a file shall lie.
        precision: Of the nets; None keeps the model's.

    Raises:
        ModelError: If the file is missing, damaged, or holds no model that dpbench
            evaluates.
    """
    dtype = None if precision is None else DTYPES[precision]
    if not isinstance(model, str | PathLike):
        return (model if dtype is None else model.to(model.device, dtype)), {}
    path = Path(model)
    if not _is_hdf5(path):
        return load_potential(path, device=device, dtype=dtype)
    found = read_deepmd(path)
    if dtype is not None or torch.device(device).type != "cpu":
        found = found.to(device, dtype)
    return found, {}


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    except OSError:
        return False  # who reads the model words what is wrong
