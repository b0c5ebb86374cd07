"""Records of speed: their content, and what may not be done with them."""

from dataclasses import replace

import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.fingerprint import hardware_fingerprint, software_fingerprint
from dpbench.eval.opening import Subject
from dpbench.eval.record import ModelFacts, record_from_payload, record_to_payload
from dpbench.eval.speed.competitors import Competitor
from dpbench.eval.speed.measuring import measure_ladders
from dpbench.eval.speed.plausibility import (
    Claim,
    flags,
    implausible,
    interpolated,
    joined,
    ladder_points,
)
from dpbench.eval.speed.plots import Curve, curves_of, scaling_plot
from dpbench.eval.speed.records import speed_record
from dpbench.eval.speed.reporting import task_result
from dpbench.eval.speed.settings import SpeedSettings
from tests.eval.speed.test_ladders import Machine, configuration

SETTINGS = SpeedSettings(
    sizes=(64, 128, 256), families=("water", "dense"), processes=3, windows=3
)


@pytest.fixture(scope="module")
def record():
    return made("a")


def made(label, *, ends=None):
    machine = Machine(ends)
    (found,) = measure_ladders([configuration(label)], SETTINGS, run=machine)
    # No process ran, so nothing took time: as long as the windows are told to have.
    found = replace(found, wall_time_s=60.0)
    result = task_result(SETTINGS, found, conditions={"load_before": 0.1})
    subject = Subject(
        backend="dpbench",
        model=ModelFacts(
            digest="sha256:0", name="m", path="m.pth", parameters=1, type_map=("Al",)
        ),
        provenance={"run_id": "r", "seed": 1, "secret": "x"},
        precision="float64",
    )
    return speed_record(
        Competitor(configuration=configuration(label), subject=subject, facts=None),
        result,
        hardware=hardware_fingerprint(),
        software=software_fingerprint(),
        mode="smoke",
        command=("dpbench", "bench", "throughput"),
        kernels={},
    )


def elsewhere(record):
    return replace(record, hardware=replace(record.hardware, id="another"))


def test_a_record_comes_back_from_its_json(record):
    again = record_from_payload(record_to_payload(record), where="here")
    assert again == record_from_payload(record_to_payload(again), where="again")
    assert again.tasks["md_throughput"].samples["families"]["water"] is None
    assert record.provenance.run == {"run_id": "r", "seed": 1}


def test_the_protocol_tells_what_was_done(record):
    told = record.tasks["md_throughput"].protocol
    assert told["independent_processes"] == 3
    assert told["integrator"].startswith("Langevin")
    assert told["reference_natoms"] == 256
    assert told["load_before"] == 0.1
    assert record.tasks["md_throughput"].code.startswith("sha256:")


def test_processes_of_two_records_of_one_machine_join(record):
    summary = joined([record, record], family="dense", natoms=64)
    assert summary.n == 6
    assert summary.median == pytest.approx(10.1)


def test_times_of_different_hardware_are_never_averaged(record):
    """T6."""
    with pytest.raises(EvaluationError, match="never averaged"):
        joined([record, elsewhere(record)], family="dense", natoms=64)


@pytest.mark.parametrize(
    "other",
    [
        lambda r: replace(r, precision="float32"),
        lambda r: replace(
            r, tasks={"md_throughput": replace(r.tasks["md_throughput"], code="old")}
        ),
        lambda r: replace(r, model=replace(r.model, digest="sha256:1")),
    ],
)
def test_times_of_other_code_or_models_are_never_averaged(record, other):
    with pytest.raises(EvaluationError, match="never averaged"):
        joined([record, other(record)], family="dense", natoms=64)


def test_times_of_different_hardware_share_no_plot(record):
    """T6."""
    with pytest.raises(EvaluationError, match="machines"):
        curves_of([record, elsewhere(record)], "dense")


def claim(factor, natoms=100):
    seconds = factor * 10.1e-6 * natoms * 1000
    return Claim(what="a run", natoms=natoms, steps=1000, seconds=seconds)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.9])
def test_a_total_time_that_fits_the_ladder_is_not_flagged(record, factor):
    assert implausible(claim(factor), ladder_points(record)) is None


@pytest.mark.parametrize(("factor", "word"), [(0.4, "faster"), (2.5, "slower")])
def test_a_total_time_more_than_twice_off_is_flagged(record, factor, word):
    """T7, planted."""
    words = implausible(claim(factor), ladder_points(record))
    assert f"2.5 times {word}" in words


def test_nothing_is_extrapolated(record):
    """T7: beyond the ladder nothing is said, however odd the claim."""
    points = ladder_points(record)
    assert implausible(claim(1000, natoms=10_000), points) is None
    assert interpolated(points, 32) is None
    assert interpolated(points, 256) == pytest.approx(10.1)


def test_windows_that_take_longer_than_their_task_are_flagged(record):
    """T7, planted: a wall time that the samples contradict."""
    assert flags(record) == ()
    result = replace(record.tasks["md_throughput"], wall_time_s=0.01)
    (words,) = flags(replace(record, tasks={"md_throughput": result}))
    assert "more than the 0.01 s" in words


def test_the_plot_names_what_ended_a_ladder_and_escapes_it():
    planted = made("<script>alert(1)</script>", ends={})
    short = made("b", ends={("b", 256): "out_of_memory"})
    drawing = scaling_plot([planted, short], "dense")
    assert "<script>" not in drawing
    assert "out of memory at 256 atoms" in drawing
    assert scaling_plot([planted], "water") is None


def test_the_latency_of_a_curve_is_found():
    """A step of 500 µs + 2 µs per atom."""
    sizes = (64, 128, 4096)
    times = tuple(500 / n + 2 for n in sizes)
    curve = Curve(name="c", natoms=sizes, time=times, low=times, high=times)
    assert curve.latency_us == pytest.approx(500)
