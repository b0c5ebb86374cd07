"""The embedding net and its derivative by its one input, fast.

``blocks`` does any activation on any device; ``cpu`` holds the compiled elementwise
parts of a tanh layer; ``tabulated`` evaluates the net at the knots of a table only.
The reference is ``layers.embed_reference``.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from dpbench.kernels.embedding.blocks import embed
from dpbench.kernels.embedding.tabulated import embed_by_table
from dpbench.kernels.layers import Layer

__all__ = ["Embed", "embed", "embed_by_table"]

Embed = Callable[[Tensor, Sequence[Layer], str], tuple[Tensor, Tensor]]
"""From arguments, layers and activation to G and dG/ds: ``embed`` or its like."""
