import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.frames import uniform
from dpbench.metrics.accuracy import accuracy_metrics, element_metrics, group_metrics
from dpbench.metrics.definitions import METRICS
from dpbench.metrics.frame_errors import (
    FrameErrors,
    Predictions,
    frame_errors,
    merge_errors,
)
from dpbench.units import GPA
from tests.metrics.frames_for_metrics import random_frames, random_predictions

ELEMENTS = ("H", "O")


def values(errors: FrameErrors) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in accuracy_metrics(errors)}


@pytest.fixture
def hand_made():
    """Two frames of two H: errors that can be added up by hand."""
    frames = uniform(
        z=[1, 1],
        coord=np.zeros((2, 2, 3)),
        box=np.tile(np.eye(3) * 10.0, (2, 1, 1)),
        energy=np.array([-2.0, -4.0]),
        force=np.array([[[3.0, 0, 4.0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]),
        virial=np.zeros((2, 3, 3)),
    )
    predictions = Predictions(
        energy=np.array([-1.98, -4.04]),
        force=np.array([3.03, 0, 4.04, 0, 0, 0, 0, 0, 0, 0, 0, 0]).reshape(4, 3),
        virial=np.full((2, 3, 3), 0.2),
    )
    return frames, predictions


def test_definitions_by_hand(hand_made):
    got = values(frame_errors(*hand_made, elements=ELEMENTS))
    # energy errors per atom: +10 and -20 meV
    assert got["energy_rmse_per_atom_mev"] == pytest.approx(np.sqrt((100 + 400) / 2))
    assert got["energy_mae_per_atom_mev"] == pytest.approx(15.0)
    # one element: the shift is the mean, -5 meV/atom, so +-15 remain
    assert got["energy_shifted_rmse_per_atom_mev"] == pytest.approx(15.0)
    assert got["energy_fluctuation_rmse_per_atom_mev"] == pytest.approx(15.0)
    # force errors 30 and 40 meV/Å in 12 components of 4 atoms
    assert got["force_rmse_component_mev_per_ang"] == pytest.approx(
        np.sqrt((900 + 1600) / 12)
    )
    assert got["force_mae_component_mev_per_ang"] == pytest.approx(70 / 12)
    assert got["force_mae_vector_norm_mev_per_ang"] == pytest.approx(50 / 4)
    assert got["force_rmse_relative_percent"] == pytest.approx(1.0)
    assert got["virial_rmse_per_atom_mev"] == pytest.approx(100.0)
    assert got["stress_rmse_component_gpa"] == pytest.approx(0.2 / 1000 / GPA)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 23), max_size=6),
    order=st.permutations(range(23)),
)
def test_any_chunking_gives_the_same_bits(cuts, order):
    frames = random_frames(nframes=23)
    predictions = random_predictions(frames)
    group = np.arange(23) // 5
    whole = frame_errors(frames, predictions, elements=ELEMENTS, group=group)
    edges = [0, *sorted(cuts), 23]
    parts = []
    for low, high in itertools.pairwise(edges):
        rows = np.arange(low, high)
        atoms = slice(frames.atom_offset[low], frames.atom_offset[high])
        part = Predictions(
            energy=predictions.energy[rows],
            force=predictions.force[atoms],
            virial=predictions.virial[rows],
        )
        parts.append(
            frame_errors(
                frames.select(rows), part, elements=ELEMENTS, group=group[rows]
            )
        )
    assert accuracy_metrics(merge_errors(parts)) == accuracy_metrics(whole)
    shuffled = values(whole.select(np.array(order)))
    for name, value in values(whole).items():
        assert shuffled[name] == pytest.approx(value, rel=1e-12)


def test_missing_labels_give_null_and_never_zero():
    frames = random_frames(nframes=6)
    predictions = random_predictions(frames)
    nan = np.full_like
    bare = replace(
        frames,
        energy=nan(frames.energy, np.nan),
        force=nan(frames.force, np.nan),
        virial=nan(frames.virial, np.nan),
    )
    for metric in accuracy_metrics(frame_errors(bare, predictions, elements=ELEMENTS)):
        assert metric.value is None
        assert metric.n == 0


def test_unlabelled_frames_do_not_dilute_the_others():
    frames = random_frames(nframes=6)
    predictions = random_predictions(frames)
    energy, virial = frames.energy.copy(), frames.virial.copy()
    energy[3:], virial[3:] = np.nan, np.nan
    force = frames.force.copy()
    force[frames.atom_offset[3] :] = np.nan
    partly = replace(frames, energy=energy, force=force, virial=virial)
    got = values(frame_errors(partly, predictions, elements=ELEMENTS))
    first = np.arange(3)
    expected = values(
        frame_errors(frames, predictions, elements=ELEMENTS).select(first)
    )
    assert got == expected


def test_a_frame_without_cell_has_a_virial_error_but_no_stress_error():
    frames = random_frames(nframes=3)
    bare = replace(
        frames, box=np.full_like(frames.box, np.nan), pbc=np.zeros_like(frames.pbc)
    )
    got = values(frame_errors(bare, random_predictions(frames), elements=ELEMENTS))
    assert got["virial_rmse_per_atom_mev"] is not None
    assert got["stress_rmse_component_gpa"] is None


