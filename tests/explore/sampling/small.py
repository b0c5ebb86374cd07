"""Settings, plans and models that the tests of walks share."""

from dataclasses import replace

import numpy as np

from dpbench.config import from_mapping
from dpbench.explore.sampling.planning import walk_tasks
from dpbench.explore.sampling.settings import SamplingSettings
from dpbench.explore.sampling.starts import start_structures
from dpbench.models.potential import DeepPotential
from tests.models.structures import config, statistics


def almg_model(seed=5, **options):
    """An untrained model of Al and Mg; deterministic, smooth, of no physics."""
    own = replace(config(rcut=5.0, sel=(80, 80), **options), type_map=("Al", "Mg"))
    return DeepPotential.initialise(own, statistics(), seed)


def settings_of(structures, stages=(), **more):
    """Section [explore] of plain values."""
    stages = stages or [
        {"structures": [structures[0]["name"]], "temperatures": [300], "steps": 40}
    ]
    data = {"structures": structures, "stages": list(stages), **more}
    return from_mapping(SamplingSettings, data, where="explore")


FCC = {
    "name": "fcc",
    "kind": "prototype",
    "substitute": {"elements": ["Al", "Mg"], "fractions": [0.0, 0.5, 1.0]},
    "rattle": 0.05,
}


def starts_of(settings, names=None, *, where, seed=1, **options):
    names = names or [one.name for one in settings.structures]
    return start_structures(
        settings, names, workspace=None, seed=seed, where=where, **options
    )


def plan(settings, model, folder, *, iteration=0, seed=1, starts=None):
    starts = starts or starts_of(settings, where=folder, seed=seed)
    return walk_tasks(
        settings,
        0,
        starts,
        models=[model],
        iteration=iteration,
        seed=seed,
        folder=folder / "walks",
    )


def same(one, other):
    """Whether two walks are the same to the last bit."""
    return (
        one.name == other.name
        and one.outcome == other.outcome
        and np.array_equal(one.step, other.step)
        and np.array_equal(one.frames.coord, other.frames.coord)
        and np.array_equal(one.frames.box, other.frames.box, equal_nan=True)
    )
