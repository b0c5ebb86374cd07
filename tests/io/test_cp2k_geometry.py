"""Cell and positions of a CP2K single point: the input's digits, where it agrees."""

import numpy as np
import pytest

from dpbench.io.readers.cp2k.geometry import sharpened

INPUT = """\
&FORCE_EVAL
  &DFT
  &END DFT
  &SUBSYS
    &CELL
      A 5.1234567891 0.0 0.0
      B 0.1234567891 5.0 0.0
      C 0.0 0.3333333333 6.0
      PERIODIC XYZ
    &END CELL
    &COORD
      O 0.1234567891 0.2 -0.3   ! the first
      H 1.0 1.1111111111 1.2E0
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""
BOX = np.array([[5.1234567891, 0, 0], [0.1234567891, 5, 0], [0, 0.3333333333, 6]])
COORD = np.array([[0.1234567891, 0.2, -0.3], [1.0, 1.1111111111, 1.2]])
ELEMENTS = ("O", "H")
LOG = (ELEMENTS, np.round(COORD, 6), np.round(BOX, 3))


def test_digits_of_the_input_are_taken():
    coord, box = sharpened(*LOG, input_text=INPUT)
    assert np.array_equal(coord, COORD)
    assert np.array_equal(box, BOX)


def test_log_stands_where_there_is_no_input():
    coord, box = sharpened(*LOG, input_text=None)
    assert coord is LOG[1]
    assert box is LOG[2]


@pytest.mark.parametrize(
    ("change", "kept_coord", "kept_box"),
    [
        (("0.1234567891 0.2", "0.1235567891 0.2"), True, False),
        (("A 5.1234567891", "A 5.1334567891"), False, True),
        (("A 5.1234567891 0.0 0.0", "A [bohr] 5.1234567891 0.0 0.0"), False, True),
        (("A 5.1234567891 0.0 0.0", "ABC 5 5 5"), False, True),
        (("&COORD", "&COORD\n      SCALED T"), True, False),
        (("      H 1.0", "      He 1.0"), True, False),
        (("      H 1.0 1.1111111111 1.2E0\n", ""), True, False),
        (("      O 0.1234567891 0.2 -0.3", "      @INCLUDE water.xyz"), True, True),
    ],
)
def test_input_that_says_something_else_is_not_believed(change, kept_coord, kept_box):
    assert change[0] in INPUT
    coord, box = sharpened(*LOG, input_text=INPUT.replace(*change))
    assert (coord is LOG[1]) == kept_coord
    assert (box is LOG[2]) == kept_box


def test_frame_without_a_cell_stays_without():
    coord, box = sharpened(ELEMENTS, LOG[1], None, input_text=INPUT)
    assert np.array_equal(coord, COORD)
    assert box is None
