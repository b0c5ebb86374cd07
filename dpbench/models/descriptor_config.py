"""Configuration of the descriptors; names and meanings are those of DeePMD-kit.

Each kind says its cutoff, its neighbour slots and the length of its result; ``parts``
are the descriptors that it is made of, itself where it is one.
"""

from dataclasses import dataclass
from typing import Literal

from dpbench.errors import ConfigError

Activation = Literal[
    "tanh",
    "relu",
    "gelu",
    "gelu_tf",
    "relu6",
    "softplus",
    "sigmoid",
    "silu",
    "linear",
    "none",
]
"""Activation functions; gelu is the tanh approximation, as gelu_tf; none is linear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeE2AConfig:
    """Descriptor ``se_e2_a``."""

    type: Literal["se_e2_a"] = "se_e2_a"
    """What tells the kinds of descriptors apart."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å; below ``rcut``."""

    sel: tuple[int, ...]
    """Neighbour slots per type, in ``type_map`` order: divisor of the descriptor and
    weight of its padding term. A property of the data."""

    neuron: tuple[int, ...] = (25, 50, 100)
    """Widths of the embedding net."""

    axis_neuron: int = 16
    """Columns of the embedding that the descriptor contracts with all others."""

    resnet_dt: bool = False
    """Whether shortcut layers of the embedding net have a trainable time step."""

    type_one_side: bool = True
    """One embedding net per neighbour type; else one per pair of types."""

    activation_function: Activation = "tanh"
    """Activation of the embedding net."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    set_davg_zero: bool = False
    """Leave the mean of the environment matrix zero."""

    seed: int | None = None
    """Seed of the embedding net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check each value against the others."""
        _check_shared(self)
        _check_axis(self.axis_neuron, self.neuron)
        check_excluded(self.exclude_types, len(self.sel))

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.sel)

    @property
    def dim_descriptor(self) -> int:
        """Number of descriptor components of an atom."""
        return self.neuron[-1] * self.axis_neuron

    @property
    def slots(self) -> int:
        """Neighbour slots of an atom."""
        return sum(self.sel)

    @property
    def parts(self) -> "tuple[PlainDescriptor, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def mixed_types(self) -> bool:
        """Whether one fitting net serves all types, and slots are of any type."""
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class SeE2RConfig:
    """Descriptor ``se_e2_r``: distances alone."""

    type: Literal["se_e2_r"] = "se_e2_r"
    """What tells the kinds of descriptors apart."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å; below ``rcut``."""

    sel: tuple[int, ...]
    """Neighbour slots per type, in ``type_map`` order."""

    neuron: tuple[int, ...] = (25, 50, 100)
    """Widths of the embedding net; the last one is the length of the descriptor."""

    resnet_dt: bool = False
    """Whether shortcut layers of the embedding net have a trainable time step."""

    type_one_side: bool = True
    """One embedding net per neighbour type; else one per pair of types, which
    DeePMD-kit has for this kind in its TensorFlow backend only."""

    activation_function: Activation = "tanh"
    """Activation of the embedding net."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    set_davg_zero: bool = False
    """Leave the mean of the environment matrix zero."""

    seed: int | None = None
    """Seed of the embedding net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check each value against the others."""
        _check_shared(self)
        check_excluded(self.exclude_types, len(self.sel))

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.sel)

    @property
    def dim_descriptor(self) -> int:
        """Number of descriptor components of an atom."""
        return self.neuron[-1]

    @property
    def slots(self) -> int:
        """Neighbour slots of an atom."""
        return sum(self.sel)

    @property
    def parts(self) -> "tuple[PlainDescriptor, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def mixed_types(self) -> bool:
        """Whether one fitting net serves all types, and slots are of any type."""
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class SeAttenConfig:
    """DPA-1 without attention layers, type embedding in strip mode.

    ``se_atten_v2`` always smooths the type embedding; ``se_atten`` and ``dpa1`` are
    the same kind with the choice.
    """

    type: Literal["se_atten_v2", "se_atten", "dpa1"] = "se_atten_v2"
    """What tells the kinds of descriptors apart."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å; below ``rcut``."""

    sel: tuple[int, ...]
    """Neighbour slots; only their sum counts."""

    neuron: tuple[int, ...] = (25, 50, 100)
    """Widths of the embedding net of distances, and of that of types."""

    axis_neuron: int = 16
    """Columns of the embedding that the descriptor contracts with all others."""

    tebd_dim: int = 8
    """Length of a type's embedding."""

    tebd_input_mode: Literal["strip"] = "strip"
    """How types enter; ``concat`` is not supported."""

    attn_layer: Literal[0] = 0
    """Attention layers; none are supported."""

    resnet_dt: bool = False
    """Whether shortcut layers of both embedding nets have a trainable time step."""

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

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    set_davg_zero: bool = False
    """Leave the mean of the environment matrix zero."""

    seed: int | None = None
    """Seed of the nets' start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check each value against the others."""
        _check_shared(self)
        _check_axis(self.axis_neuron, self.neuron)
        if self.tebd_dim < 1:
            raise ConfigError(f"tebd_dim = {self.tebd_dim} must be positive.")
        if self.smooth_type_embedding:
            return
        if self.type == "se_atten_v2":
            raise ConfigError(
                "smooth_type_embedding = false: se_atten_v2 always smooths; take "
                "type = 'se_atten' for the other."
            )
        if not self.set_davg_zero:
            raise ConfigError(
                "smooth_type_embedding = false needs set_davg_zero = true: else the "
                "energy jumps where a neighbour enters, and DeePMD-kit gives empty "
                "slots the type of the frame's first atom. Set one of the two."
            )

    @property
    def dim_descriptor(self) -> int:
        """Number of descriptor components of an atom."""
        plain = self.neuron[-1] * self.axis_neuron
        return plain + (self.tebd_dim if self.concat_output_tebd else 0)

    @property
    def slots(self) -> int:
        """Neighbour slots of an atom."""
        return sum(self.sel)

    @property
    def parts(self) -> "tuple[PlainDescriptor, ...]":
        """The descriptors that this one is made of."""
        return (self,)

    @property
    def mixed_types(self) -> bool:
        """Whether one fitting net serves all types, and slots are of any type."""
        return True


