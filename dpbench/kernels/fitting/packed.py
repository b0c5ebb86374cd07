"""Weights laid out once for products with many small blocks of atoms.

In molecular dynamics the weights stay and blocks come by the thousand. For float32
oneDNN's product with reordered weights saves about a tenth of the time of torch's own,
which lays the weights out anew each time; it knows no float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer

TYPICAL_ATOMS = 128
"""Rows that oneDNN is told to expect; any number may come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A fitting net for ``infer``. Changing the weights afterwards changes nothing."""

    layers: tuple[Layer, ...]
    """The net as it was given."""
    forward: tuple[Tensor, ...] = ()
    """2 W of each hidden layer as oneDNN lays it out; empty where that is not used."""
    biases: tuple[Tensor, ...] = ()
    """2 b of each hidden layer."""
    backward: tuple[Tensor, ...] = ()
    """W^T of each hidden layer, in oneDNN's own layout."""

    def ahead(self, x: Tensor, index: int) -> Tensor:
        """Return 2 (x W + b) of a hidden layer."""
        return _product(x, self.forward[index], self.biases[index])

    def back(self, delta: Tensor, index: int) -> Tensor:
        """Return delta W^T of a hidden layer."""
        return _product(delta, self.backward[index], None)


def pack(layers: Sequence[Layer]) -> Packed:
    """Lay a fitting net out for ``infer``."""
    hidden = layers[:-1]
    is_served = all(
        layer.w.dtype == torch.float32 and layer.w.device.type == "cpu"
        for layer in hidden
    )
    if not hidden or not is_served or not _is_at_hand():
        return Packed(layers=tuple(layers))
    return Packed(
        layers=tuple(layers),
        forward=tuple(_reordered((2 * layer.w).T) for layer in hidden),
        biases=tuple(2 * layer.b for layer in hidden),
        backward=tuple(_reordered(layer.w) for layer in hidden),
    )


def _is_at_hand() -> bool:
    """Say whether this build of torch has oneDNN's products."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    is_built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_built and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _reordered(weight: Tensor) -> Tensor:
    contiguous = weight.detach().contiguous()
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(contiguous, TYPICAL_ATOMS)
    return found


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found
