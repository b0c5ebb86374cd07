"""Which edges belong to which atom."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpbench.shapes import Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeRange:
    """A slice of edges grouped by the atoms of a slice."""

    starts: Int64[Tensor, " atom_plus_one"]
    """The edges of atom a are ``starts[a] : starts[a + 1]``, from 0."""
    centres: Int64[Tensor, " edge"]
    """Atom of each edge, from 0."""
    most: int
    """Largest number of edges of an atom; a bound will do."""

    @property
    def slots(self) -> Int64[Tensor, " edge"]:
        """Place of each edge when each atom has room for ``most``."""
        index = torch.arange(len(self.centres), device=self.centres.device)
        return index - self.starts[self.centres] + self.centres * self.most