PlainDescriptor = SeE2AConfig | SeE2RConfig | SeAttenConfig
"""Every kind of descriptor that is not made of others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig:
    """Several descriptors, one behind the other, each with its own cutoff."""

    type: Literal["hybrid"] = "hybrid"
    """What tells the kinds of descriptors apart."""

    list: tuple[PlainDescriptor, ...]
    """The descriptors."""

    def __post_init__(self) -> None:
        """Check that there are descriptors."""
        if not self.list:
            raise ConfigError("list is empty; expected at least one descriptor.")

    @property
    def parts(self) -> tuple[PlainDescriptor, ...]:
        """The descriptors that this one is made of."""
        return self.list

    @property
    def rcut(self) -> float:
        """Largest cutoff radius, Å: that of the neighbour list."""
        return max(part.rcut for part in self.list)

    @property
    def dim_descriptor(self) -> int:
        """Number of descriptor components of an atom."""
        return sum(part.dim_descriptor for part in self.list)

    @property
    def mixed_types(self) -> bool:
        """Whether one fitting net serves all types: as soon as one part wants it."""
        return any(part.mixed_types for part in self.list)


DescriptorConfig = SeE2AConfig | SeE2RConfig | SeAttenConfig | HybridConfig
"""Every kind of descriptor, told apart by ``type``."""


def check_widths(neuron: tuple[int, ...]) -> None:
    """Raise ConfigError unless ``neuron`` names at least one positive width."""
    if not neuron or min(neuron) < 1:
        raise ConfigError(f"neuron = {list(neuron)}; expected positive layer widths.")


def check_excluded(pairs: tuple[tuple[int, int], ...], ntypes: int) -> None:
    """Raise ConfigError unless all ``pairs`` are of types below ``ntypes``."""
    for pair in pairs:
        if not all(0 <= t < ntypes for t in pair):
            raise ConfigError(
                f"exclude_types holds {list(pair)}; expected indices below {ntypes}."
            )


def _check_shared(config: "PlainDescriptor") -> None:
    """Check what all kinds have."""
    if not 0 <= config.rcut_smth < config.rcut:
        raise ConfigError(
            f"rcut_smth = {config.rcut_smth} Å must lie in [0, rcut = {config.rcut} Å)."
        )
    if not config.sel or min(config.sel) < 0 or sum(config.sel) < 1:
        raise ConfigError(
            f"sel = {list(config.sel)}; expected a number of neighbours per type."
        )
    check_widths(config.neuron)
    if config.env_protection < 0:
        raise ConfigError(f"env_protection = {config.env_protection} Å is negative.")


def _check_axis(axis_neuron: int, neuron: tuple[int, ...]) -> None:
    if not 1 <= axis_neuron <= neuron[-1]:
        raise ConfigError(
            f"axis_neuron = {axis_neuron} must lie in [1, {neuron[-1]}], the last "
            "width of neuron."
        )
