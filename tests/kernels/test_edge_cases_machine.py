"""Machines that lack something: dpbench serves from the reference, and says so."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # each test starts processes of its own

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
{block}
import numpy as np
from dpbench.kernels.choice import choose, kernels_in_use
from dpbench.models.compressed import compress
from dpbench.train.engine import Prefactors, choose_engine
from tests.models.structures import batch_of, model, water

potential, frames = model(), water()
batch = batch_of(frames, potential)
engine = choose_engine(potential.config)
found = engine.losses_and_gradients(
    potential, batch, Prefactors(energy=1.0, force=10.0, virial=1.0)
)
tabulated = compress(potential).energy_and_forces(batch)
print("loss", repr(float(found.loss)))
print("gradient", repr(float(found.gradient.double().norm())))
print("energy", repr(float(tabulated.energy.sum())))
for family, variant in kernels_in_use().items():
    print("uses", family, variant)
"""

BROKEN = (
    "passes.compiled",
    "fitting.compiled",
    "tables.compiled",
    "inference.compiled",
)
NO_VARIANTS = f"""
for name in {BROKEN}:
    sys.modules["dpbench.kernels." + name] = None  # as where numba cannot be imported
"""


def run(block: str, **environment: str):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(block=block)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    numbers = {words[0]: float(words[1]) for words in lines if words[0] != "uses"}
    uses = {words[1]: words[2] for words in lines if words[0] == "uses"}
    return numbers, uses, done.stderr


def test_where_a_variant_cannot_be_imported_the_reference_serves_and_says_so():
    numbers, uses, told = run(NO_VARIANTS)
    expected, fast, silent = run("")
    assert set(uses.values()) == {"reference"}
    assert "numba" in fast.values()
    for family in ("passes", "fitting", "inference"):
        assert told.count(f"numba of {family} is not at hand") == 1
    assert silent == ""
    for name, value in expected.items():
        assert abs(numbers[name] - value) < 1e-6 * abs(value), name


def test_the_variable_chooses_the_references_without_a_word():
    numbers, uses, told = run("", DPBENCH_KERNELS="reference")
    assert set(uses.values()) == {"reference"}
    assert told == ""
    assert numbers["loss"] > 0


def test_no_compiler_is_needed(tmp_path):
    """Not even to compile kernels anew: numba brings its own."""
    nothing = str(tmp_path / "bin")
    where = {"PATH": nothing, "CC": nothing, "CXX": nothing}
    numbers, uses, told = run("", **where)
    assert "numba" in uses.values()
    assert told == ""
    assert numbers["loss"] > 0
