"""All trainable numbers of a model in one flat buffer with named views."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.models.config import ModelConfig, SeAttenConfig, part_configs
from dpbench.shapes import Float

DTYPES = {"float64": torch.float64, "float32": torch.float32}
"""torch's types by the names of ``ModelConfig.precision``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """Shape of one net: its name in the flat buffer and its widths."""

    name: str
    """``embedding.3`` or ``fitting.0``; the index is that of DeePMD-kit. Those of a
    part of a hybrid descriptor begin with the part: ``1.embedding.3``."""
    widths: tuple[int, ...]
    """Input, hidden and output widths."""
    resnet_dt: bool
    """Whether shortcut layers have a time step."""
    has_linear_output: bool
    """Whether the last layer is linear, without shortcut (fitting nets)."""
    has_bias: bool = True
    """Whether layers have biases; those of type embeddings may not."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter by its full name, in buffer order."""
        shapes: dict[str, tuple[int, ...]] = {}
        count = len(self.widths) - 1
        for index in range(count):
            n_in, n_out = self.widths[index : index + 2]
            shapes[f"{self.name}.{index}.w"] = (n_in, n_out)
            if self.has_bias:
                shapes[f"{self.name}.{index}.b"] = (n_out,)
            is_output = self.has_linear_output and index == count - 1
            if self.resnet_dt and not is_output and n_out in (n_in, 2 * n_in):
                shapes[f"{self.name}.{index}.idt"] = (n_out,)
        return shapes

    def layers(self, views: Mapping[str, Tensor]) -> list[Layer]:
        """Pick this net's layers out of all views."""
        layers = []
        for index, width in enumerate(self.widths[1:]):
            w = views[f"{self.name}.{index}.w"]
            b = views[f"{self.name}.{index}.b"] if self.has_bias else w.new_zeros(width)
            layers.append(Layer(w, b, views.get(f"{self.name}.{index}.idt")))
        return layers


def embedding_nets(config: ModelConfig) -> list[Net]:
    """List the nets of s(r) of a descriptor of one part.

    One per neighbour type, or centre + neighbour * ntypes; a single one where types
    enter by their embedding.

    Raises:
        TypeError: If the descriptor has several parts: take ``part_configs`` first.
    """
    if len(config.descriptor.parts) > 1:
        raise TypeError("a hybrid descriptor has the nets of its parts")
    (descriptor,) = config.descriptor.parts
    if isinstance(descriptor, SeAttenConfig):
        count = 1
    else:
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


def type_nets(descriptor: SeAttenConfig, ntypes: int) -> tuple[Net, Net]:
    """Return the net that embeds types, and that of embedded (pairs of) types."""
    sides = 1 if descriptor.type_one_side else 2
    types = Net(
        name="type_embedding.0",
        widths=(ntypes, descriptor.tebd_dim),
        resnet_dt=False,
        has_linear_output=False,
        has_bias=descriptor.use_tebd_bias,
    )
    strip = Net(
        name="embedding_strip.0",
        widths=(sides * descriptor.tebd_dim, *descriptor.neuron),
        resnet_dt=descriptor.resnet_dt,
        has_linear_output=False,
    )
    return types, strip


def descriptor_nets(config: ModelConfig) -> list[Net]:
    """List the nets of a descriptor of one part."""
    nets = embedding_nets(config)
    (descriptor,) = config.descriptor.parts
    if isinstance(descriptor, SeAttenConfig):
        nets += type_nets(descriptor, config.ntypes)
    return nets


def fitting_nets(config: ModelConfig) -> list[Net]:
    """List the fitting nets: one per centre type, or one for all types."""
    fitting = config.fitting
    inputs = config.descriptor.dim_descriptor + fitting.numb_fparam
    return [
        Net(
            name=f"fitting.{index}",
            widths=(inputs + fitting.numb_aparam, *fitting.neuron, 1),
            resnet_dt=fitting.resnet_dt,
            has_linear_output=True,
        )
        for index in range(1 if config.descriptor.mixed_types else config.ntypes)
    ]


def seeded_nets(config: ModelConfig) -> list[tuple[Net, int | None]]:
    """List all nets in buffer order, each with its own seed if it has one."""
    nets = [
        (replace(net, name=prefix + net.name), part.descriptor.parts[0].seed)
        for prefix, part in part_configs(config)
        for net in descriptor_nets(part)
    ]
    return nets + [(net, config.fitting.seed) for net in fitting_nets(config)]


def part_views(views: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """Return the views of one part of the descriptor, by their plain names."""
    if not prefix:
        return views
    return {
        name.removeprefix(prefix): view
        for name, view in views.items()
        if name.startswith(prefix)
    }


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
    for net, _ in seeded_nets(config):
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
    parts: list[np.ndarray] = []
    for net, own in seeded_nets(config):
        base = seed if own is None else own
        for name, shape in net.shapes.items():
            generator = np.random.default_rng([base, *name.encode()])
            parts.append(_draw(name, shape, generator).ravel())
    flat = torch.from_numpy(np.concatenate(parts)).to(DTYPES[config.precision])
    return FlatParameters(flat, parameter_shapes(config))


def _draw(
    name: str, shape: Sequence[int], generator: np.random.Generator
) -> np.ndarray:
    kind = name.rsplit(".", 1)[1]
    if kind == "w":
        return generator.normal(0, 1 / math.sqrt(sum(shape)), size=shape)
    if kind == "b":
        return generator.normal(0, 1, size=shape)
    return generator.normal(0.1, 1e-3, size=shape)