@pytest.mark.parametrize("field", ["energy", "force", "virial"])
def test_a_prediction_that_is_nan_is_infinitely_wrong(field):
    frames = random_frames(nframes=8)
    predictions = random_predictions(frames)
    broken = getattr(predictions, field).copy()
    broken[0] = np.nan
    got = values(
        frame_errors(frames, replace(predictions, **{field: broken}), elements=ELEMENTS)
    )
    affected = [name for name in got if name.startswith(field)]
    assert affected
    assert all(got[name] == np.inf for name in affected if "relative" not in name)


def test_raw_energy_keeps_an_offset_that_shifted_removes():
    frames = random_frames(nframes=30)
    noise = random_predictions(frames)
    nhydrogen = np.array([(frames.z[frames.atoms_of(i)] == 1).sum() for i in range(30)])
    moved = replace(noise, energy=noise.energy + 7.0 * nhydrogen)
    before = values(frame_errors(frames, noise, elements=ELEMENTS))
    after = values(frame_errors(frames, moved, elements=ELEMENTS))
    name = "energy_shifted_rmse_per_atom_mev"
    assert after[name] == pytest.approx(before[name], rel=1e-9)
    assert after["energy_rmse_per_atom_mev"] > before["energy_rmse_per_atom_mev"]


def test_fluctuation_leaves_out_sources_of_one_frame():
    frames = random_frames(nframes=4)
    predictions = random_predictions(frames)
    alone = frame_errors(frames, predictions, elements=ELEMENTS, group=np.arange(4))
    assert values(alone)["energy_fluctuation_rmse_per_atom_mev"] is None
    paired = frame_errors(
        frames, predictions, elements=ELEMENTS, group=np.array([0, 0, 1, 2])
    )
    metrics = {metric.name: metric for metric in accuracy_metrics(paired)}
    assert metrics["energy_fluctuation_rmse_per_atom_mev"].n == 2


def test_element_rows_add_up_to_the_whole():
    frames = random_frames(nframes=10)
    errors = frame_errors(frames, random_predictions(frames), elements=ELEMENTS)
    name = "force_rmse_component_mev_per_ang"
    parts = [
        {m.name: m for m in element_metrics(errors, symbol)}[name]
        for symbol in ELEMENTS
    ]
    square = sum(part.value**2 * part.n for part in parts)
    n = sum(part.n for part in parts)
    assert np.sqrt(square / n) == pytest.approx(values(errors)[name], rel=1e-12)


def test_group_metrics_are_those_of_the_frames_alone():
    frames = random_frames(nframes=10)
    group = np.array([0] * 4 + [1] * 6)
    errors = frame_errors(
        frames, random_predictions(frames), elements=ELEMENTS, group=group
    )
    one = {metric.name: metric.value for metric in group_metrics(errors, 1)}
    alone = values(errors.select(np.arange(4, 10)))
    assert one == {name: alone[name] for name in one}


def test_interval_holds_the_value_and_shrinks_with_more_frames():
    name = "force_rmse_component_mev_per_ang"
    widths = []
    for nframes in (20, 500):
        frames = random_frames(nframes=nframes)
        errors = frame_errors(
            frames,
            random_predictions(frames),
            elements=ELEMENTS,
            group=np.arange(nframes),
        )
        metric = {m.name: m for m in accuracy_metrics(errors)}[name]
        assert metric.ci_low < metric.value < metric.ci_high
        assert metric.nblocks == pytest.approx(nframes, rel=0.3)
        widths.append(metric.ci_high - metric.ci_low)
    assert widths[1] < widths[0] / 2


def test_a_single_frame_has_no_interval():
    frames = random_frames(nframes=1)
    errors = frame_errors(frames, random_predictions(frames), elements=ELEMENTS)
    metrics = accuracy_metrics(errors)
    assert all(metric.ci_low is None for metric in metrics)
    assert {metric.nblocks for metric in metrics} <= {1, None}


def test_names_carry_their_unit():
    suffix = {
        "meV/atom": ("_per_atom_mev",),
        "meV/Å": ("_mev_per_ang",),
        "%": ("_percent",),
        "GPa": ("_gpa",),
        "meV/atom/ps": ("_mev_per_atom_ps",),
        "µs/atom/step": ("_us_per_atom_step",),
    }
    for name, definition in METRICS.items():
        if definition.unit == "1":  # a pure number has no unit to carry
            assert not any(name.endswith(end) for (end,) in suffix.values()), name
        elif definition.unit in suffix:
            assert name.endswith(suffix[definition.unit]), name
        else:
            word = definition.unit.split("/")[0].lower().replace("å", "ang")
            assert word in name, (name, definition.unit)


def test_blocks_with_other_elements_are_refused():
    frames = random_frames(nframes=2)
    predictions = random_predictions(frames)
    parts = [
        frame_errors(frames, predictions, elements=elements)
        for elements in (("H", "O"), ("O", "H"))
    ]
    with pytest.raises(ValueError, match="elements"):
        merge_errors(parts)
