"""A tabulated pair potential (such as ZBL), mixed in where atoms come close.

E_i = (1 - c_i) E_i(net) + c_i 1/2 sum_j V(r_ij), with c_i = 1 - u^3 (6 u^2 - 15 u + 10)
of u = (sigma_i - sw_rmin) / (sw_rmax - sw_rmin) clipped to [0, 1], and the soft minimum
sigma_i = sum_j r_ij exp(-r_ij / alpha) / sum_j exp(-r_ij / alpha).

V is a cubic spline through the table, flat at both ends; zero from the end of the table
and from the cutoff on, and a straight line below its first distance.

Source:
    DeePMD-kit, ``deepmd/utils/pair_tab.py`` and
    ``deepmd/dpmodel/atomic_model/linear_atomic_model.py``.
"""

import math
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import ConfigError
from dpbench.kernels.batch import Batch
from dpbench.models.config import PairTableConfig
from dpbench.shapes import Float64


class Mixture(NamedTuple):
    """The pair potential of a batch, and where it counts; all in float64."""

    share: Float64[Tensor, " atom"]
    """c, the weight of the table."""
    energy: Float64[Tensor, " atom"]
    """Half the sum of V over the neighbours, eV."""
    energy_slope: Float64[Tensor, " edge"]
    """Derivative of the centre's energy by the edge's length, eV/Å."""
    share_slope: Float64[Tensor, " edge"]
    """Derivative of the centre's share by the edge's length, 1/Å."""
    direction: Float64[Tensor, "edge 3"]
    """d / r."""


