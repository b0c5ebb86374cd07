"""What gives the forces of molecular dynamics: a protocol, and the exact model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.elements import SYMBOLS
from dpbench.md.skin import Geometry, SkinList
from dpbench.models.potential import DeepPotential
from dpbench.shapes import Float64

Coord = Float64[Tensor, "row 3"]
"""Atoms of all replicas behind each other, Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forces:
    """One evaluation of all replicas; float64 whatever the model's precision."""

    energy: Float64[Tensor, " replica"]
    """eV."""
    force: Float64[Tensor, "row 3"]
    """eV/Å."""
    virial: Float64[Tensor, "replica 3 3"]
    """eV, -dE/dstrain."""
    extended: int = 0
    """Edges shorter than the table of a compressed model knows."""


class ForceField(Protocol):
    """A potential with a neighbour list that reaches ``skin`` beyond ``rcut``."""

    @property
    def rcut(self) -> float:
        """Cutoff radius, Å."""

    @property
    def skin(self) -> float:
        """Extra radius of the list, Å."""

    def build(
        self,
        coord: Float64[Tensor, "row 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: NDArray[np.bool_],
    ) -> None:
        """Make the neighbour list anew."""

    def evaluate(
        self, coord: Float64[Tensor, "row 3"], box: Float64[Tensor, "replica 3 3"]
    ) -> Forces:
        """Evaluate with the list as it is."""


ForceMaker = Callable[[int], ForceField]
"""Makes a force field for so many replicas."""


@final
class ExactForces:
    """A ``DeepPotential`` with its exact embedding; one replica after the other."""

    def __init__(
        self, model: DeepPotential, z: NDArray[np.integer], *, skin: float
    ) -> None:
        """Take a model, and the atomic numbers (atom) that all replicas share."""
        self.model, self.z = model, np.asarray(z)
        self.skin = skin
        self._lists: list[SkinList] = []
        self._pbc: NDArray[np.bool_] = np.zeros(3, dtype=np.bool_)

    @property
    def rcut(self) -> float:
        """Cutoff radius, Å."""
        return self.model.rcut

    def build(
        self,
        coord: Float64[Tensor, "row 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: NDArray[np.bool_],
    ) -> None:
        """Make the neighbour lists anew."""
        self._pbc = pbc
        self._lists = [
            SkinList(self.model.type_map, self.model.rcut, self.skin) for _ in box
        ]

    def evaluate(
        self, coord: Float64[Tensor, "row 3"], box: Float64[Tensor, "replica 3 3"]
    ) -> Forces:
        """Evaluate each replica."""
        places = coord.detach().cpu().numpy().reshape(len(box), len(self.z), 3)
        cells = box.detach().cpu().numpy()
        found = []
        for index, neighbours in enumerate(self._lists):
            geometry = Geometry(
                z=self.z, coord=places[index], box=cells[index], pbc=self._pbc
            )
            batch = neighbours.batch(geometry, self.model.dtype)
            if self.model.device.type != "cpu":
                batch = batch.to(self.model.device, self.model.dtype)
            found.append(self.model.energy_and_forces(batch))
        # Tensors of inference mode cannot be written to; copies can.
        return Forces(
            energy=torch.cat([f.energy for f in found]).clone(),
            force=torch.cat([f.force for f in found]).clone(),
            virial=torch.cat([f.virial for f in found]).clone(),
        )


def name_atom(row: int, z: NDArray[np.integer]) -> str:
    """Word which atom (and replica) a row of ``coord`` is."""
    replica, atom = divmod(row, len(z))
    return f"atom {atom} ({SYMBOLS[int(z[atom])]}) of replica {replica}"
