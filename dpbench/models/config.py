"""Configuration of a model; field names and meanings are those of DeePMD-kit."""

from dataclasses import dataclass, field
from typing import Literal

from dpbench.elements import SYMBOLS
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
        if not 0 <= self.rcut_smth < self.rcut:
            raise ConfigError(
                f"rcut_smth = {self.rcut_smth} Å must lie in [0, rcut = {self.rcut} Å)."
            )
        if not self.sel or min(self.sel) < 0 or sum(self.sel) < 1:
            raise ConfigError(
                f"sel = {list(self.sel)}; expected a number of neighbours per type."
            )
        check_widths(self.neuron)
        if not 1 <= self.axis_neuron <= self.neuron[-1]:
            raise ConfigError(
                f"axis_neuron = {self.axis_neuron} must lie in [1, {self.neuron[-1]}], "
                "the last width of neuron."
            )
        for pair in self.exclude_types:
            if not all(0 <= t < len(self.sel) for t in pair):
                raise ConfigError(
                    f"exclude_types holds {list(pair)}; expected indices below "
                    f"{len(self.sel)}."
                )
        if self.env_protection < 0:
            raise ConfigError(f"env_protection = {self.env_protection} Å is negative.")

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.sel)

    @property
    def dim_descriptor(self) -> int:
        """Number of descriptor components of an atom."""
        return self.neuron[-1] * self.axis_neuron


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyFittingConfig:
    """Fitting net of the atomic energy, one per centre type."""

    neuron: tuple[int, ...] = (240, 240, 240)
    """Widths of the hidden layers."""

    resnet_dt: bool = True
    """Whether shortcut layers have a trainable time step."""

    activation_function: Activation = "tanh"
    """Activation of the hidden layers."""

    rcond: float | None = None
    """Cut-off of small singular values in the least squares of the energy bias."""

    seed: int | None = None
    """Seed of the fitting net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check the widths."""
        check_widths(self.neuron)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A Deep Potential: descriptor and energy fitting."""

    type_map: tuple[str, ...]
    """Elements, in the order of type indices."""

    descriptor: SeE2AConfig
    """Descriptor ``se_e2_a``."""

    fitting: EnergyFittingConfig = field(default_factory=EnergyFittingConfig)
    """Energy fitting."""

    precision: Literal["float64", "float32"] = "float64"
    """Precision of both nets. Edge vectors are formed, and energies, forces and
    virials summed, in float64 whatever it is."""

    def __post_init__(self) -> None:
        """Check that type_map holds elements and fits sel."""
        for symbol in self.type_map:
            if symbol not in SYMBOLS[1:]:
                raise ConfigError(
                    f"type_map: unknown element '{symbol}'; expected chemical symbols."
                )
        if len(set(self.type_map)) != len(self.type_map):
            raise ConfigError(
                f"type_map = {list(self.type_map)} names an element twice."
            )
        if len(self.descriptor.sel) != len(self.type_map):
            raise ConfigError(
                f"descriptor.sel has {len(self.descriptor.sel)} entries for "
                f"{len(self.type_map)} types in type_map; expected one per type."
            )

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.type_map)


def check_widths(neuron: tuple[int, ...]) -> None:
    """Raise ConfigError unless ``neuron`` names at least one positive width."""
    if not neuron or min(neuron) < 1:
        raise ConfigError(f"neuron = {list(neuron)}; expected positive layer widths.")
