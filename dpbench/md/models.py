"""From a model file to what gives the forces of a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.md.forces import BatchForces, ForceField, TabulatedForces
from dpbench.md.moving import fastest, way_of
from dpbench.md.settings import MDConfig
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential, load_potential, potential_digest
from dpbench.models.parameters import DTYPES
from dpbench.models.sel import SelOverflow, trained_overflow


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
    sel_overflow: SelOverflow = "error"
    """What is done with more neighbours than ``sel``."""


def load_forces(config: MDConfig, z: NDArray[np.integer]) -> LoadedForces:
    """Load a model and make the fastest force field that serves.

    Args:
        config: Model file, precision, device, and what is wanted of the model.
        z: (atom), atomic numbers of one replica.

    Raises:
        ModelError: If the file is no model, or does not know an element.
    """
    dtype = None if config.precision is None else DTYPES[config.precision]
    model, provenance = load_potential(
        Path(config.model), device=config.device, dtype=dtype
    )
    digest = potential_digest(model)
    precision = model.config.precision
    if config.exact and isinstance(model, CompressedPotential):
        raise ModelError(
            f"{config.model}: is compressed, so there is no exact embedding; expected "
            "the m.pth it was made of. Leave --exact out, or give that."
        )
    potential = model if config.exact else fastest(model)
    overflow = config.sel_overflow or trained_overflow(provenance)
    field = force_field(
        potential,
        z,
        nreplicas=config.replicas,
        skin=config.skin,
        sel_overflow=overflow,
    )
    return LoadedForces(
        field=field,
        digest=digest,
        kind=way_of(potential),
        precision=precision,
        sel_overflow=overflow,
    )


def force_field(
    potential: Potential,
    z: NDArray[np.integer],
    *,
    nreplicas: int,
    skin: float,
    sel_overflow: SelOverflow = "error",
) -> ForceField:
    """Make the fastest force field of a model that lies where it shall.

    Args:
        potential: The model, plain or compressed.
        z: (atom), atomic numbers of one replica.
        nreplicas: Copies that run side by side.
        skin: Extra radius of the neighbour list, Å.
        sel_overflow: What to do with more neighbours than ``sel``.

    Raises:
        ModelError: If the model does not know an element.
    """
    if isinstance(potential, CompressedPotential) and sel_overflow == "error":
        return TabulatedForces(potential, z, nreplicas=nreplicas, skin=skin)
    return BatchForces(potential, z, skin=skin, sel_overflow=sel_overflow)
