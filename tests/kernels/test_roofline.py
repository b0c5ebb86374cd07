"""Counted work against counts made by hand, and the measured peak."""

import pytest
import torch

from dpbench.kernels.roofline import (
    JET_UNITS,
    VALUE_UNITS,
    EmbeddingShape,
    Peak,
    StepShape,
    fused_passes,
    md_step,
    measure_peak,
    total,
    training_step,
)

ATOMS, NEIGHBOURS = 192, 90


def water(knots: int = 0) -> StepShape:
    """The water example of DeePMD-kit: 192 atoms, about 90 neighbours each."""
    embedding = EmbeddingShape(
        edges=ATOMS * NEIGHBOURS,
        neuron=(25, 50, 100),
        axis=16,
        nets=2,
        knots=2 * knots,
    )
    return StepShape(
        atoms=ATOMS,
        embeddings=(embedding,),
        fitting=(240, 240, 240),
        itemsize=8,
        fittings=2,
    )


def by_kernel(works):
    return {work.kernel: work for work in works}


def per_atom(works) -> float:
    return total(works).flops / ATOMS


def test_an_md_step_of_water_costs_what_the_plan_says():
    """4.5 M plain, 2.5 M compressed, of which the fitting net 2.0 M an atom."""
    assert per_atom(md_step(water(), tabulated=False)) == pytest.approx(4.5e6, rel=0.02)
    works = md_step(water(), tabulated=True)
    assert per_atom(works) == pytest.approx(2.5e6, rel=0.02)
    assert by_kernel(works)["fitting"].flops / ATOMS == pytest.approx(2.0e6, rel=0.01)


def test_a_training_step_of_water_costs_what_the_plan_says():
    """13.5 M with the exact embedding, 7.8 to 8.6 M tabulated at 512 or 1024 knots."""
    exact = training_step(water(), tabulated=False)
    assert per_atom(exact) == pytest.approx(13.5e6, rel=0.02)
    few, many = (training_step(water(k), tabulated=True) for k in (512, 1024))
    assert 7.8e6 < per_atom(few) < per_atom(many) < 8.7e6


def test_knots_cost_a_third_where_only_values_are_evaluated():
    jets, values = (
        by_kernel(training_step(water(256), tabulated=True, knot_units=units))
        for units in (JET_UNITS, VALUE_UNITS)
    )
    assert jets["knots"].flops == 9 * 2 * 512 * (25 + 25 * 50 + 50 * 100)
    assert values["knots"].flops == jets["knots"].flops / 3
    assert values["fitting"] == jets["fitting"]


def test_a_net_counted_by_hand():
    """1-3-6 embedding on 10 edges, D of 6 x 2, fitting 12-5-1 on 2 atoms."""
    shape = StepShape(
        atoms=2,
        embeddings=(EmbeddingShape(edges=10, neuron=(3, 6), axis=2),),
        fitting=(5,),
        itemsize=4,
        parameters=100,
    )
    md = by_kernel(md_step(shape, tabulated=False))
    assert md["embedding"].flops == 2 * 10 * 2 * (1 * 3 + 3 * 6)
    assert md["fitting"].flops == 2 * 2 * 2 * (12 * 5 + 5 * 1)
    assert md["passes"].flops == 10 * 6 * (8 + 18)
    assert md["descriptor"].flops == 3 * 2 * (2 * 4 * 6 * 2)
    training = by_kernel(training_step(shape, tabulated=False))
    assert training["embedding"].flops == 3 * md["embedding"].flops
    assert training["fitting"].flops == 3 * md["fitting"].flops
    assert training["passes"].flops == 10 * 6 * (8 + 18 + 17 + 25)
    assert training["optimiser"].bytes == 7 * 4 * 100
    # one unit of the fitting net: weights, and the rows in and out of each layer
    assert md["fitting"].bytes == 2 * 4 * ((60 + 5) + 2 * (12 + 5 + 5 + 1))


def test_tables_cost_the_same_whatever_the_net():
    small, large = (
        StepShape(
            atoms=2,
            embeddings=(EmbeddingShape(edges=10, neuron=neuron, axis=2, knots=4),),
            fitting=(5,),
            itemsize=4,
        )
        for neuron in ((3, 6), (300, 6))
    )
    tables = [
        by_kernel(md_step(shape, tabulated=True))["tables"] for shape in (small, large)
    ]
    assert tables[0] == tables[1]
    assert tables[0].flops == 10 * 6 * (10 + 18)


def test_a_descriptor_of_distances_only_has_one_row():
    shape = StepShape(
        atoms=2,
        embeddings=(EmbeddingShape(edges=10, neuron=(3, 6), axis=None),),
        fitting=(5,),
        itemsize=8,
    )
    assert shape.inputs == 6
    assert by_kernel(md_step(shape, tabulated=True))["descriptor"].flops == 0


def test_descriptors_side_by_side_add_up():
    one = water().embeddings[0]
    both = StepShape(
        atoms=ATOMS,
        embeddings=(one, one),
        fitting=(240, 240, 240),
        itemsize=8,
        fittings=2,
    )
    assert both.inputs == 2 * water().inputs
    single, double = (
        by_kernel(md_step(shape, tabulated=False)) for shape in (water(), both)
    )
    for kernel in ("embedding", "passes", "descriptor", "environment"):
        assert double[kernel].flops == 2 * single[kernel].flops


def test_the_fraction_is_that_of_the_lower_roof():
    peak = Peak(
        device="cpu",
        dtype="float64",
        threads=1,
        products={"1 x 1 x 1": 10.0, "2 x 2 x 2": 50.0},
        copy_gb_s=20.0,
        triad_gb_s=25.0,
    )
    assert peak.gflop_s == 50.0
    assert peak.fraction(25e9, 0, 1.0) == pytest.approx(0.5)
    assert peak.fraction(25e9, 20e9, 1.0) == pytest.approx(0.8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_peak_names_what_was_measured(dtype):
    peak = measure_peak(dtype, products=[(8, 16, 4)], seconds=0.002, with_streams=False)
    assert set(peak.products) == {"8 x 16 x 4", "768 x 768 x 768"}
    assert all(speed > 0 for speed in peak.products.values())
    assert peak.gb_s is None
    assert (peak.dtype, peak.threads) == (
        str(dtype).removeprefix("torch."),
        torch.get_num_threads(),
    )


def test_memory_is_measured_as_bytes_read_and_written(monkeypatch):
    monkeypatch.setattr("dpbench.kernels.roofline.machine.STREAM_BYTES", 2**20)
    peak = measure_peak(torch.float64, seconds=0.002)
    assert peak.copy_gb_s is not None
    assert peak.triad_gb_s is not None
    assert peak.gb_s == max(peak.copy_gb_s, peak.triad_gb_s) > 0


def test_the_passes_one_by_one_are_those_of_a_step():
    shape = water(1024)
    parts = fused_passes(shape)
    step = by_kernel(training_step(shape, tabulated=True))
    whole = total([step["tables"], step["passes"]])
    assert list(parts) == ["P1", "P2", "P3", "P4"]
    assert sum(work.flops for work in parts.values()) == pytest.approx(whole.flops)
    assert sum(work.bytes for work in parts.values()) == pytest.approx(whole.bytes)
