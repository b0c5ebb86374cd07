"""All trainable numbers of a model in one flat buffer with named views."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.models.config import ModelConfig
from dpbench.shapes import Float

DTYPES = {"float64": torch.float64, "float32": torch.float32}
"""torch's types by the names of ``ModelConfig.precision``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """Shape of one net: its name in the flat buffer and its widths."""

    name: str
    """``embedding.3`` or ``fitting.0``; the index is that of DeePMD-kit."""
    widths: tuple[int, ...]
    """Input, hidden and output widths."""
    resnet_dt: bool
    """Whether shortcut layers have a time step."""
    has_linear_output: bool
    """Whether the last layer is linear, without shortcut (fitting nets)."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter by its full name, in buffer order."""
        shapes: dict[str, tuple[int, ...]] = {}
        count = len(self.widths) - 1
        for index in range(count):
            n_in, n_out = self.widths[index : index + 2]
            shapes[f"{self.name}.{index}.w"] = (n_in, n_out)
            shapes[f"{self.name}.{index}.b"] = (n_out,)
            is_output = self.has_linear_output and index == count - 1
            if self.resnet_dt and not is_output and n_out in (n_in, 2 * n_in):
                shapes[f"{self.name}.{index}.idt"] = (n_out,)
        return shapes

    def layers(self, views: Mapping[str, Tensor]) -> list[Layer]:
        """Pick this net's layers out of all views."""
        prefixes = [f"{self.name}.{i}" for i in range(len(self.widths) - 1)]
        return [
            Layer(views[f"{p}.w"], views[f"{p}.b"], views.get(f"{p}.idt"))
            for p in prefixes
        ]


def embedding_nets(config: ModelConfig) -> list[Net]:
    """List the embedding nets: per neighbour type, or centre + neighbour * ntypes."""
    descriptor = config.descriptor
    count = config.ntypes if descriptor.type_one_side else config.ntypes**2
    return [
        Net(
            name=f"embedding.{index}",
            widths=(1, *descriptor.neuron),
            resnet_dt=descriptor.resnet_dt,
            has_linear_output=False,
        )
        for index in range(count)
    ]


def fitting_nets(config: ModelConfig) -> list[Net]:
    """List the fitting nets, one per centre type."""
    return [
        Net(
            name=f"fitting.{index}",
            widths=(config.descriptor.dim_descriptor, *config.fitting.neuron, 1),
            resnet_dt=config.fitting.resnet_dt,
            has_linear_output=True,
        )
        for index in range(config.ntypes)
    ]


@final
class FlatParameters:
    """One flat buffer, and views of it by name."""

    def __init__(
        self, flat: Float[Tensor, " parameter"], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Wrap ``flat``; ``shapes`` name its parts in order.

        Raises:
            ValueError: If the buffer does not have as many numbers as the shapes.
        """
        self.flat = flat
        self.shapes = dict(shapes)
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        if flat.shape != (sum(self._sizes),):
            raise ValueError(
                f"buffer of shape {tuple(flat.shape)}; expected ({sum(self._sizes)},)"
            )
        self.views = self.unflatten(flat)

    def unflatten(self, flat: Float[Tensor, " parameter"]) -> dict[str, Tensor]:
        """Return named views of any buffer of the same layout, e.g. a gradient.

        Differentiable: the gradient by ``flat`` is put together in one piece.
        """
        parts = torch.split(flat, self._sizes)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in named}

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "FlatParameters":
        """Return a copy on ``device`` in ``dtype``."""
        return FlatParameters(
            self.flat.detach().to(device, dtype, copy=True), self.shapes
        )


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by name, in buffer order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for net in [*embedding_nets(config), *fitting_nets(config)]:
        shapes |= net.shapes
    return shapes


def draw_parameters(config: ModelConfig, seed: int) -> FlatParameters:
    """Draw start values on the CPU.

    W ~ N(0, 1 / sqrt(n_in + n_out)), b ~ N(0, 1), idt ~ N(0.1, 1e-3). Each parameter
    has a generator of its own, seeded by its net's seed and its name, so that changing
    one net leaves the start values of the others alone.

    Args:
        config: The model.
        seed: Stands in for seeds that the config leaves out.

    Source:
        DeePMD-kit, ``deepmd/pt/model/network/mlp.py``, default initialisation.
    """
    shapes = parameter_shapes(config)
    seeds = {
        "embedding": config.descriptor.seed,
        "fitting": config.fitting.seed,
    }
    parts: list[np.ndarray] = []
    for name, shape in shapes.items():
        own = seeds[name.split(".")[0]]
        base = seed if own is None else own
        generator = np.random.default_rng([base, *name.encode()])
        parts.append(_draw(name, shape, generator).ravel())
    flat = torch.from_numpy(np.concatenate(parts)).to(DTYPES[config.precision])
    return FlatParameters(flat, shapes)


def _draw(
    name: str, shape: Sequence[int], generator: np.random.Generator
) -> np.ndarray:
    kind = name.rsplit(".", 1)[1]
    if kind == "w":
        return generator.normal(0, 1 / math.sqrt(sum(shape)), size=shape)
    if kind == "b":
        return generator.normal(0, 1, size=shape)
    return generator.normal(0.1, 1e-3, size=shape)
