"""How close a training run came to what the machine can do; for its record."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import kernels_in_use
from dpbench.kernels.roofline import (
    JET_UNITS,
    VALUE_UNITS,
    EmbeddingShape,
    StepShape,
    measure_peak,
    total,
    training_step,
)
from dpbench.models.config import ModelConfig, SeE2AConfig
from dpbench.models.edge_features import INTERVALS
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential

PEAK_SECONDS = 0.05
"""Time for each of the two products that are measured at the end of a run."""

TABULATING = ("table", "autograd-table")
"""Engines that evaluate the embedding nets at knots only."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What the batches of a run held, added up as they pass."""

    steps: int = 0
    """Batches."""
    atoms: int = 0
    """Atoms of all batches."""
    edges: int = 0
    """Directed edges of all batches."""


def counted(batches: Iterator[Batch], tally: Tally) -> Generator[Batch, None, None]:
    """Hand on batches and add up their sizes; closes a generator with itself."""
    source = batches if isinstance(batches, Generator) else (b for b in batches)
    with closing(source):
        for batch in source:
            tally.steps += 1
            tally.atoms += len(batch.atype)
            tally.edges += len(batch.edge_i)
            yield batch


def summed(tallies: Sequence[Tally]) -> Tally:
    """Put together what the ranks counted of the batches that they share."""
    return Tally(
        steps=tallies[0].steps,
        atoms=sum(tally.atoms for tally in tallies),
        edges=sum(tally.edges for tally in tallies),
    )


def step_shape(
    config: ModelConfig,
    *,
    atoms: float,
    edges: float,
    parameters: int = 0,
    knots_per_net: int = 0,
) -> StepShape | None:
    """Return the sizes of a step, or None for a model that is not counted.

    Args:
        config: The model.
        atoms: Atoms of the step.
        edges: Directed edges of the step.
        parameters: Parameters of the model.
        knots_per_net: Knots of each embedding net, where it is tabulated.
    """
    descriptor = config.descriptor
    if not isinstance(descriptor, SeE2AConfig):
        return None
    ntypes = len(config.type_map)
    nets = ntypes if descriptor.type_one_side else ntypes**2
    embedding = EmbeddingShape(
        edges=edges,
        neuron=descriptor.neuron,
        axis=descriptor.axis_neuron,
        nets=nets,
        knots=nets * knots_per_net,
    )
    return StepShape(
        atoms=atoms,
        embeddings=(embedding,),
        fitting=config.fitting.neuron,
        itemsize=DTYPES[config.precision].itemsize,
        fittings=ntypes,
        parameters=parameters,
    )


def knot_units() -> int:
    """Return what an embedding net costs at a knot, by the variant that tabulates."""
    return VALUE_UNITS if kernels_in_use().get("tables") == "numba" else JET_UNITS


def not_counted(config: ModelConfig, tally: Tally, *, optimiser: str) -> str | None:
    """Say why the steps of a session are not counted; None where they are."""
    if not tally.steps:
        return "no step was done"
    if not isinstance(config.descriptor, SeE2AConfig):
        return f"only se_e2_a is, not {config.descriptor.type}"
    if optimiser == "kalman":
        return "kalman takes several measurements a step, each with a gradient"
    return None


def reached(
    model: DeepPotential,
    tally: Tally,
    *,
    engine: str,
    seconds: float,
    intervals: int = INTERVALS,
    optimiser: str = "adam",
    ranks: int = 1,
) -> dict[str, Any]:
    """Say what the steps of a session cost, and which part of the peak they reached.

    The time is the whole session's, validation and checkpoints included; the peak is
    that of matrix products in the model's precision, measured here and now, times the
    number of ranks.

    Args:
        model: The model.
        tally: The batches of the session, of all ranks together.
        engine: Name of the training engine.
        seconds: Time of the session, s.
        intervals: Pieces of each table, where the engine tabulates.
        optimiser: Name of the optimiser; its own work is counted as that of Adam.
        ranks: Processes that share each batch; tables and optimiser are on each.

    Returns:
        Plain JSON values; ``not_counted`` alone, with the reason, where there are none.
    """
    is_tabulated = engine in TABULATING
    shape = step_shape(
        model.config,
        atoms=tally.atoms / max(tally.steps, 1) / ranks,
        edges=tally.edges / max(tally.steps, 1) / ranks,
        parameters=model.parameters.flat.numel(),
        knots_per_net=intervals + 1 if is_tabulated else 0,
    )
    reason = not_counted(model.config, tally, optimiser=optimiser)
    if shape is None or reason is not None or seconds <= 0:
        return {"not_counted": reason or "no time was taken"}
    work = total(training_step(shape, tabulated=is_tabulated, knot_units=knot_units()))
    gflop_s = 1e-9 * ranks * work.flops * tally.steps / seconds
    roof = ranks * _peak(model, shape)
    return {
        "flops_per_step": round(ranks * work.flops),
        "bytes_per_step": round(ranks * work.bytes),
        "gflop_s": float(f"{gflop_s:.4g}"),
        "peak_gflop_s": round(roof, 1),
        "fraction_of_peak": float(f"{gflop_s / roof:.4g}"),
        "steps_counted": tally.steps,
        "threads": torch.get_num_threads(),
    }


def _peak(model: DeepPotential, shape: StepShape) -> float:
    """Measure what matrix products of a step's shape reach here, GFLOP/s."""
    rows = max(1, round(shape.atoms / shape.fittings))
    inner, columns = shape.fitting_layers[0]
    peak = measure_peak(
        model.dtype,
        device=model.device,
        products=[(rows, inner, columns)],
        seconds=PEAK_SECONDS,
        with_streams=False,
    )
    return peak.gflop_s


def words(found: dict[str, Any]) -> str:
    """Put what ``reached`` returns into a line."""
    if "not_counted" in found:
        return f"work is not counted: {found['not_counted']}"
    percent = 100 * found["fraction_of_peak"]
    return (
        f"{found['flops_per_step'] / 1e9:.3g} GFLOP a step, "
        f"{found['gflop_s']:.3g} GFLOP/s: {percent:.2g} % of the "
        f"{found['peak_gflop_s']:.0f} GFLOP/s that matrix products reach here"
    )
