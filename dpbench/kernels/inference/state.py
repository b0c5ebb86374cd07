"""What the inference kernels need of a model, and what they answer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import Tables
from dpbench.shapes import Bool, Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class PotentialState:
    """A Deep Potential ``se_e2_a`` with tabulated embedding, ready for inference."""

    dtype: torch.dtype
    """Precision of tables and nets."""
    rcut: float
    """Cutoff radius, Å."""
    rcut_smth: float
    """Where the switch starts, Å."""
    protection: float
    """Added to distances in denominators, Å."""
    sel: tuple[int, ...]
    """Neighbour slots per type: divisor, and weight of the padding term."""
    axis: int
    """Columns of the moments that the descriptor contracts with all others."""
    davg: NDArray[np.float64]
    """(type, 4), mean of the environment rows around a centre type."""
    dstd: NDArray[np.float64]
    """(type, 4), their standard deviation."""
    net: NDArray[np.int64]
    """(centre type, neighbour type), table of each pair."""
    is_seen: NDArray[np.bool_]
    """(centre type, neighbour type), false for excluded pairs."""
    tables: Tables
    """The embedding nets."""
    fitting: tuple[tuple[Layer, ...], ...]
    """Layers of the fitting net of each centre type."""
    activation: str
    """Name of the fitting nets' activation function."""
    energy_bias: NDArray[np.float64]
    """(type), eV, added to each atom's energy."""

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.sel)

    @property
    def device(self) -> torch.device:
        """Where tables and nets lie."""
        return self.tables.coefficients.device

    @property
    def empty_rows(self) -> NDArray[np.float64]:
        """R0 = -davg / dstd, the row of an empty slot, (type, 4)."""
        rows: NDArray[np.float64] = -self.davg / self.dstd
        return rows


class HasState(Protocol):
    """What can be evaluated: a model with tabulated embedding."""

    @property
    def state(self) -> PotentialState:
        """The model as the kernels take it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forces:
    """Energy, forces and virial of replicas of one system; float64 always."""

    energy: Float64[Tensor, " replica"]
    """eV."""
    force: Float64[Tensor, "atom 3"]
    """-dE/dcoord, eV/Å; atoms of all replicas, one replica after the other."""
    virial: Float64[Tensor, "replica 3 3"]
    """-dE/dstrain, eV."""
    atom_energy: Float64[Tensor, " atom"]
    """Share of each atom in the energy, eV."""
    extended: int
    """Pairs closer than the table reaches: its straight continuation served them."""
    crowded: int
    """Atoms that have more neighbours of a type than ``sel``."""


class AbstractEvaluator(ABC):
    """Energies and forces of replicas of one system that move.

    After ``build`` the neighbour list holds every pair closer than the cutoff for as
    long as ``needs_build`` says no.
    """

    builds: int
    """Neighbour lists made so far."""

    @abstractmethod
    def build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: Bool[Tensor, "3"],
    ) -> None:
        """Make a new neighbour list.

        Args:
            coord: Å, atoms of all replicas, one replica after the other.
            box: Å, rows are cell vectors; rows of open directions do not matter.
            pbc: Periodic along each cell vector, for all replicas.

        Raises:
            ModelError: If a position is not finite; names the atom.
            ValueError: If the cell is degenerate.
        """

    @abstractmethod
    def needs_build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> bool:
        """Say whether a pair within the cutoff may be missing from the list.

        Args:
            coord: Å, the atoms now; not wrapped since ``build``.
            box: Å, the cells now; None if they are those of ``build``.
        """

    @abstractmethod
    def evaluate(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> Forces:
        """Evaluate all replicas with the present list.

        Args:
            coord: Å, as in ``build``, and not wrapped since.
            box: Å, as in ``build``, or a little changed.

        Raises:
            ModelError: If a position is not finite, two atoms coincide, or there is no
                list yet.
        """


class AbstractBatchEvaluator(ABC):
    """Energies and forces of batches whose edges are known."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> Forces:
        """Evaluate the frames of a batch; ``replica`` means frame here."""
