"""A Deep Potential for deployment: embedding nets as tables, fitting nets packed."""

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from dpbench.errors import ModelError
from dpbench.kernels.batch import Batch
from dpbench.kernels.inference import (
    AbstractBatchEvaluator,
    PotentialState,
    make_batch_evaluator,
)
from dpbench.kernels.inference.packed import pack_layers
from dpbench.kernels.layers import Layer
from dpbench.kernels.switch import radial_terms
from dpbench.kernels.tables import Grid, Tables, grid_for, table_error
from dpbench.kernels.tables.reference import make_tables
from dpbench.models.config import ModelConfig, SeE2AConfig
from dpbench.models.parameters import embedding_nets, fitting_nets
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.models.statistics import ModelStatistics, pair_mask

SLOPE_ERROR = 1e-7
"""Largest error of dG/ds that decides the number of intervals, unless it is told:
forces of trained models are then within about 1e-6 eV/Å."""

FEWEST, MOST = 64, 4096
"""Bounds on that number; small tables stay in a core's caches."""

SHORTEST = 0.5
"""Å; shorter pairs are served by the straight continuation of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSettings:
    """How to tabulate a model."""

    intervals: int | None = None
    """Intervals of each net; None: as few as keep dG/ds within ``SLOPE_ERROR``."""
    shortest: float = SHORTEST
    """Distance to which the tables reach, Å."""


@final
class CompressedPotential:
    """A potential whose embedding is read from tables.

    Its energy is a function of its own, smooth twice over, and its forces are the
    exact derivatives of that; it differs from the model it was made of by the tables'
    interpolation alone.
    """

    def __init__(
        self,
        config: ModelConfig,
        tables: Tables,
        fitting: tuple[tuple[Layer, ...], ...],
        statistics: ModelStatistics,
    ) -> None:
        """Put a potential together; ``fitting`` takes the packed descriptor."""
        self.config = config
        self.statistics = statistics
        descriptor = tabulable(config)
        self.state = PotentialState(
            dtype=tables.coefficients.dtype,
            rcut=descriptor.rcut,
            rcut_smth=descriptor.rcut_smth,
            protection=descriptor.env_protection,
            sel=descriptor.sel,
            axis=descriptor.axis_neuron,
            davg=statistics.davg,
            dstd=statistics.dstd,
            net=_net_of_pair(config),
            is_seen=pair_mask(config) != 0,
            tables=tables,
            fitting=fitting,
            activation=config.fitting.activation_function,
            energy_bias=statistics.energy_bias,
        )
        self._evaluator: AbstractBatchEvaluator | None = None

    @property
    def type_map(self) -> tuple[str, ...]:
        """Elements, in the order of type indices."""
        return self.config.type_map

    @property
    def rcut(self) -> float:
        """Cutoff radius, Å."""
        return self.state.rcut

    @property
    def intervals(self) -> int:
        """Intervals of each table."""
        tables = self.state.tables
        return int(tables.first[-1]) // len(tables.lower)

    @property
    def device(self) -> torch.device:
        """Where tables and nets lie."""
        return self.state.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of tables and nets."""
        return self.state.dtype

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        *,
        may_widen: bool = False,
    ) -> "CompressedPotential":
        """Return a copy on ``device``, in ``dtype`` where one is given.

        Args:
            device: Where it shall lie.
            dtype: Its precision; None keeps it.
            may_widen: Whether float64 may do with tables rounded to float32: that has
                float64's arithmetic, not its tables.

        Raises:
            ModelError: If tables of float32 were to pass for those of float64.
        """
        dtype = self.dtype if dtype is None else dtype
        if dtype == torch.float64 and self.dtype != dtype and not may_widen:
            raise ModelError(
                "precision = float64: the compressed model's tables are rounded to "
                "float32; expected float32. Leave the precision out, or give the "
                "m.pth it was made of."
            )
        tables = self.state.tables
        moved = replace(
            tables,
            lower=tables.lower.to(device),
            step=tables.step.to(device),
            first=tables.first.to(device),
            coefficients=tables.coefficients.to(device, dtype),
        )
        fitting = tuple(
            tuple(_moved(layer, device, dtype) for layer in layers)
            for layers in self.state.fitting
        )
        config = replace(
            self.config,
            precision="float64" if dtype == torch.float64 else "float32",
        )
        return CompressedPotential(config, moved, fitting, self.statistics)

    def energy_and_forces(self, batch: Batch) -> Prediction:
        """Evaluate a batch; nothing is recorded for differentiation."""
        if self._evaluator is None:
            self._evaluator = make_batch_evaluator(self)
        found = self._evaluator.evaluate(batch)
        return Prediction(
            energy=found.energy,
            force=found.force,
            virial=found.virial,
            atom_energy=found.atom_energy,
            extended=found.extended,
        )


