"""The energy bias that is fitted once more at the end."""

import numpy as np
import pytest
import torch

from dpbench.models.checkpoint import load_model
from dpbench.store.splits.making import find_split
from dpbench.train.bias import refit_energy_bias
from dpbench.train.loader import FrameCache
from dpbench.train.resident import BatchMaker
from dpbench.train.run import train
from tests.train.small_runs import small_config

ROUNDING = 1e-9
"""eV/atom."""


@pytest.fixture
def models(workspace, tmp_path):
    """The same run with the bias fitted once more, and without."""
    paths = [
        train(
            workspace,
            small_config(steps=5, refit_bias=refit),
            dataset="pairs",
            out=tmp_path / f"{refit}.pth",
        ).model_path
        for refit in (True, False)
    ]
    return [load_model(path) for path in paths]


def mean_energy_error(model, version) -> float:
    index = find_split(version).part("train")
    cache = FrameCache(version, index, natoms=version.natoms[index], rcut=model.rcut)
    maker = BatchMaker(
        cache, model.type_map, device=torch.device("cpu"), dtype=model.dtype
    )
    batch = maker(np.arange(len(cache)))
    error = (model.energy_and_forces(batch).energy - batch.energy) / batch.natoms
    assert torch.equal(
        model.energy_and_forces(batch).force,
        refit_energy_bias(model, cache, maker).energy_and_forces(batch).force,
    )
    return float(error.mean())


def test_training_energies_are_right_on_average_afterwards(models, version):
    (refitted, _), (plain, _) = models
    assert abs(mean_energy_error(refitted, version)) < ROUNDING
    assert abs(mean_energy_error(plain, version)) > 1000 * ROUNDING


def test_shift_is_recorded_and_parameters_stay(models):
    (refitted, told), (plain, nothing) = models
    assert torch.equal(refitted.parameters.flat, plain.parameters.flat)
    shift = refitted.statistics.energy_bias - plain.statistics.energy_bias
    assert told["bias_shift"] == dict(zip(refitted.type_map, shift, strict=True))
    assert "bias_shift" not in nothing
