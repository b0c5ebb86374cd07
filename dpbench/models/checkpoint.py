"""The model file ``m.pth``: weights, configuration, statistics and provenance.

Loading never runs code from the file (``weights_only``). The file is written whole or
not at all, and the same model and provenance give the same bytes.
"""

import hashlib
import io
import json
import os
import pickle
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpbench.config import canonical_json
from dpbench.errors import DpbenchError, ModelError
from dpbench.models.config import ModelConfig, config_from_mapping, config_mapping
from dpbench.models.parameters import DTYPES, FlatParameters, parameter_shapes
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics

MAGIC = "dpbench-model"
"""First entry of every model file."""

FORMAT = 2
"""Newest format; all older ones are read. Models that format 1 can hold are written in
it: plain ``se_e2_a`` without numbers beside the descriptor."""


def save_model(path: Path, model: DeepPotential, provenance: dict[str, Any]) -> None:
    """Write a model file.

    Args:
        path: File to write or replace.
        model: The model.
        provenance: JSON values: dataset, split, seed, versions, command ...

    Raises:
        ModelError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(sealed_payload(model, provenance), buffer)
    write_whole(path, buffer.getvalue())


def load_model(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> tuple[DeepPotential, dict[str, Any]]:
    """Read a model file.

    Args:
        path: The file.
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
        raise ModelError(
            f"{path}: is no model of dpbench. Give the m.pth that `dpbench train` "
            "wrote."
        )
    if payload.get("format") not in range(1, FORMAT + 1):
        raise ModelError(
            f"{path}: has model format {payload.get('format')}; this dpbench reads up "
            f"to {FORMAT}. Update dpbench."
        )
    try:
        model = model_from_payload(payload)
        provenance = json.loads(payload["provenance"])
        # torch does not verify the checksums of its archive.
        if payload["seal"] != _seal(model, payload["provenance"]):
            raise ValueError("its content does not fit its checksum")
    except (KeyError, ValueError, TypeError, AttributeError, DpbenchError) as error:
        raise ModelError(
            f"{path}: is damaged: {_one_line(error)}. Get a new copy of the file."
        ) from error
    if dtype is not None or torch.device(device).type != "cpu":
        model = model.to(device, dtype)
    return model, provenance


def sealed_payload(model: DeepPotential, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return all that a model file holds; ``load_model`` ignores further keys."""
    text = _json(provenance)
    sealed = {"provenance": text, "seal": _seal(model, text)}
    return model_payload(model) | sealed


def model_payload(model: DeepPotential) -> dict[str, Any]:
    """Return a model as the plain values and tensors that its file holds."""
    statistics = {
        name: torch.from_numpy(np.array(array))
        for name, array in model.statistics.arrays().items()
    }
    return {
        "magic": MAGIC,
        "format": _format_of(model.config),
        "config": _json(config_mapping(model.config)),
        "parameters": model.parameters.flat.detach().cpu().clone(),
        "statistics": statistics,
    }


def model_from_payload(payload: dict[str, Any]) -> DeepPotential:
    """Put a model together from what ``model_payload`` returned."""
    config = config_from_mapping(json.loads(payload["config"]), where="config")
    flat = payload["parameters"]
    if flat.dtype != DTYPES[config.precision]:
        raise ValueError(f"parameters are {flat.dtype}, not {config.precision}")
    statistics = {
        name: tensor.to(torch.float64).numpy()
        for name, tensor in payload["statistics"].items()
    }
    return DeepPotential(
        config,
        FlatParameters(flat, parameter_shapes(config)),
        ModelStatistics(**statistics),
    )


def model_digest(model: DeepPotential) -> str:
    """Name a model by its content: configuration, statistics and parameters.

    Returns:
        ``sha256:`` and 64 hexadecimal digits; the same on every machine.
    """
    digest = hashlib.sha256(canonical_json(config_mapping(model.config)))
    for array in model.statistics.arrays().values():
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    flat = model.parameters.flat.detach().cpu().numpy()
    digest.update(flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes())
    return f"sha256:{digest.hexdigest()}"


def read_payload(path: Path) -> dict[str, Any]:
    """Read a file of torch without running code from it.

    Raises:
        ModelError: If it is missing, damaged, or holds more than plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about files that are not its
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or _one_line(error)
        raise ModelError(f"{path}: cannot be read ({reason}).") from error
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelError(
            f"{path}: is damaged or no file of torch. Give the m.pth that "
            "`dpbench train` wrote."
        ) from error
    if not isinstance(payload, dict):
        raise ModelError(f"{path}: holds {type(payload).__name__}; expected a model.")
    return payload


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one.

    Raises:
        ModelError: If the folder or the disk refuses.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a model is as public as its folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written ({error.strerror}).") from error


def _format_of(config: ModelConfig) -> int:
    """Return the oldest format that can hold a model."""
    plain = config_mapping(config)
    newer = {"numb_fparam", "numb_aparam"} & plain["fitting"].keys()
    is_old = "type" not in plain["descriptor"] and "pair_table" not in plain
    return 1 if is_old and not newer else FORMAT


def _seal(model: DeepPotential, provenance: str) -> str:
    return hashlib.sha256(f"{model_digest(model)} {provenance}".encode()).hexdigest()


def _json(value: Any) -> str:
    return canonical_json(value).decode()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
