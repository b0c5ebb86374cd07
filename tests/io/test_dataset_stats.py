import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.frames import concatenate, uniform
from dpbench.io.dataset_stats import Moments, measure, nearest_distance, statistics
from dpbench.store.dataset import open_dataset
from dpbench.units import GPA
from tests.store.synthetic import new_workspace, trajectories

VALUES = st.lists(st.floats(-1e3, 1e3), max_size=20)


@given(one=VALUES, other=VALUES)
def test_merged_moments_are_those_of_all_values(one, other):
    merged = (Moments.of(np.array(one)) + Moments.of(np.array(other))).to_json()
    values = np.array(one + other)
    if not len(values):
        assert merged is None
        return
    expected = {
        "n": len(values),
        "mean": values.mean(),
        "std": values.std(),
        "rms": np.sqrt((values**2).mean()),
        "min": values.min(),
        "max": values.max(),
    }
    assert merged == pytest.approx(expected, rel=1e-9, abs=1e-5)


def test_nearest_distance_sees_images_and_open_cells():
    coord = np.array([[[0.1, 0, 0], [2.9, 0, 0]]])
    box = np.eye(3)[None] * 3.0
    assert nearest_distance(uniform(z=[1, 1], coord=coord, box=box), 0) == (
        pytest.approx(0.2)
    )
    assert nearest_distance(uniform(z=[1, 1], coord=coord), 0) == pytest.approx(2.8)
    single = uniform(z=[1], coord=coord[:, :1])
    assert np.isnan(nearest_distance(single, 0))


def test_quantities_of_a_known_frame():
    frame = uniform(
        z=[1, 8],
        coord=np.array([[[0.0, 0, 0], [0, 0, 1]]]),
        box=np.eye(3)[None] * 2.0,
        energy=np.array([-6.0]),
        force=np.array([[[3.0, 4.0, 0], [-3.0, -4.0, 0]]]),
        virial=np.eye(3)[None] * 8.0 * GPA,
    )
    values = measure(frame)
    assert values["energy_per_atom_ev"] == [-3.0]
    assert values["force_magnitude_ev_per_angstrom"].tolist() == [5.0, 5.0]
    assert values["volume_per_atom_angstrom3"] == pytest.approx([4.0])
    assert values["pressure_gpa"] == pytest.approx([1.0])


def test_missing_labels_are_left_out():
    coord = np.zeros((1, 1, 3))
    labelled = uniform(z=[1], coord=coord, energy=np.array([2.0]))
    both = concatenate([labelled, uniform(z=[1], coord=coord)])
    moments = Moments.of(measure(both)["energy_per_atom_ev"])
    assert (moments.n, moments.mean) == (1, 2.0)


def test_statistics_cover_a_version(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [3, 4])
    version = open_dataset(workspace, "t")
    found = statistics(version)["quantities"]
    frames = version.read(range(7))
    expected = float(np.sqrt((frames.force**2).mean()))
    assert found["force_component_ev_per_angstrom"]["rms"] == pytest.approx(expected)
    assert found["natoms"] == {
        "n": 7,
        "mean": 4.0,
        "std": 0.0,
        "rms": 4.0,
        "min": 4.0,
        "max": 4.0,
    }
