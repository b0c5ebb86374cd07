"""Energies on cards are those of dpbench's own kernels."""

import math

import pytest
import torch

from dpbench.backends.cards import load_card
from dpbench.backends.check import CHECK_FOLDER, line_of_atoms
from dpbench.models.deepmd_file import read_deepmd
from tests.models.structures import predict

DEEPMD = ("", "-jax", "-paddle", "-pt", "-ptexpt", "-tf", "-tf2")


@pytest.mark.parametrize("name", [f"deepmd{end}" for end in DEEPMD])
def test_energy_of_the_small_model_is_that_of_our_kernels(name):
    card = load_card(name)
    model = read_deepmd(card.folder / CHECK_FOLDER / card.check.model)
    found = predict(line_of_atoms(card.check), model)
    assert math.isclose(found.energy.item(), card.check.energy, abs_tol=1e-12)
    assert torch.abs(found.force).max() > 1  # an energy of flat ground proves little