@final
class PairTable:
    """A pair potential per pair of types, on the model's device."""

    def __init__(
        self,
        config: PairTableConfig,
        table: NDArray[np.float64],
        *,
        rcut: float,
        device: torch.device,
    ) -> None:
        """Prepare the spline.

        Args:
            config: Where the table counts.
            table: (row, 1 + pair), distances (Å) at equal steps and energies (eV) of
                the pairs of types 0-0, 0-1 ... 1-1 ...
            rcut: Cutoff radius of the model, Å.
            device: Where the model lies.
        """
        self.config, self.rcut = config, rcut
        self.start, self.step = float(table[0, 0]), float(table[1, 0] - table[0, 0])
        self.ntypes = types_of(table)
        pairs = np.zeros((self.ntypes, self.ntypes), dtype=np.int64)
        upper = np.triu_indices(self.ntypes)
        pairs[upper] = np.arange(len(upper[0]))
        pairs = np.maximum(pairs, pairs.T)
        coefficients = spline(table[:, 1:], self.step)
        self._pairs = torch.as_tensor(pairs).to(device)
        self._coefficients = torch.as_tensor(coefficients).to(device)

    def mix(self, batch: Batch) -> Mixture:
        """Evaluate potential and weights of a batch."""
        vector = batch.edge_vec.double()
        r = torch.linalg.vector_norm(vector, dim=1)
        energy, slope = self._potential(batch, r)
        natoms = len(batch.atype)
        total = torch.zeros(natoms, dtype=r.dtype, device=r.device)
        share, share_slope = self._share(batch, r)
        return Mixture(
            share=share,
            energy=total.index_add(0, batch.edge_i, energy, alpha=0.5),
            energy_slope=slope / 2,
            share_slope=share_slope,
            direction=vector / r.unsqueeze(1),
        )

    def _potential(self, batch: Batch, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return V and dV/dr of each edge."""
        count = self._coefficients.shape[1]
        place = (r - self.start) / self.step
        index = place.floor().clamp(0, count - 1).long()
        x = place - index
        inside = x.clamp(min=0)
        pair = self._pairs[batch.atype[batch.edge_i], batch.atype[batch.edge_j]]
        a, b, c, d = self._coefficients[pair, index].unbind(dim=1)
        slope = (3 * a * inside + 2 * b) * inside + c
        # Below the table x is negative: a straight line from its first point.
        value = ((a * inside + b) * inside + c) * inside + d + (x - inside) * slope
        is_beyond = (place >= count) | (r >= self.rcut)
        zero = torch.zeros_like(r)
        return (
            torch.where(is_beyond, zero, value),
            torch.where(is_beyond, zero, slope / self.step),
        )

    def _share(self, batch: Batch, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return c of each atom, and its derivative by each edge's length."""
        alpha, low, high = (
            self.config.smin_alpha,
            self.config.sw_rmin,
            self.config.sw_rmax,
        )
        natoms, centre = len(batch.atype), batch.edge_i.long()
        # Relative to the nearest neighbour: exp(-r / alpha) alone underflows.
        nearest = torch.full((natoms,), torch.inf, dtype=r.dtype, device=r.device)
        nearest = nearest.scatter_reduce(0, centre, r, "amin")
        weight = torch.exp((nearest[centre] - r) / alpha)
        zero = torch.zeros_like(nearest)
        norm = zero.index_add(0, centre, weight)
        moment = zero.index_add(0, centre, weight * r)
        # An atom without neighbours is far from all of them.
        sigma = torch.where(norm > 0, moment / norm.clamp(min=1), torch.inf)
        u = ((sigma - low) / (high - low)).clamp(0, 1)
        share = u**3 * (-6 * u**2 + 15 * u - 10) + 1
        slope = -30 * (u * (1 - u)) ** 2 / (high - low)
        by_length = weight / norm[centre] * (1 - (r - sigma[centre]) / alpha)
        return share, slope[centre] * by_length


def read_table(path: Path, *, ntypes: int, rcut: float) -> NDArray[np.float64]:
    """Read a table of DeePMD-kit (``use_srtab``) and fill it with zeros up to rcut.

    Args:
        path: Text: a distance (Å) and the energies (eV) of all pairs of types a line.
        ntypes: Types of the model.
        rcut: Cutoff radius, Å.

    Raises:
        ConfigError: If the file is missing, no such table, or not zero at its end
            although it ends before the cutoff.
    """
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no table of numbers: {error}.") from error
    if len(table) < 2 or not np.isfinite(table).all():
        raise ConfigError(f"{path}: expected at least two lines of finite numbers.")
    if table.shape[1] != 1 + ntypes * (ntypes + 1) // 2:
        raise ConfigError(
            f"{path}: has {table.shape[1]} columns; expected a distance and "
            f"{ntypes * (ntypes + 1) // 2} energies, one per pair of {ntypes} types."
        )
    step = table[1, 0] - table[0, 0]
    if step <= 0 or np.abs(np.diff(table[:, 0]) - step).max() > 1e-6 * step:
        raise ConfigError(f"{path}: distances are not rising in equal steps.")
    missing = int(np.ceil((rcut - table[0, 0]) / step - 1e-9)) - (len(table) - 1)
    if missing <= 0:
        return table
    if table[-1, 1:].any():
        raise ConfigError(
            f"{path}: ends at {table[-1, 0]:g} Å with energies that are not zero, "
            f"before the cutoff of {rcut:g} Å. Extend the table."
        )
    tail = np.zeros((missing, table.shape[1]))
    tail[:, 0] = table[-1, 0] + step * np.arange(1, missing + 1)
    return np.concatenate([table, tail])


def types_of(table: NDArray[np.float64]) -> int:
    """Return the number of types that a table has pairs of."""
    return round((math.sqrt(8 * (table.shape[1] - 1) + 1) - 1) / 2)


def spline(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Fit a cubic spline with zero slope at both ends.

    Args:
        values: (row, pair), at equal steps.
        step: Å.

    Returns:
        (pair, interval, 4), coefficients of x^3, x^2, x and 1 with x in [0, 1].
    """
    slope = np.zeros_like(values)  # times the step
    inner = 3 * (values[2:] - values[:-2])
    # Thomas' algorithm for s[i-1] + 4 s[i] + s[i+1] = inner[i], s = 0 at the ends.
    upper = np.zeros(len(inner))
    for i in range(len(inner)):
        below = upper[i - 1] if i else 0.0
        upper[i] = 1 / (4 - below)
        before = inner[i - 1] if i else 0.0
        inner[i] = (inner[i] - before) * upper[i]
    for i in range(len(inner) - 1, -1, -1):
        slope[i + 1] = inner[i] - upper[i] * slope[i + 2]
    y, y1, s, s1 = values[:-1], values[1:], slope[:-1], slope[1:]
    parts = [2 * (y - y1) + s + s1, 3 * (y1 - y) - 2 * s - s1, s, y]
    return np.ascontiguousarray(np.stack(parts, axis=2).transpose(1, 0, 2))
