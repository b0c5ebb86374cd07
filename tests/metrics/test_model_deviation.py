"""Model deviation: hand-derived numbers, symmetries, the columns of the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpbench.metrics.model_deviation import (
    COLUMNS,
    Labels,
    model_devi_lines,
    model_deviation,
)

ROUNDING = 1e-12

moderate = st.floats(-50.0, 50.0, allow_nan=False, width=64)


@st.composite
def ensembles(draw):
    nmodels, natoms = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    return {
        "force": draw(arrays(np.float64, (nmodels, natoms, 3), elements=moderate)),
        "virial": draw(arrays(np.float64, (nmodels, 3, 3), elements=moderate)),
        "energy": draw(arrays(np.float64, (nmodels,), elements=moderate)),
    }


def deviation_of(ensemble, **options):
    return model_deviation(
        ensemble["force"],
        virial=ensemble["virial"],
        energy=ensemble["energy"],
        **options,
    )


def take(ensemble, order):
    return {name: values[order] for name, values in ensemble.items()}


def test_two_models_give_what_a_hand_computes():
    force = np.zeros((2, 2, 3))
    force[1, 0] = [6.0, 8.0, 0.0]  # half the difference is 5 long
    virial = np.zeros((2, 3, 3))
    virial[1, 0, 1] = 4.0  # half the difference of 4 eV on 2 atoms
    found = model_deviation(force, virial=virial, energy=np.array([1.0, 5.0]))
    assert found.max_devi_f == pytest.approx(5.0)
    assert found.min_devi_f == 0.0
    assert found.avg_devi_f == pytest.approx(2.5)
    assert found.max_devi_v == pytest.approx(1.0)
    assert found.min_devi_v == 0.0
    assert found.avg_devi_v == pytest.approx(1.0 / 3.0)  # sqrt(1/9)
    assert found.devi_e == pytest.approx(1.0)


def test_error_against_labels_is_the_root_mean_square_over_models():
    force = np.zeros((2, 1, 3))
    force[0, 0, 2], force[1, 0, 2] = 1.0, 7.0
    labels = Labels(force=np.zeros((1, 3)), virial=np.eye(3), energy=2.0)
    found = model_deviation(
        force, virial=np.zeros((2, 3, 3)), energy=np.array([5.0, 3.0]), labels=labels
    )
    assert found.max_devi_f == pytest.approx(5.0)  # sqrt((1 + 49)/2)
    assert found.devi_e == pytest.approx(np.sqrt(5.0))  # sqrt((9 + 1)/2)
    assert found.max_devi_v == pytest.approx(1.0)
    assert found.avg_devi_v == pytest.approx(np.sqrt(3.0) / 3.0)


def test_relative_deviation_divides_by_the_mean_and_the_level():
    force = np.zeros((2, 1, 3))
    force[0, 0, 0], force[1, 0, 0] = 2.0, 4.0
    virial = np.zeros((2, 3, 3))
    virial[0, 0, 0], virial[1, 0, 0] = 2.0, 4.0
    found = model_deviation(
        force,
        virial=virial,
        energy=np.zeros(2),
        relative=1.0,
        relative_virial=2.0,
    )
    assert found.max_devi_f == pytest.approx(1.0 / (3.0 + 1.0))
    assert found.max_devi_v == pytest.approx(1.0 / (3.0 + 2.0))


def test_relative_error_divides_by_the_label():
    force = np.full((2, 1, 3), 1.0)
    labels = Labels(force=np.array([[3.0, 4.0, 0.0]]), virial=np.eye(3), energy=np.nan)
    absolute = model_deviation(
        force, virial=None, energy=np.zeros(2), labels=labels
    ).max_devi_f
    relative = model_deviation(
        force, virial=None, energy=np.zeros(2), labels=labels, relative=1.0
    ).max_devi_f
    assert relative == pytest.approx(absolute / 6.0)


@given(ensembles(), st.integers(2, 5))
def test_equal_models_deviate_by_exactly_nothing(ensemble, count):
    same = take(ensemble, [0] * count)
    found = deviation_of(same)
    assert found.values == (0.0,) * len(COLUMNS)


@given(ensembles(), st.randoms(use_true_random=False))
def test_the_order_of_models_does_not_matter(ensemble, random):
    order = list(range(len(ensemble["energy"])))
    random.shuffle(order)
    first, second = deviation_of(ensemble), deviation_of(take(ensemble, order))
    np.testing.assert_allclose(first.values, second.values, 1e-9, 1e-9)


@given(ensembles(), st.randoms(use_true_random=False))
def test_the_order_of_atoms_does_not_matter(ensemble, random):
    order = list(range(ensemble["force"].shape[1]))
    random.shuffle(order)
    turned = ensemble | {"force": ensemble["force"][:, order]}
    first, second = deviation_of(ensemble), deviation_of(turned)
    np.testing.assert_allclose(first.values, second.values, ROUNDING, ROUNDING)
    np.testing.assert_array_equal(first.atom_devi_f[order], second.atom_devi_f)


@given(ensembles(), st.floats(0.0, 10.0))
def test_two_models_apart_by_d_deviate_by_half_of_it(ensemble, d):
    natoms = ensemble["force"].shape[1]
    pair = take(ensemble, [0, 0])
    pair = {name: values.copy() for name, values in pair.items()}
    pair["force"][1, 0, 2] += d
    pair["virial"][1] += d
    pair["energy"][1] += d
    found = deviation_of(pair)
    np.testing.assert_allclose(found.max_devi_f, d / 2, 0, 1e-12)
    np.testing.assert_allclose(found.avg_devi_f, d / 2 / natoms, 0, 1e-12)
    for value in (found.max_devi_v, found.min_devi_v, found.avg_devi_v, found.devi_e):
        np.testing.assert_allclose(value, d / 2 / natoms, 0, 1e-12)


@given(ensembles())
def test_smallest_mean_and_largest_are_in_order(ensemble):
    found = deviation_of(ensemble)
    slack = 1e-9
    assert found.min_devi_f <= found.avg_devi_f + slack <= found.max_devi_f + 2 * slack
    assert found.min_devi_v <= found.avg_devi_v + slack <= found.max_devi_v + 2 * slack


def test_a_missing_virial_is_nan_and_leaves_the_rest():
    force = np.random.default_rng(0).normal(size=(3, 2, 3))
    found = model_deviation(force, virial=None, energy=np.zeros(3))
    assert np.isnan(found.max_devi_v)
    assert np.isfinite(found.max_devi_f)


@pytest.mark.parametrize(
    ("force", "virial", "energy"),
    [
        ((2, 3), None, (2,)),
        ((2, 3, 3), None, (3,)),
        ((2, 3, 3), (2, 9), (2,)),
        ((2, 0, 3), None, (2,)),
        ((0, 2, 3), None, (0,)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(force, virial, energy):
    with pytest.raises(ValueError, match="shapes"):
        model_deviation(
            np.zeros(force),
            virial=None if virial is None else np.zeros(virial),
            energy=np.zeros(energy),
        )


def test_lines_are_those_of_deepmd_kit():
    # Seen in what DeePMD-kit 3.2.0 wrote.
    force = np.zeros((2, 2, 3))
    force[1, 0] = [6.0, 8.0, 0.0]
    found = model_deviation(force, virial=np.zeros((2, 3, 3)), energy=np.zeros(2))
    lines = list(model_devi_lines([7], [found], header="sys", atomic=True))
    assert lines[0] == "# sys"
    assert lines[1] == (
        "# step      max_devi_v         min_devi_v         avg_devi_v         "
        "max_devi_f         min_devi_f         avg_devi_f         devi_e             "
        "atm_devi_f(N)      "
    )
    assert lines[2].startswith("           7       0.000000e+00       0.000000e+00")
    assert lines[2].endswith("       5.000000e+00       0.000000e+00")
    assert len(lines[2]) == 12 + 19 * 9
