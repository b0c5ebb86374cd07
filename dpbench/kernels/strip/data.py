"""What the pair of types says about the edges."""

from typing import NamedTuple

from torch import Tensor

from dpbench.shapes import Float


class Share(NamedTuple):
    """The types' share in the embedding."""

    table: Float[Tensor, "centre neighbour width"]
    """T of each pair of types; zero beyond the net's channels."""
    weight: Float[Tensor, "edge 2"]
    """w and dw/ds of each edge."""
