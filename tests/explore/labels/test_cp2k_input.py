"""Templates of CP2K keep what is not edited, and get the frame."""

import numpy as np
import pytest

from dpbench.errors import ConfigError
from dpbench.explore.labels.cp2k_input import parse, render
from dpbench.explore.labels.cp2k_template import canonical, input_of, kinds_of, uses_ot
from dpbench.frames import uniform
from dpbench.io.readers.cp2k.input import read_input, theory_of_input

TEMPLATE = """\
@SET CUT 200
&GLOBAL
  RUN_TYPE MD   ! a run of the user
  PROJECT water
&END GLOBAL
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    BASIS_SET_FILE_NAME BASIS_OF_MINE
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF ${CUT}
    &END MGRID
    &SCF
      SCF_GUESS RESTART
      MAX_SCF 40
      EPS_SCF 1.0E-6
      &OT
        MINIMIZER DIIS
      &END OT
    &END
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC 5 5 5
    &END CELL
    &COORD
      @INCLUDE coord.xyz
    &END COORD
    &KIND O
      BASIS_SET DZVP-MOLOPT-GTH
      POTENTIAL GTH-PBE-q6
    &END KIND
    &KIND H
      BASIS_SET DZVP-MOLOPT-GTH
      POTENTIAL GTH-PBE-q1
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
&MOTION
  &MD
    STEPS 100
  &END MD
&END MOTION
"""


@pytest.fixture
def water():
    coord = np.array([[[0.0, 0.0, 0.0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]]])
    box = np.array([[[6.0, 0.0, 0.0], [0.5, 6.0, 0.0], [0.0, 0.0, 7.0]]])
    return uniform(z=[8, 1, 1], coord=coord, box=box)


def test_unedited_input_has_the_same_lines():
    lines = [line.strip() for line in TEMPLATE.splitlines()]
    again = [line.strip() for line in render(parse(TEMPLATE, where="t")).splitlines()]
    lines[lines.index("&END")] = "&END SCF"
    assert again == lines


def test_frame_stands_in_the_input_with_ten_decimals(water):
    root = read_input(input_of(parse(TEMPLATE, where="t"), water))
    cell = root.find("FORCE_EVAL", "SUBSYS", "CELL")
    assert cell.values["B"] == "0.5000000000 6.0000000000 0.0000000000"
    assert cell.values["PERIODIC"] == "XYZ"
    text = input_of(parse(TEMPLATE, where="t"), water)
    assert text.count("&COORD") == 1
    assert "H 0.0000000000 -0.7600000000 0.5900000000" in text
    assert "coord.xyz" not in text


def test_run_becomes_a_single_point_with_forces_and_stress(water):
    text = input_of(parse(TEMPLATE, where="t"), water)
    root = read_input(text)
    assert root.find("GLOBAL").values["RUN_TYPE"] == "ENERGY_FORCE"
    assert root.find("FORCE_EVAL").values["STRESS_TENSOR"] == "ANALYTICAL"
    assert root.find("FORCE_EVAL", "PRINT", "FORCES").parameter == "ON"
    assert root.find("FORCE_EVAL", "DFT", "SCF").values["SCF_GUESS"] == "ATOMIC"
    assert root.find("MOTION") is None


def test_repeated_keywords_stay_repeated(water):
    text = input_of(parse(TEMPLATE, where="t"), water)
    assert text.count("BASIS_SET_FILE_NAME") == 2


def test_level_of_theory_is_that_of_the_template(water):
    written = input_of(parse(TEMPLATE, where="t"), water)
    plain = TEMPLATE.replace("@INCLUDE coord.xyz", "")
    assert theory_of_input(written) == theory_of_input(plain)


def test_remedies_leave_the_thresholds_and_the_level_of_theory(water):
    template = parse(TEMPLATE, where="t")
    plain = input_of(template, water)
    remedies = ("outer_loop", "conjugate_gradient", "full_preconditioner")
    text = input_of(template, water, remedies)
    scf = read_input(text).find("FORCE_EVAL", "DFT", "SCF")
    assert scf.values["EPS_SCF"] == "1.0E-6"
    assert scf.find("OUTER_SCF").values["EPS_SCF"] == "1.0E-6"
    assert scf.find("OT").values["MINIMIZER"] == "CG"
    assert theory_of_input(text) == theory_of_input(plain)
    assert input_of(template, water) == plain, "the template was changed"


def test_what_decides_a_label_has_no_comments_blanks_or_geometry():
    other = TEMPLATE.replace("  ", "   ").replace("ABC 5 5 5", "ABC 9 9 9")
    other = other.replace("MINIMIZER DIIS", "MINIMIZER DIIS ! fast")
    template = parse(TEMPLATE, where="t")
    assert canonical(parse(other, where="t")) == canonical(template)
    deeper = TEMPLATE.replace("@SET CUT 200", "@SET CUT 300")
    assert canonical(parse(deeper, where="t")) != canonical(template)
    assert uses_ot(template)
    assert kinds_of(template) == ("O", "H")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("&GLOBAL\n&DFT\n&END GLOBAL\n", r"line 3: '&END GLOBAL' where &DFT is open"),
        ("&END\n", r"line 1: '&END' where no section is"),
        ("&GLOBAL\n", r"&GLOBAL is never closed"),
    ],
)
def test_unbalanced_sections_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text, where="t")
