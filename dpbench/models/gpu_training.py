"""A Deep Potential as the training step on the device takes it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.gpu.tables import is_served
from dpbench.kernels.gpu.training import StepModel
from dpbench.kernels.tables import Grid
from dpbench.models.config import se_e2_a_options
from dpbench.models.edge_features import INTERVALS, constants_of, layout_of, reach_of
from dpbench.models.parameters import FlatParameters, embedding_nets, fitting_nets
from dpbench.models.potential import DeepPotential
from dpbench.shapes import Float64


def shortest_in(model: DeepPotential, batch: Batch) -> Float64[Tensor, "type type"]:
    """Return the shortest distance of each pair of types, Å, on the host.

    Args:
        model: The model.
        batch: Looked at once, which waits for the device.
    """
    passes = choose("passes", model.device, model.dtype)
    layout = layout_of(batch, constants_of(model).net)
    found: Tensor = passes.shortest(batch.edge_vec, layout)
    return found.cpu()


def grid_for_batches(
    model: DeepPotential, batches: Iterable[Batch], *, intervals: int = INTERVALS
) -> Grid:
    """Span the tables over the shortest distances of all batches of a run.

    Args:
        model: The model.
        batches: Every batch that will be trained on.
        intervals: Pieces of each table.
    """
    shape = constants_of(model).net.shape
    shortest = torch.full(shape, torch.inf, dtype=torch.float64)
    for batch in batches:
        shortest = torch.minimum(shortest, shortest_in(model, batch))
    return reach_of(model, shortest, intervals=intervals).grid


def step_model(model: DeepPotential, grid: Grid) -> StepModel:
    """Return views of a model for ``kernels.gpu.training.DeviceStep``.

    Args:
        model: Trained in place.
        grid: Intervals of the tables, for all frames of the run.

    Raises:
        ModelError: If the embedding is no tanh net.
    """
    options = se_e2_a_options(model.config)
    if not is_served(options.activation_function):
        raise ModelError(
            f"the training step on the device tabulates tanh nets; this model's "
            f"embedding is '{options.activation_function}'. Train it with --engine "
            "autograd."
        )
    constants = constants_of(model)
    gradient = FlatParameters(
        torch.zeros_like(model.parameters.flat), model.parameters.shapes
    )
    embedding, fitting = embedding_nets(model.config), fitting_nets(model.config)
    views = model.parameters.views
    return StepModel(
        flat=model.parameters.flat,
        gradient=gradient.flat,
        embedding=[net.layers(views) for net in embedding],
        embedding_gradient=[net.layers(gradient.views) for net in embedding],
        fitting=[net.layers(views) for net in fitting],
        fitting_gradient=[net.layers(gradient.views) for net in fitting],
        activation=model.config.fitting.activation_function,
        grid=grid,
        normal=constants.normal,
        net=constants.net,
        empty_rows=constants.empty_rows,
        sel=constants.sel,
        bias=constants.bias,
        axis=options.axis_neuron,
    )