def compress(
    model: DeepPotential, settings: TableSettings | None = None
) -> CompressedPotential:
    """Tabulate a model's embedding nets and pack its fitting nets.

    Args:
        model: The exact model.
        settings: Intervals and reach of the tables.

    Raises:
        ModelError: If the descriptor is none that can be tabulated, or the settings do
            not fit the model.
    """
    settings = settings or TableSettings()
    config = model.config
    descriptor = tabulable(config)
    views = model.parameters.views
    nets = [net.layers(views) for net in embedding_nets(config)]
    name = descriptor.activation_function
    if settings.intervals is None:
        settings = replace(settings, intervals=_enough(model, nets, settings))
    tables = make_tables(nets, name, table_grid(model, settings), model.dtype)
    axis = descriptor.axis_neuron
    fitting = tuple(
        pack_layers(
            [_moved(x, model.device, model.dtype) for x in net.layers(views)],
            *(tables.width, axis),
        )
        for net in fitting_nets(config)
    )
    return CompressedPotential(config, tables, fitting, model.statistics)


def _enough(
    model: DeepPotential, nets: list[list[Layer]], settings: TableSettings
) -> int:
    """Return how many intervals keep the slopes within ``SLOPE_ERROR``."""
    name = tabulable(model.config).activation_function
    intervals = FEWEST
    while intervals < MOST:
        grid = table_grid(model, replace(settings, intervals=intervals))
        tables = make_tables(nets, name, grid, torch.float64)
        error = float(table_error(nets, name, tables).slope.max())
        if not error > SLOPE_ERROR:
            break
        # The error falls with the fifth power of the step; one look more to be sure.
        wanted = math.ceil(1.1 * intervals * (error / SLOPE_ERROR) ** 0.2 / 32) * 32
        intervals = min(max(wanted, intervals + 32), MOST)
    return intervals


def table_grid(model: DeepPotential, settings: TableSettings) -> Grid:
    """Divide the range of each net's argument, from the cutoff to ``shortest``.

    Raises:
        ModelError: If the descriptor is none that can be tabulated, or the settings do
            not fit the model.
    """
    descriptor = tabulable(model.config)
    intervals = FEWEST if settings.intervals is None else settings.intervals
    if intervals < 1:
        raise ModelError(f"intervals = {intervals}; expected at least 1.")
    if not 0 < settings.shortest < descriptor.rcut:
        raise ModelError(
            f"shortest distance = {settings.shortest} Å; expected a length between 0 "
            f"and the cutoff, {descriptor.rcut} Å."
        )
    shortest = torch.tensor([settings.shortest], dtype=torch.float64)
    nearest = radial_terms(
        shortest,
        rcut_smth=descriptor.rcut_smth,
        rcut=descriptor.rcut,
        protection=descriptor.env_protection,
    ).f.item()
    davg, dstd = model.statistics.davg[:, 0], model.statistics.dstd[:, 0]
    # Centre types that share a net stretch their arguments differently.
    ends = np.stack([(0.0 - davg) / dstd, (nearest - davg) / dstd])
    net = _net_of_pair(model.config)
    count = int(net.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for centre in range(len(net)):
        for index in net[centre]:
            low[index] = min(low[index], ends[0, centre])
            high[index] = max(high[index], ends[1, centre])
    device = model.device
    return grid_for(
        torch.from_numpy(low).to(device),
        torch.from_numpy(high).to(device),
        intervals,
    )


def untabulable(config: ModelConfig) -> str | None:
    """Say why a model cannot be compressed; None if it can."""
    if not isinstance(config.descriptor, SeE2AConfig):
        return (
            f"its descriptor is {config.descriptor.type}, and se_e2_a alone is served"
        )
    if config.fitting.numb_fparam or config.fitting.numb_aparam:
        return "it takes frame or atom parameters"
    if config.pair_table is not None:
        return "a pair table is mixed in"
    return None


def tabulable(config: ModelConfig) -> SeE2AConfig:
    """Return the descriptor of a model that can be compressed.

    Raises:
        ModelError: If it cannot; says why.
    """
    descriptor, reason = config.descriptor, untabulable(config)
    if reason is not None or not isinstance(descriptor, SeE2AConfig):
        raise ModelError(f"the model cannot be compressed: {reason}. Use it as it is.")
    return descriptor


def _net_of_pair(config: ModelConfig) -> np.ndarray:
    """Return the embedding net of each pair, (centre type, neighbour type)."""
    ntypes = config.ntypes
    centre, neighbour = np.indices((ntypes, ntypes))
    if tabulable(config).type_one_side:
        return np.ascontiguousarray(neighbour)
    pairs: np.ndarray = centre + neighbour * ntypes
    return pairs


def _moved(layer: Layer, device: torch.device | str, dtype: torch.dtype) -> Layer:
    """Return a copy of a layer, detached from what it was a view of."""
    w, b = (t.detach().to(device, dtype, copy=True) for t in (layer.w, layer.b))
    idt = None if layer.idt is None else layer.idt.detach().to(device, dtype, copy=True)
    return Layer(w, b, idt)
