"""What dpbench tells of a model in DeePMD-kit's file, beside what DeePMD-kit knows.

Provenance, seeds and names of frame facts stand in a top-level key of their own, which
DeePMD-kit ignores. They hold as long as the model is what it was: a digest of the
nested dict says whether it is.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dpbench.config import canonical_json
from dpbench.models.config import config_from_mapping, config_mapping
from dpbench.models.potential import DeepPotential

KEY = "dpbench"
"""Top-level key of the file."""

FORMAT = 1
"""Format of what stands there."""

_SCALES = ("fparam", "aparam")


def sealed(
    data: dict[str, Any], model: DeepPotential, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``data`` with what dpbench tells of the model."""
    scales = {
        name: scale.tolist()
        for name in _SCALES
        if (scale := getattr(model.statistics, name)) is not None
    }
    told = {
        "config": config_mapping(model.config),
        "provenance": dict(provenance),
        "scales": scales,
    }
    seal = {
        "format": FORMAT,
        "model": digest_of(data["model"]),
        "told": canonical_json(told).decode(),
    }
    return data | {KEY: seal}


def unsealed(
    data: Mapping[str, Any], model: DeepPotential
) -> tuple[DeepPotential, dict[str, Any]] | None:
    """Return the model as dpbench had it, and its provenance.

    Returns:
        None where dpbench did not write the file, or the model was changed since.

    Raises:
        ConfigError: If what is told does not fit the model.
        ValueError: If it cannot be read.
    """
    seal = data.get(KEY)
    if not isinstance(seal, Mapping) or seal.get("format") != FORMAT:
        return None
    if seal["model"] != digest_of(data["model"]):
        return None
    told = json.loads(seal["told"])
    config = config_from_mapping(told["config"], where=KEY)
    scales = {name: np.array(scale) for name, scale in told["scales"].items()}
    statistics = replace(model.statistics, **scales)
    return DeepPotential(config, model.parameters, statistics), told["provenance"]


def is_changed(data: Mapping[str, Any]) -> bool:
    """Say whether dpbench wrote the file, and something changed the model since."""
    seal = data.get(KEY)
    return isinstance(seal, Mapping) and seal.get("model") != digest_of(data["model"])


def digest_of(node: Any) -> str:
    """Name a nested dict with arrays by its content."""
    digest = hashlib.sha256()
    _feed(node, digest)
    return f"sha256:{digest.hexdigest()}"


def _feed(node: Any, digest: Any) -> None:
    if isinstance(node, Mapping):
        digest.update(b"{")
        for key in sorted(node):
            digest.update(json.dumps(key).encode())
            _feed(node[key], digest)
        digest.update(b"}")
    elif isinstance(node, list | tuple):
        digest.update(b"[")
        for value in node:
            _feed(value, digest)
        digest.update(b"]")
    elif isinstance(node, np.ndarray):
        little = node.astype(node.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(np.ascontiguousarray(little).tobytes())
    else:
        digest.update(json.dumps(node).encode() + b",")
