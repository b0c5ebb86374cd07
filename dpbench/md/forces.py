"""What gives the forces of molecular dynamics: a protocol, and the models behind it."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.kernels.inference import make_evaluator
from dpbench.md.skin import Geometry, SkinList
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential
from dpbench.models.geometry import atom_types
from dpbench.models.sel import SelOverflow, within_sel
from dpbench.shapes import Float64


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


@runtime_checkable
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


@final
class BatchForces:
    """Any potential, one replica after the other, by batches of edges."""

    def __init__(
        self,
        model: Potential,
        z: NDArray[np.integer],
        *,
        skin: float,
        sel_overflow: SelOverflow = "error",
    ) -> None:
        """Take a model, and the atomic numbers (atom) that all replicas share."""
        self.model, self.z = model, np.asarray(z)
        self.skin = skin
        self._overflow: SelOverflow = sel_overflow
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
        # The search itself: later coordinates must find this list.
        for neighbours, geometry in zip(
            self._lists, self._geometries(coord, box), strict=True
        ):
            neighbours.batch(geometry, self.model.dtype)

    def evaluate(
        self, coord: Float64[Tensor, "row 3"], box: Float64[Tensor, "replica 3 3"]
    ) -> Forces:
        """Evaluate each replica.

        Raises:
            ModelError: If the model does not know an element, or an atom has more
                neighbours than slots.
        """
        found = []
        geometries = self._geometries(coord, box)
        for index, geometry in enumerate(geometries):
            batch = self._lists[index].batch(geometry, self.model.dtype)
            if self.model.device.type != "cpu":
                batch = batch.to(self.model.device, self.model.dtype)
            batch = within_sel(
                batch,
                self.model.config,
                overflow=self._overflow,
                names=(f"replica {index}",),
            )
            found.append(self.model.energy_and_forces(batch))
        # Tensors of inference mode cannot be written to; copies can.
        return Forces(
            energy=torch.cat([f.energy for f in found]).clone(),
            force=torch.cat([f.force for f in found]).clone(),
            virial=torch.cat([f.virial for f in found]).clone(),
            extended=sum(f.extended for f in found),
        )

    def _geometries(self, coord: Tensor, box: Tensor) -> list[Geometry]:
        places = coord.detach().cpu().numpy().reshape(len(box), len(self.z), 3)
        cells = box.detach().cpu().numpy()
        return [
            Geometry(z=self.z, coord=place, box=cell, pbc=self._pbc)
            for place, cell in zip(places, cells, strict=True)
        ]


@final
class TabulatedForces:
    """The compiled kernels on all replicas at once; embedding read from tables."""

    def __init__(
        self,
        model: CompressedPotential,
        z: NDArray[np.integer],
        *,
        nreplicas: int,
        skin: float,
    ) -> None:
        """Take a compressed model on the CPU, and the atomic numbers (atom)."""
        self.model, self.z, self.skin = model, np.asarray(z), skin
        atype = torch.from_numpy(atom_types(self.z, model.type_map))
        self._evaluator = make_evaluator(model, atype, nreplicas=nreplicas, skin=skin)
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
        """Make the neighbour list anew."""
        self._pbc = pbc
        self._evaluator.build(coord, box, torch.from_numpy(pbc))

    def evaluate(
        self, coord: Float64[Tensor, "row 3"], box: Float64[Tensor, "replica 3 3"]
    ) -> Forces:
        """Evaluate all replicas.

        Raises:
            ModelError: If an atom has more neighbours than slots.
        """
        found = self._evaluator.evaluate(coord, box)
        if found.crowded:
            # The batches know which atom it is, and word it.
            named = BatchForces(self.model, self.z, skin=0.0)
            named.build(coord, box, self._pbc)
            named.evaluate(coord, box)
        return Forces(
            energy=found.energy,
            force=found.force,
            virial=found.virial,
            extended=found.extended,
        )
