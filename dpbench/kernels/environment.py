"""The environment matrix of Deep Potential: rows of edges, and their adjoint.

A row is R = ([f, h x, h y, h z] - davg) / dstd with the radial functions of
``kernels.switch`` and the mean and deviation of the centre's type. The edge vectors
are no parameters of the model, so rows and radial functions are constants of a
training step; only the adjoint, linear in the rows' gradient, is differentiated.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.switch import radial_terms
from dpbench.shapes import Float, Int64


class Environment(NamedTuple):
    """Environment rows of all edges, and what their adjoint needs."""

    rows: Float[Tensor, "edge 4"]
    """Normalised rows R, no unit."""
    edge_vec: Float[Tensor, "edge 3"]
    """d, Å."""
    h: Float[Tensor, "edge 1"]
    """w / (r + p)^2, 1/Å^2."""
    df: Float[Tensor, " edge"]
    """f'(r) / r, 1/Å^3."""
    dh: Float[Tensor, " edge"]
    """h'(r) / r, 1/Å^4."""
    inverse_std: Float[Tensor, "edge 4"]
    """1 / dstd of the centre's type."""

    def pull_back(self, grad: Float[Tensor, "edge 4"]) -> Float[Tensor, "edge 3"]:
        """Turn dE/dR into dE/dd = J^T dE/dR, eV/Å.

        J^T g = f'/r g_0 d + h g_xyz + h'/r (g_xyz . d) d, with g divided by dstd.
        """
        scaled = grad * self.inverse_std
        angular = scaled[:, 1:]
        along = (angular * self.edge_vec).sum(dim=1)
        radial = scaled[:, 0] * self.df + along * self.dh
        return torch.addcmul(angular * self.h, radial.unsqueeze(1), self.edge_vec)


def environment(
    edge_vec: Float[Tensor, "edge 3"],
    centre_type: Int64[Tensor, " edge"],
    normal: tuple[Float[Tensor, "type 4"], Float[Tensor, "type 4"]],
    *,
    rcut: float,
    rcut_smth: float,
    protection: float,
) -> Environment:
    """Evaluate the environment rows of all edges.

    Args:
        edge_vec: Neighbour vectors d, Å.
        centre_type: Type of each edge's centre.
        normal: davg and dstd per centre type.
        rcut: Cutoff radius, Å.
        rcut_smth: Where the switch starts, Å.
        protection: Added to the distance in denominators, Å.

    Returns:
        Rows and adjoint. Beyond ``rcut`` a row is -davg/dstd, that of an empty slot.

    Source:
        DeePMD-kit documentation, "Descriptor se_e2_a".
    """
    davg, dstd = normal
    r = torch.linalg.vector_norm(edge_vec, dim=1)
    f, h, df, dh = radial_terms(
        r, rcut_smth=rcut_smth, rcut=rcut, protection=protection
    )
    column = h.unsqueeze(1)
    inverse_std = (1 / dstd)[centre_type]
    raw = torch.cat([f.unsqueeze(1), column * edge_vec], dim=1)
    rows = (raw - davg[centre_type]) * inverse_std
    return Environment(rows, edge_vec, column, df / r, dh / r, inverse_std)
