"""Settings of a model, with what the data can decide left open."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dpbench.models.config import (
    Activation,
    DescriptorConfig,
    EnergyFittingConfig,
    HybridConfig,
    ModelConfig,
    PairTableConfig,
)
from dpbench.models.neighbour_counts import NeighbourCounts
from dpbench.train.descriptor_settings import (
    AnyDescriptorSettings,
    DescriptorSettings,
    HybridSettings,
    resolve_part,
)

FactName = Literal["temperature", "charge", "multiplicity"]
"""Facts of a frame that the store keeps: K, e, and 2S + 1."""

Sel = tuple[int, ...] | tuple[tuple[int, ...], ...]
"""Neighbour slots of a descriptor, or of each part of a hybrid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FittingSettings:
    """Energy fitting net; field names follow DeePMD-kit's input.json."""

    type: Literal["ener"] = "ener"
    """The only fitting so far."""

    neuron: tuple[int, ...] = (64, 64, 64)
    """Widths of the hidden layers."""

    activation_function: Activation = "tanh"
    """Activation of the hidden layers."""

    resnet_dt: bool = True
    """Whether skip connections carry a trained time step."""

    rcond: float | None = None
    """Cut-off of small singular values in the least squares of the energy bias."""

    fparam: tuple[FactName, ...] = ()
    """Facts of each frame that enter beside the descriptor: `temperature` (K),
    `charge` (e), `multiplicity`, as their sources tell them."""

    default_fparam: tuple[float, ...] | None = None
    """Their values where a frame tells none, and in use of the model."""

    numb_aparam: int = 0
    """Numbers of each atom that enter beside the descriptor, as the data hold them
    (`aparam`)."""

    seed: int | None = None
    """Seed of the fitting net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check the widths, and that defaults are as many as facts."""
        self.resolve()

    def resolve(self) -> EnergyFittingConfig:
        """Return the fitting net's configuration."""
        return EnergyFittingConfig(
            neuron=self.neuron,
            resnet_dt=self.resnet_dt,
            activation_function=self.activation_function,
            rcond=self.rcond,
            numb_fparam=len(self.fparam),
            fparam=self.fparam,
            default_fparam=self.default_fparam,
            numb_aparam=self.numb_aparam,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTableSettings:
    """A tabulated pair potential, such as ZBL, that is mixed in at short distances."""

    file: str
    """Text: a distance (Å) and the energies (eV) of all pairs of types a line, the
    pairs in the order 0-0, 0-1 ... 1-1 ...: DeePMD-kit's `use_srtab`."""

    sw_rmin: float
    """Å; where the nearest neighbour is closer, the table alone counts."""

    sw_rmax: float
    """Å; where the nearest neighbour is farther, the net alone counts."""

    smin_alpha: float = 0.1
    """Å, width of the soft minimum that tells the nearest neighbour's distance."""

    def __post_init__(self) -> None:
        """Check the order of the radii."""
        self.resolve()

    def resolve(self) -> PairTableConfig:
        """Return the configuration of the mix."""
        return PairTableConfig(
            sw_rmin=self.sw_rmin, sw_rmax=self.sw_rmax, smin_alpha=self.smin_alpha
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The model, with everything that the data can decide left open."""

    type_map: tuple[str, ...] | None = None
    """Elements in the order of their types; by default those of the data, by Z."""

    descriptor: AnyDescriptorSettings = field(default_factory=DescriptorSettings)
    """Local environment to features; `type` tells the kinds apart."""

    fitting: FittingSettings = field(default_factory=FittingSettings)
    """Features to atomic energy."""

    pair_table: PairTableSettings | None = None
    """A tabulated pair potential at short distances; none by default."""

    def choose_sel(self, counts: NeighbourCounts) -> Sel:
        """Return the neighbour slots: as stated, or sized by the data.

        Args:
            counts: Of the training frames, within ``descriptor.cutoffs``.
        """
        parts = zip(self.descriptor.parts, counts.within, strict=True)
        sizes = tuple(part.choose_sel(most) for part, most in parts)
        return sizes if isinstance(self.descriptor, HybridSettings) else sizes[0]

    def with_one_slot(self, type_map: tuple[str, ...]) -> ModelConfig:
        """Return the model as if each atom had one slot, to measure data with."""
        one = (1, *(0,) * (len(type_map) - 1))
        is_hybrid = isinstance(self.descriptor, HybridSettings)
        sel: Sel = (one,) * len(self.descriptor.parts) if is_hybrid else one
        return self.resolve(type_map=type_map, sel=sel, precision="float64")

    def resolve(
        self,
        *,
        type_map: tuple[str, ...],
        sel: Sel,
        precision: Literal["float32", "float64"],
    ) -> ModelConfig:
        """Return the configuration of a model for known data.

        Args:
            type_map: Its elements.
            sel: As ``choose_sel`` returns it.
            precision: Of its nets.
        """
        is_hybrid = isinstance(self.descriptor, HybridSettings)
        sizes = [np.atleast_1d(one).tolist() for one in (sel if is_hybrid else (sel,))]
        parts = tuple(
            resolve_part(part, tuple(size))
            for part, size in zip(self.descriptor.parts, sizes, strict=True)
        )
        descriptor: DescriptorConfig
        descriptor = HybridConfig(list=parts) if is_hybrid else parts[0]
        table = self.pair_table
        return ModelConfig(
            type_map=type_map,
            descriptor=descriptor,
            fitting=self.fitting.resolve(),
            precision=precision,
            pair_table=None if table is None else table.resolve(),
        )
