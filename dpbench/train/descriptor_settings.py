"""Settings of the descriptors, with what the data can decide left open.

Field names follow DeePMD-kit's input.json; the kinds are told apart by ``type``.
"""

from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ConfigError
from dpbench.models.config import (
    Activation,
    PlainDescriptor,
    SeAttenConfig,
    SeE2AConfig,
    SeE2RConfig,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DescriptorSettings:
    """Descriptor `se_e2_a`; field names follow DeePMD-kit's input.json."""

    type: Literal["se_e2_a"] = "se_e2_a"
    """Kind of the descriptor; each has its own table of options."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å."""

    sel: tuple[int, ...] | str = "auto"
    """Most neighbours per type in ``type_map`` order, or ``auto:FACTOR``: the most
    that occur in the data, times FACTOR, rounded up to a multiple of 4."""

    neuron: tuple[int, ...] = (16, 32, 64)
    """Widths of the embedding net."""

    axis_neuron: int = 8
    """Columns of the embedding that form the second factor of the descriptor."""

    type_one_side: bool = True
    """One embedding net per neighbour type instead of per pair of types."""

    activation_function: Activation = "tanh"
    """Activation of the embedding net."""

    resnet_dt: bool = False
    """Whether skip connections carry a trained time step."""

    set_davg_zero: bool = False
    """Whether the environment matrix is scaled but not centred."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    seed: int | None = None
    """Seed of the embedding net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check all that can be checked without the data."""
        self.resolve(_any_sel(self, per_type=True))

    def resolve(self, sel: tuple[int, ...]) -> SeE2AConfig:
        """Return the descriptor's configuration with ``sel`` neighbour slots."""
        return SeE2AConfig(sel=sel, **_options(self))

    def choose_sel(self, most: NDArray[np.integer]) -> tuple[int, ...]:
        """Return ``sel``; ``most`` is (type + 1), see ``NeighbourCounts.within``."""
        if isinstance(self.sel, str):
            return tuple(_rounded(count, self.sel) for count in most[:-1].tolist())
        return self.sel

    @property
    def sel_factor(self) -> float:
        """FACTOR of ``auto:FACTOR``; 1.1 where none is stated."""
        return sel_factor(str(self.sel))

    @property
    def parts(self) -> "tuple[PlainSettings, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff radius of each part, Å."""
        return (self.rcut,)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeE2RSettings:
    """Descriptor `se_e2_r`: distances alone."""

    type: Literal["se_e2_r"] = "se_e2_r"
    """Kind of the descriptor."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å."""

    sel: tuple[int, ...] | str = "auto"
    """Most neighbours per type in ``type_map`` order, or ``auto:FACTOR``."""

    neuron: tuple[int, ...] = (16, 32, 64)
    """Widths of the embedding net; the last is the length of the descriptor."""

    type_one_side: bool = True
    """One embedding net per neighbour type instead of per pair of types."""

    activation_function: Activation = "tanh"
    """Activation of the embedding net."""

    resnet_dt: bool = False
    """Whether skip connections carry a trained time step."""

    set_davg_zero: bool = False
    """Whether the environment matrix is scaled but not centred."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    seed: int | None = None
    """Seed of the embedding net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check all that can be checked without the data."""
        self.resolve(_any_sel(self, per_type=True))

    def resolve(self, sel: tuple[int, ...]) -> SeE2RConfig:
        """Return the descriptor's configuration with ``sel`` neighbour slots."""
        return SeE2RConfig(sel=sel, **_options(self))

    def choose_sel(self, most: NDArray[np.integer]) -> tuple[int, ...]:
        """Return ``sel``; ``most`` is (type + 1), see ``NeighbourCounts.within``."""
        if isinstance(self.sel, str):
            return tuple(_rounded(count, self.sel) for count in most[:-1].tolist())
        return self.sel

    @property
    def parts(self) -> "tuple[PlainSettings, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff radius of each part, Å."""
        return (self.rcut,)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeAttenSettings:
    """Descriptor `se_atten_v2`, `se_atten` or `dpa1`: DPA-1 without attention layers.

    The type embedding is in strip mode; one fitting net serves all types.
    """

    type: Literal["se_atten_v2", "se_atten", "dpa1"] = "se_atten_v2"
    """Kind of the descriptor; `se_atten` and `dpa1` are the same."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å."""

    sel: int | tuple[int, ...] | str = "auto"
    """Most neighbours of all types together; the sum of a list; or ``auto:FACTOR``."""

    neuron: tuple[int, ...] = (16, 32, 64)
    """Widths of the embedding net of distances, and of that of types."""

    axis_neuron: int = 8
    """Columns of the embedding that form the second factor of the descriptor."""

    tebd_dim: int = 8
    """Length of a type's embedding."""

    tebd_input_mode: Literal["strip"] = "strip"
    """How types enter; `concat` is not supported."""

    attn_layer: Literal[0] = 0
    """Attention layers; none are supported."""

    type_one_side: bool = False
    """Whether the neighbour's type alone enters, or the centre's too."""

    smooth_type_embedding: bool = True
    """Whether the types' share is weighted with the switching function."""

    concat_output_tebd: bool = True
    """Whether the embedding of the centre's type is appended to the descriptor."""

    use_tebd_bias: bool = False
    """Whether the layer that makes type embeddings has a bias."""

    activation_function: Activation = "tanh"
    """Activation of both embedding nets."""

    resnet_dt: bool = False
    """Whether skip connections carry a trained time step."""

    set_davg_zero: bool = False
    """Whether the environment matrix is scaled but not centred."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    seed: int | None = None
    """Seed of the nets' start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check all that can be checked without the data."""
        self.resolve(_any_sel(self, per_type=False))

    def resolve(self, sel: tuple[int, ...]) -> SeAttenConfig:
        """Return the descriptor's configuration with ``sel`` neighbour slots."""
        return SeAttenConfig(sel=(sum(sel),), **_options(self))

    def choose_sel(self, most: NDArray[np.integer]) -> tuple[int, ...]:
        """Return ``sel``; ``most`` is (type + 1), see ``NeighbourCounts.within``."""
        if isinstance(self.sel, str):
            return (_rounded(int(most[-1]), self.sel),)
        return (self.sel,) if isinstance(self.sel, int) else (sum(self.sel),)

    @property
    def parts(self) -> "tuple[PlainSettings, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff radius of each part, Å."""
        return (self.rcut,)


PlainSettings = DescriptorSettings | SeE2RSettings | SeAttenSettings
"""Settings of every kind that is not made of others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridSettings:
    """Descriptor `hybrid`: several descriptors, one behind the other."""

    type: Literal["hybrid"] = "hybrid"
    """Kind of the descriptor."""

    list: tuple[PlainSettings, ...]
    """The descriptors, each a table of its own: `[[model.descriptor.list]]`."""

    def __post_init__(self) -> None:
        """Check that there are descriptors."""
        if not self.list:
            raise ConfigError("list is empty; expected at least one descriptor.")

    @property
    def parts(self) -> tuple[PlainSettings, ...]:
        """The descriptors that this one is made of."""
        return self.list

    @property
    def rcut(self) -> float:
        """Largest cutoff radius, Å."""
        return max(self.cutoffs)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff radius of each part, Å."""
        return tuple(part.rcut for part in self.list)


AnyDescriptorSettings = (
    DescriptorSettings | SeE2RSettings | SeAttenSettings | HybridSettings
)
"""Settings of every kind of descriptor; the first one where ``type`` is left out."""


def resolve_part(settings: PlainSettings, sel: tuple[int, ...]) -> PlainDescriptor:
    """Return the configuration of a descriptor with ``sel`` neighbour slots."""
    return settings.resolve(sel)


def sel_factor(text: str) -> float:
    """Read FACTOR of ``auto:FACTOR``; 1.1 where none is stated.

    Raises:
        ConfigError: If it is something else, or below one.
    """
    name, _, factor = text.partition(":")
    try:
        found = float(factor or 1.1) if name == "auto" else 0.0
    except ValueError:
        found = 0.0
    if not found:
        raise ConfigError(
            f"sel = {text!r}; expected a list of integers, 'auto' or 'auto:1.2'."
        )
    if found < 1:
        raise ConfigError(f"sel = {text!r}: the factor must be at least 1.")
    return found


def _rounded(count: int, text: str) -> int:
    """Return ``count`` times the factor of ``text``, up to a multiple of 4."""
    return max(4, 4 * ceil(count * sel_factor(text) / 4))


def _any_sel(settings: PlainSettings, *, per_type: bool) -> tuple[int, ...]:
    """Return the ``sel`` that is stated, or one that fits the other options."""
    if isinstance(settings.sel, str):
        sel_factor(settings.sel)
        pairs = settings.exclude_types
        ntypes = 1 + max((t for pair in pairs for t in pair), default=0)
        return (1,) * (ntypes if per_type else 1)
    return (settings.sel,) if isinstance(settings.sel, int) else settings.sel


def _options(settings: PlainSettings) -> dict[str, Any]:
    """Return all fields but ``sel``: the configuration has them under one name."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if field.name != "sel"
    }
