"""Configuration of a model; field names and meanings are those of DeePMD-kit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dpbench.config import from_mapping, to_mapping
from dpbench.elements import SYMBOLS
from dpbench.errors import ConfigError, ModelError
from dpbench.models.descriptor_config import (
    Activation,
    DescriptorConfig,
    HybridConfig,
    PlainDescriptor,
    SeAttenConfig,
    SeE2AConfig,
    SeE2RConfig,
    check_excluded,
    check_widths,
)

__all__ = [
    "Activation",
    "DescriptorConfig",
    "EnergyFittingConfig",
    "HybridConfig",
    "ModelConfig",
    "PairTableConfig",
    "PlainDescriptor",
    "SeAttenConfig",
    "SeE2AConfig",
    "SeE2RConfig",
    "check_widths",
    "config_from_mapping",
    "config_mapping",
    "descriptor_words",
    "part_configs",
    "se_e2_a_options",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyFittingConfig:
    """Fitting net of the atomic energy: one per centre type, or one for all types."""

    neuron: tuple[int, ...] = (240, 240, 240)
    """Widths of the hidden layers."""

    resnet_dt: bool = True
    """Whether shortcut layers have a trainable time step."""

    activation_function: Activation = "tanh"
    """Activation of the hidden layers."""

    rcond: float | None = None
    """Cut-off of small singular values in the least squares of the energy bias."""

    numb_fparam: int = 0
    """Numbers per frame that enter beside the descriptor, such as a temperature."""

    fparam: tuple[str, ...] = ()
    """Names of the facts that these numbers are; none where they are not known."""

    default_fparam: tuple[float, ...] | None = None
    """Their values where a frame tells none."""

    numb_aparam: int = 0
    """Numbers per atom that enter beside the descriptor."""

    seed: int | None = None
    """Seed of the fitting net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check the widths, and that names and values are as many as numbers."""
        check_widths(self.neuron)
        if self.numb_fparam < 0 or self.numb_aparam < 0:
            raise ConfigError("numb_fparam and numb_aparam must not be negative.")
        named = {"fparam": self.fparam or None, "default_fparam": self.default_fparam}
        for name, values in named.items():
            if values is not None and len(values) != self.numb_fparam:
                raise ConfigError(
                    f"{name} = {list(values)} for numb_fparam = {self.numb_fparam}; "
                    "expected as many."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTableConfig:
    """A tabulated pair potential that takes over where atoms come close.

    E_i = (1 - c_i) E_i(DP) + c_i E_i(table), where c_i falls from 1 to 0 while the
    soft minimum of the distances to the neighbours rises from sw_rmin to sw_rmax.
    """

    sw_rmin: float
    """Å; below it the table alone counts."""

    sw_rmax: float
    """Å; above it the net alone counts."""

    smin_alpha: float = 0.1
    """Å, width of the soft minimum."""

    def __post_init__(self) -> None:
        """Check the order of the radii."""
        if not 0 <= self.sw_rmin < self.sw_rmax:
            raise ConfigError(
                f"sw_rmin, sw_rmax = {self.sw_rmin}, {self.sw_rmax} Å; expected "
                "0 <= sw_rmin < sw_rmax."
            )
        if not self.smin_alpha > 0:
            raise ConfigError(f"smin_alpha = {self.smin_alpha} Å must be positive.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A Deep Potential: descriptor and energy fitting."""

    type_map: tuple[str, ...]
    """Elements, in the order of type indices."""

    descriptor: DescriptorConfig
    """Local environment to features; the kinds are told apart by ``type``."""

    fitting: EnergyFittingConfig = field(default_factory=EnergyFittingConfig)
    """Energy fitting."""

    precision: Literal["float64", "float32"] = "float64"
    """Precision of all nets. Edge vectors are formed, and energies, forces and
    virials summed, in float64 whatever it is."""

    pair_table: PairTableConfig | None = None
    """Tabulated pair potential at short distances; its numbers are statistics."""

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
        for part in self.descriptor.parts:
            check_excluded(part.exclude_types, len(self.type_map))
            if not part.mixed_types and len(part.sel) != len(self.type_map):
                raise ConfigError(
                    f"descriptor.sel has {len(part.sel)} entries for "
                    f"{len(self.type_map)} types in type_map; expected one per type."
                )

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return len(self.type_map)


def se_e2_a_options(config: ModelConfig) -> SeE2AConfig:
    """Return the descriptor of a model that is plain ``se_e2_a``.

    Raises:
        ModelError: If it is another kind.
    """
    if not isinstance(config.descriptor, SeE2AConfig):
        raise ModelError(
            f"the descriptor is {config.descriptor.type}; only se_e2_a is served here."
        )
    return config.descriptor


def descriptor_words(descriptor: DescriptorConfig) -> str:
    """Word a descriptor in one line, e.g. ``se_e2_a [25, 50, 100] x 16``."""
    if isinstance(descriptor, HybridConfig):
        return f"hybrid of {' + '.join(map(descriptor_words, descriptor.list))}"
    words = f"{descriptor.type} {list(descriptor.neuron)}"
    if isinstance(descriptor, SeE2RConfig):
        return words
    return f"{words} x {descriptor.axis_neuron}"


def part_configs(config: ModelConfig) -> list[tuple[str, ModelConfig]]:
    """Split a model by the parts of its descriptor.

    Returns:
        Prefix of the part's parameters and statistics (empty where the descriptor is
        one part, else ``0.``, ``1.`` ...), and the model with that part alone.
    """
    if not isinstance(config.descriptor, HybridConfig):
        return [("", config)]
    return [
        (f"{index}.", replace(config, descriptor=part))
        for index, part in enumerate(config.descriptor.parts)
    ]


def config_mapping(config: ModelConfig) -> dict[str, Any]:
    """Return a configuration as plain values, as files and digests hold it.

    Options that came after format 1 of the model file are left out where they have
    the values that all older models had, so that those keep their names.
    """
    plain = to_mapping(config)
    if plain["descriptor"]["type"] == "se_e2_a":
        del plain["descriptor"]["type"]
    if plain["pair_table"] is None:
        del plain["pair_table"]
    none = {"numb_fparam": 0, "fparam": [], "default_fparam": None, "numb_aparam": 0}
    for name, value in none.items():
        if plain["fitting"][name] == value:
            del plain["fitting"][name]
    return plain


def config_from_mapping(plain: Mapping[str, Any], *, where: str) -> ModelConfig:
    """Read what ``config_mapping`` returned.

    Raises:
        ConfigError: If it does not fit.
    """
    return from_mapping(ModelConfig, plain, where=where)
