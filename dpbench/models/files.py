"""Model files of either kind: the plain ``m.pth`` and the compressed one."""

from pathlib import Path
from typing import Any, Literal

import torch

from dpbench.models.checkpoint import load_model, model_digest, read_payload
from dpbench.models.compressed import CompressedPotential
from dpbench.models.compressed_file import (
    MAGIC,
    compressed_digest,
    compressed_from_payload,
)
from dpbench.models.potential import DeepPotential

Potential = DeepPotential | CompressedPotential
"""A model of either kind: exact, or with tabulated embedding."""


def load_potential(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """Read a model file of either kind.

    Args:
        path: An ``m.pth`` of ``dpbench train`` or ``dpbench compress``.
        device: Where the model shall lie.
        dtype: Precision to convert the model to; None keeps the file's.

    Returns:
        The model and its provenance.

    Raises:
        ModelError: If the file is missing, damaged, no model of dpbench, or of a newer
            format.
    """
    payload = read_payload(path)
    if payload.get("magic") != MAGIC:
        return load_model(path, device=device, dtype=dtype)
    model, provenance = compressed_from_payload(payload, where=str(path))
    if dtype is not None or torch.device(device).type != "cpu":
        model = model.to(device, dtype)
    return model, provenance


def potential_digest(model: Potential) -> str:
    """Name a model by its content, ``sha256:`` and 64 hexadecimal digits."""
    if isinstance(model, CompressedPotential):
        return compressed_digest(model)
    return model_digest(model)


def kind_of(model: Potential) -> Literal["plain", "compressed"]:
    """Say which kind of model it is."""
    return "compressed" if isinstance(model, CompressedPotential) else "plain"
