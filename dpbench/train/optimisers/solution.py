"""The model that an optimiser stands for: the one to validate and to write."""

import torch

from dpbench.models.parameters import FlatParameters
from dpbench.models.potential import DeepPotential
from dpbench.train.optimisers.protocol import Optimiser


def solution_model(model: DeepPotential, optimiser: Optimiser) -> DeepPotential:
    """Return ``model`` with the optimiser's solution as parameters.

    Args:
        model: The model whose buffer the optimiser changes.
        optimiser: The optimiser.

    Returns:
        ``model`` itself where its buffer is the solution; else a model on the average,
        which later steps do not change.
    """
    flat, solution = model.parameters.flat, optimiser.solution()
    if solution is flat:
        return model
    parameters = FlatParameters(torch.clone(solution.detach()), model.parameters.shapes)
    return DeepPotential(model.config, parameters, model.statistics)
