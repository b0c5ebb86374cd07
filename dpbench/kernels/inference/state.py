"""What the inference kernels need of a model, and what they answer."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import Tables
from dpbench.shapes import Float64


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
