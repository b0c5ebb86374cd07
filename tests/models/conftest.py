"""Nets of every kind that the physics must hold for."""

import pytest

from tests.models import structures

KINDS = {
    "one_side": {},
    "two_side": {"type_one_side": False, "resnet_dt": True},
    "excluded": {"exclude_types": ((0, 1),), "set_davg_zero": True},
    "few_slots": {"sel": (1, 2), "activation_function": "silu"},
    "protected": {"env_protection": 0.1, "fitting": {"resnet_dt": False}},
}


@pytest.fixture(params=KINDS)
def potential(request):
    return structures.model(**KINDS[request.param])
