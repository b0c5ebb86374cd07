import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.speed.lammps_log import lammps_timings, last_digit

MANUAL = """\
Loop time of 0.942801 on 4 procs for 300 steps with 2004 atoms

Performance: 54.985 ns/day, 0.436 hours/ns, 318.201 timesteps/s, 637.674 katom-step/s
195.2% CPU use with 2 MPI tasks x 2 OpenMP threads
"""
"""LAMMPS manual, "Screen and logfile output"."""


def test_the_manuals_log_gives_its_own_rate():
    """T1: 1e6 * loop / (steps * atoms) agrees with katom-step/s to what is printed."""
    (found,) = lammps_timings(MANUAL)
    assert found.us_per_atom_step == pytest.approx(1e6 * 0.942801 / (300 * 2004))
    printed = found.katom_step_per_s
    assert 1e3 / found.us_per_atom_step == pytest.approx(printed, abs=2e-3)
    assert (found.procs, found.steps, found.natoms) == (4, 300, 2004)


def test_a_rate_that_contradicts_the_loop_time_is_an_error():
    """T1, planted: one digit of the loop time changed."""
    with pytest.raises(EvaluationError, match="damaged"):
        lammps_timings(MANUAL.replace("0.942801", "0.943801"))


@pytest.mark.parametrize(
    ("rate", "katom"),
    [("637.674 katom-step/s", 637.674), ("0.638 Matom-step/s", 638)],
)
def test_rates_are_read_in_every_unit_that_lammps_prints(rate, katom):
    (found,) = lammps_timings(MANUAL.replace("637.674 katom-step/s", rate))
    assert found.katom_step_per_s == pytest.approx(katom)


def test_every_run_of_a_log_is_read_and_an_empty_one_left_out():
    empty = MANUAL.replace("300 steps", "0 steps").replace("0.942801", "1e-06")
    twice = (
        MANUAL + empty + MANUAL.replace("300", "600").replace("0.942801", "1.885602")
    )
    assert [timing.steps for timing in lammps_timings(twice)] == [300, 600]


def test_an_old_log_without_the_rate_is_read():
    old = MANUAL.replace(", 637.674 katom-step/s", "")
    (found,) = lammps_timings(old)
    assert found.katom_step_per_s is None
    assert found.us_per_atom_step == pytest.approx(1.5682, rel=1e-4)


def test_reduced_units_have_no_hours():
    reduced = MANUAL.replace("54.985 ns/day, 0.436 hours/ns", "54.985 tau/day")
    assert lammps_timings(reduced)[0].katom_step_per_s == pytest.approx(637.674)


@pytest.mark.parametrize("text", ["", "ERROR: Lost atoms", "Loop time of x on"])
def test_a_log_without_a_run_is_one_clear_line(text):
    with pytest.raises(EvaluationError, match="Loop time"):
        lammps_timings(text, where="log.lammps")


@pytest.mark.parametrize(
    ("text", "digit"), [("318.201", 1e-3), ("42", 1), ("1.5e-05", 1e-6)]
)
def test_the_last_printed_digit_is_known(text, digit):
    assert last_digit(text) == pytest.approx(digit)
