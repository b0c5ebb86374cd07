"""From a model file to what gives the forces of a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.md.forces import BatchForces, ForceField, TabulatedForces
from dpbench.md.settings import MDConfig
from dpbench.models.checkpoint import load_model, model_digest
from dpbench.models.compressed import CompressedPotential, compress
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedForces:
    """A force field, and what the record says of it."""

    field: ForceField
    digest: str
    """Names the model by its content."""
    kind: str
    """How the model is evaluated."""
    precision: str
    """Of the nets."""


def load_forces(config: MDConfig, z: NDArray[np.integer]) -> LoadedForces:
    """Load a model and make the fastest force field that serves.

    Args:
        config: Model file, precision, device, and what is wanted of the model.
        z: (atom), atomic numbers of one replica.

    Raises:
        ModelError: If the file is no model, or does not know an element.
    """
    dtype = None if config.precision is None else DTYPES[config.precision]
    model, _ = load_model(Path(config.model), device=config.device, dtype=dtype)
    digest = model_digest(model)
    precision = model.config.precision
    potential, kind = _prepared(model, config)
    if isinstance(potential, CompressedPotential) and config.sel_overflow == "error":
        field: ForceField = TabulatedForces(
            potential, z, nreplicas=config.replicas, skin=config.skin
        )
        kind = "tabulated embedding, compiled"
    else:
        field = BatchForces(
            potential, z, skin=config.skin, sel_overflow=config.sel_overflow
        )
    return LoadedForces(field=field, digest=digest, kind=kind, precision=precision)


def _prepared(
    model: DeepPotential, config: MDConfig
) -> tuple[DeepPotential | CompressedPotential, str]:
    """Tabulate the model, unless it cannot be or is not wanted."""
    if config.exact:
        return model, "exact embedding"
    if torch.device(config.device).type != "cpu":
        return model, "exact embedding (no tables on this device)"
    try:
        return compress(model), "tabulated embedding, in batches"
    except ModelError as error:
        return model, f"exact embedding ({error})"
