"""The file of a compressed model: tables, packed nets, statistics, measured error.

It has a magic word and a format number of its own. Loading never runs code from the
file (``weights_only``), and the file is written whole or not at all.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpbench.config import canonical_json
from dpbench.errors import DpbenchError, ModelError
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import Tables
from dpbench.models.checkpoint import write_whole
from dpbench.models.compressed import CompressedPotential
from dpbench.models.config import ModelConfig, config_from_mapping, config_mapping
from dpbench.models.parameters import DTYPES
from dpbench.models.statistics import ModelStatistics

MAGIC = "dpbench-compressed"
"""First entry of every file of a compressed model."""

FORMAT = 1
"""Format written; all older ones are read."""

CHANNEL_BLOCK = 16
"""Channels of a table in memory come in whole blocks; the file has no padding."""

_STATISTICS = ("davg", "dstd", "energy_bias")


def save_compressed(
    path: Path,
    model: CompressedPotential,
    provenance: Mapping[str, Any],
    compression: Mapping[str, Any],
) -> None:
    """Write a compressed model.

    Args:
        path: File to write or replace.
        model: The model.
        provenance: Of the model that it was made of, JSON values.
        compression: How it was made and what error was measured, JSON values.

    Raises:
        ModelError: If the file cannot be written.
    """
    tensors = dict(_tensors(model))
    told = canonical_json(dict(compression)).decode()
    origin = canonical_json(dict(provenance)).decode()
    payload = {
        "magic": MAGIC,
        "format": FORMAT,
        "config": canonical_json(config_mapping(model.config)).decode(),
        "tensors": tensors,
        "compression": told,
        "provenance": origin,
        "seal": _seal(model, told, origin),
    }
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    write_whole(path, buffer.getvalue())


def compressed_from_payload(
    payload: Mapping[str, Any], *, where: str
) -> tuple[CompressedPotential, dict[str, Any]]:
    """Put a compressed model together from the content of its file.

    Args:
        payload: What ``save_compressed`` wrote.
        where: The file, for messages.

    Returns:
        The model, and the provenance of the one it was made of with a further key
        ``compression``.

    Raises:
        ModelError: If the content is damaged or of a newer format.
    """
    if payload.get("format") not in range(1, FORMAT + 1):
        raise ModelError(
            f"{where}: has compressed model format {payload.get('format')}; this "
            f"dpbench reads up to {FORMAT}. Update dpbench."
        )
    try:
        config = config_from_mapping(json.loads(payload["config"]), where="config")
        model = _assemble(config, payload["tensors"])
        told, origin = payload["compression"], payload["provenance"]
        # torch does not verify the checksums of its archive.
        if payload["seal"] != _seal(model, told, origin):
            raise ValueError("its content does not fit its checksum")
        return model, json.loads(origin) | {"compression": json.loads(told)}
    except (
        KeyError,
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        DpbenchError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{where}: is damaged: {reason}. Get a new copy of the file."
        ) from error


def compressed_digest(model: CompressedPotential) -> str:
    """Name a compressed model by its content.

    Returns:
        ``sha256:`` and 64 hexadecimal digits; the same on every machine.
    """
    digest = hashlib.sha256(MAGIC.encode())
    digest.update(canonical_json(config_mapping(model.config)))
    for name, tensor in _tensors(model):
        digest.update(name.encode())
        array = tensor.numpy()
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little).tobytes())
    return f"sha256:{digest.hexdigest()}"


def _tensors(model: CompressedPotential) -> Iterator[tuple[str, Tensor]]:
    """Name all tensors of a model, in the order of the digest."""
    tables = model.state.tables
    yield "tables.lower", _plain(tables.lower)
    yield "tables.step", _plain(tables.step)
    yield "tables.first", _plain(tables.first)
    yield "tables.coefficients", _plain(tables.coefficients[:, :, : tables.width])
    for t, layers in enumerate(model.state.fitting):
        for n, layer in enumerate(layers):
            for name, tensor in zip(("w", "b", "idt"), layer, strict=True):
                if tensor is not None:
                    yield f"fitting.{t}.{n}.{name}", _plain(tensor)
    for name in _STATISTICS:
        array = np.array(getattr(model.statistics, name), dtype=np.float64)
        yield f"statistics.{name}", torch.from_numpy(array)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _assemble(
    config: ModelConfig, tensors: Mapping[str, Tensor]
) -> CompressedPotential:
    kept = tensors["tables.coefficients"]
    if kept.dtype != DTYPES[config.precision]:
        raise ValueError(f"tables are {kept.dtype}, not {config.precision}")
    width = kept.shape[2]
    padded = -(-width // CHANNEL_BLOCK) * CHANNEL_BLOCK
    coefficients = kept.new_zeros(len(kept), 6, padded)
    coefficients[:, :, :width] = kept
    tables = Tables(
        lower=tensors["tables.lower"],
        step=tensors["tables.step"],
        first=tensors["tables.first"],
        coefficients=coefficients,
        width=width,
    )
    if len(kept) != int(tables.first[-1]) + 2 * len(tables.lower):
        raise ValueError(f"tables have {len(kept)} pieces, not what their grid says")
    nlayers = len(config.fitting.neuron) + 1
    fitting = tuple(
        tuple(
            Layer(
                tensors[f"fitting.{t}.{n}.w"],
                tensors[f"fitting.{t}.{n}.b"],
                tensors.get(f"fitting.{t}.{n}.idt"),
            )
            for n in range(nlayers)
        )
        for t in range(config.ntypes)
    )
    statistics = {
        name: tensors[f"statistics.{name}"].to(torch.float64).numpy()
        for name in _STATISTICS
    }
    return CompressedPotential(config, tables, fitting, ModelStatistics(**statistics))


def _seal(model: CompressedPotential, *told: str) -> str:
    return hashlib.sha256(
        " ".join([compressed_digest(model), *told]).encode()
    ).hexdigest()
