"""Model files that dpbench's kernels evaluate, known by their content.

The plain ``m.pth``, the compressed one, and DeePMD-kit's ``.dp`` and ``.yaml``.
"""

from pathlib import Path
from typing import Any, Literal

import torch

from dpbench.errors import ModelError
from dpbench.models.checkpoint import load_model, model_digest, read_payload
from dpbench.models.compressed import CompressedPotential
from dpbench.models.compressed_file import (
    compressed_digest,
    compressed_from_payload,
)
from dpbench.models.deepmd_file import read_portable
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import ModelFile, recognise

Potential = DeepPotential | CompressedPotential
"""A model of either kind: exact, or with tabulated embedding."""


def load_potential(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """Read a model file of any kind that dpbench evaluates.

    Args:
        path: An ``m.pth`` of ``dpbench train`` or ``dpbench compress``, or a ``.dp`` or
            ``.yaml`` of DeePMD-kit, whatever its name.
        device: Where the model shall lie.
        dtype: Precision to convert the model to; None keeps the file's.

    Returns:
        The model and its provenance.

    Raises:
        ModelError: If the file is missing, damaged, of a kind that needs another
            program, or of a newer format.
    """
    found = recognise(path)
    model: Potential
    if found.kind == "dpbench":
        return load_model(path, device=device, dtype=dtype)
    if found.kind == "dpbench-compressed":
        payload = read_payload(path)
        model, provenance = compressed_from_payload(payload, where=str(path))
    elif found.kind in ("deepmd-dp", "deepmd-yaml"):
        portable = read_portable(path)
        model, provenance = portable.model, portable.provenance
    else:
        raise not_ours(path, found)
    if dtype is not None or torch.device(device).type != "cpu":
        model = model.to(device, dtype)
    return model, provenance


def not_ours(path: Path, found: ModelFile) -> ModelError:
    """Return the error of a file that dpbench's kernels do not read."""
    if found.kind.startswith("deepmd-"):
        advice = f"Convert it: dpbench convert {path} m.dp"
    elif found.kind in ("unknown", "text-potential"):
        advice = "Name the model's file"
    else:
        advice = "Its own program opens it: see 'dpbench evaluate --backend'"
    return ModelError(
        f"{path}: is no model that dpbench reads ({found.description}); expected the "
        f"m.pth that `dpbench train` wrote, or a .dp or .yaml of DeePMD-kit. {advice}."
    )


def potential_digest(model: Potential) -> str:
    """Name a model by its content, ``sha256:`` and 64 hexadecimal digits."""
    if isinstance(model, CompressedPotential):
        return compressed_digest(model)
    return model_digest(model)


def kind_of(model: Potential) -> Literal["plain", "compressed"]:
    """Say which kind of model it is."""
    return "compressed" if isinstance(model, CompressedPotential) else "plain"
