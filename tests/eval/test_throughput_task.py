import itertools

import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator

from dpbench.errors import ModelError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.throughput import (
    QUANTITIES,
    ThroughputSettings,
    is_out_of_memory,
    measure_throughput,
)
from dpbench.frames import uniform

FRAME = uniform(z=[29], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * 2.6)
SETTINGS = ThroughputSettings(window_s=0.05, min_natoms=8, growth=8, nsizes=2)


class Clockwork(AbstractEvaluator):
    """An evaluator whose costs are made up: seconds per atom of each quantity."""

    backend, precision, device = "made-up", "float64", "cpu"
    type_map, rcut = ("Cu",), 4.0

    def __init__(self, *, largest: int = 10**9, error: Exception | None = None):
        self.now = 0.0
        self.largest, self.error = largest, error
        self.coordinates: list[tuple[str, bytes]] = []

    def clock(self) -> float:
        return self.now

    def predict(self, frames):
        raise NotImplementedError

    def prepare(self, frame):
        def run() -> None:
            self.coordinates.append(("forward", frame.coord.tobytes()))
            self._spend(2e-2, len(frame.z))

        return run

    def forward(self, frame):
        self.coordinates.append(("list", frame.coord.tobytes()))
        self._spend(3e-2, len(frame.z))

    def calculator(self):
        outer = self

        class ForceFree(Calculator):
            implemented_properties = ("energy", "forces")

            def calculate(self, atoms=None, *args):
                super().calculate(atoms, *args)
                outer._spend(5e-2, len(atoms))
                outer.coordinates.append(("md", atoms.positions.tobytes()))
                self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}

        return ForceFree()

    def list_builds(self, calculator):
        return None

    def synchronise(self) -> None:
        pass

    def _spend(self, seconds: float, natoms: int) -> None:
        if natoms > self.largest and self.error is not None:
            raise self.error
        self.now += seconds * natoms


def run(evaluator: Clockwork):
    return measure_throughput(
        evaluator, FRAME, start_frame=0, settings=SETTINGS, clock=evaluator.clock
    )


def test_the_three_quantities_are_kept_apart():
    found = run(Clockwork())
    assert [size.natoms for size in found.sizes] == [8, 64]
    for size in found.sizes:
        medians = [size.quantities[name].median for name in QUANTITIES]
        assert medians == pytest.approx([2e4, 3e4, 5e4])
        assert all(len(t.samples) == 5 for t in size.quantities.values())
        assert [size.quantities[n].ns_per_day is None for n in QUANTITIES] == [
            True,
            True,
            False,
        ]
    assert found.natoms == 64
    assert [metric.value for metric in found.metrics] == pytest.approx([2e4, 3e4, 5e4])


def test_no_two_calls_in_a_row_see_the_same_coordinates():
    """So that no cache of the backend can answer."""
    evaluator = Clockwork()
    run(evaluator)
    for quantity in ("forward", "list", "md"):
        seen = [where for name, where in evaluator.coordinates if name == quantity]
        assert len(seen) > 10
        assert all(a != b for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_running_out_of_memory_ends_the_ladder_as_a_result(error):
    found = run(Clockwork(largest=8, error=error))
    assert [size.status for size in found.sizes] == ["ok", "out_of_memory"]
    assert found.natoms == 8
    assert found.sizes[1].quantities == {}


def test_dynamics_that_end_in_an_error_of_the_model_are_a_result(caplog):
    error = ModelError("atom 3 (Cu): has 13 Cu within 4 Å; sel expects at most 12.")
    found = run(Clockwork(largest=8, error=error))
    assert [size.status for size in found.sizes] == ["ok", "failed"]
    assert "speed of 64 atoms was not measured: atom 3 (Cu)" in caplog.text


def test_any_other_error_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shape"):
        run(Clockwork(largest=8, error=RuntimeError("shape mismatch")))
    assert not is_out_of_memory(ValueError("memory"))


def test_nothing_fits_gives_null_speeds():
    found = run(Clockwork(largest=0, error=MemoryError()))
    assert found.natoms is None
    assert [metric.value for metric in found.metrics] == [None] * 3
