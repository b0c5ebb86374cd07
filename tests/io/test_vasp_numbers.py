"""Columns of fixed width are read to the same bits as float() reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dpbench.io.readers.fixed_point import columns_of, numbers_of, parse_rows, to_float
from dpbench.io.readers.vasp.run import element_of


def row_of(values: tuple[float, ...]) -> bytes:
    xyz, force = values[:3], values[3:]
    text = "".join(f"{x:13.5f}" for x in xyz) + "   "
    return (text + "".join(f"{f:14.6f}" for f in force) + "\n").encode()


numbers = st.floats(-9999, 9999, allow_nan=False)


@given(st.lists(st.tuples(*[numbers] * 6), min_size=1, max_size=20))
def test_fixed_columns_have_the_bits_of_float(rows):
    lines = [row_of(row) for row in rows]
    columns = columns_of(lines[0], 6)
    parsed = parse_rows(lines, columns, width=len(lines[0]))
    expected = [[float(word) for word in line.split()] for line in lines]
    assert_array_equal(parsed, expected)
    # minus zero stays minus zero
    assert_array_equal(np.signbit(parsed), np.signbit(expected))


@pytest.mark.parametrize("bad", ["*****", "1-2.0", "  NaN", "1e5.1", "- 2.1", "2. 11"])
def test_what_is_no_fixed_number_is_left_to_the_slow_path(bad):
    good = row_of((1.0, -2.0, 3.5, 0.1, -0.2, 0.3))
    columns = columns_of(good, 6)
    row = good[: 13 - len(bad)] + bad.encode() + good[13:]
    assert len(row) == len(good)
    assert parse_rows([good, row], columns, width=len(good)) is None


def test_joined_numbers_and_stars_come_apart():
    assert numbers_of(b" 1.5-2.25-3.125 0.1D-02") == [1.5, -2.25, -3.125, 0.001]
    assert np.isnan(to_float(b"*****"))
    assert columns_of(b"1.0 2.0", 3) is None


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("Sn_d", "Sn"),
        ("H.75", "H"),
        ("H1.25", "H"),
        ("O_s_GW", "O"),
        ("Zr_sv", "Zr"),
        ("r", "Zr"),
        ("Qq", None),
        ("W_pv", "W"),
    ],
)
def test_potcar_names_tell_the_element(name, symbol):
    assert element_of(name) == symbol
