"""Optimisers: one file each, on the flat parameter buffer of a model."""

from dpbench.models.parameters import FlatParameters
from dpbench.train.optimisers.adam import Adam
from dpbench.train.optimisers.average import Averaged
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.kalman import KalmanFilter
from dpbench.train.optimisers.muon import Muon
from dpbench.train.optimisers.protocol import Optimiser
from dpbench.train.optimisers.schedule_free import ScheduleFree
from dpbench.train.optimisers.soap import Soap

__all__ = ["Optimiser", "make_optimiser"]


def make_optimiser(parameters: FlatParameters, config: OptimiserConfig) -> Optimiser:
    """Set up the optimiser that a configuration names.

    Args:
        parameters: The model's parameters, which it will change in place.
        config: Its name and constants.
    """
    flat = parameters.flat
    optimiser: Optimiser
    match config.type:
        case "adam":
            optimiser = Adam(flat, config)
        case "soap":
            optimiser = Soap(parameters, config)
        case "muon":
            optimiser = Muon(parameters, config)
        case "schedule-free":
            optimiser = ScheduleFree(flat, config)
        case "kalman":
            optimiser = KalmanFilter(flat, config)
    if config.average:
        optimiser = Averaged(optimiser, flat, decay=config.average)
    return optimiser
