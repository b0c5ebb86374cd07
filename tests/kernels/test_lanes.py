"""Loops written in LLVM's vectors against plain numpy."""

import numpy as np
import pytest
from numba import njit

from dpbench.kernels.inference.lanes import add_moments, row_gradients

NEDGES, NPIECES = 9, 5
SPAN = (2, 8)


@njit
def moments(coefficients, rows, place, span, moment):
    add_moments(coefficients, rows, place, span, moment)


@njit
def gradients(coefficients, rows, place, span, x):
    row_gradients(coefficients, rows, place, span, x)


def problem(width, dtype):
    rng = np.random.default_rng(width)
    return (
        rng.normal(size=(NPIECES, 6, width)).astype(dtype),
        rng.normal(size=(5, NEDGES)).astype(dtype),
        rng.integers(0, NPIECES, NEDGES).astype(np.int32),
        rng.normal(size=(4, width)).astype(dtype),
    )


def tabulated(coefficients, rows, place):
    """Values and slopes of all edges, (edge, width), in float64."""
    x, n = rows[4].astype(float)[:, None, None], np.arange(6)[:, None]
    c = coefficients[place].astype(float)
    slope = c * n * x ** np.maximum(n - 1, 0)
    return (c * x**n).sum(axis=1), slope.sum(axis=1)


@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-13), ("float32", 2e-5)])
@pytest.mark.parametrize("width", [16, 32, 48, 64, 112, 240])
def test_loops_agree_with_plain_sums(width, dtype, tol):
    coefficients, rows, place, sums = problem(width, dtype)
    value, slope = tabulated(coefficients, rows, place)
    here = slice(*SPAN)

    moment = sums.copy()
    moments(coefficients, rows, place, SPAN, moment)
    expected = sums + rows[:4, here].astype(float) @ value[here]
    np.testing.assert_allclose(moment, expected, rtol=tol, atol=30 * tol)

    found = rows.copy()
    gradients(coefficients, found, place, SPAN, sums)
    along = (slope * (rows[:4].T.astype(float) @ sums)).sum(axis=1)
    expected = rows.astype(float)
    expected[:4, here] = (sums @ value.T)[:, here]
    expected[4, here] = along[here]
    np.testing.assert_allclose(found, expected, rtol=tol, atol=2000 * tol)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_edges_change_nothing(dtype):
    coefficients, rows, place, sums = problem(48, dtype)
    moment, found = sums.copy(), rows.copy()
    moments(coefficients, rows, place, (3, 3), moment)
    gradients(coefficients, found, place, (3, 3), sums)
    assert np.array_equal(moment, sums)
    assert np.array_equal(found, rows)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_nan_stays_one(dtype):
    coefficients, rows, place, sums = problem(48, dtype)
    rows[4, 4] = np.nan
    moments(coefficients, rows, place, SPAN, moment := sums.copy())
    gradients(coefficients, found := rows.copy(), place, SPAN, sums)
    assert np.isnan(moment).all()
    assert np.isnan(found[:, 4]).all()
    assert np.isfinite(found[:, 5]).all()
