"""The ab initio runs that ship with dpbench, as references (E3)."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from dpbench.eval.motion.references import Choice, references_of
from tests.eval.motion.conftest import make_part

CHOICE = Choice(most=9, most_frames=5000, discard=0.2, interval=None, temperature=None)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    shipped = sorted(Path(str(files("dpbench") / "_demo")).glob("*a540*.out.gz"))
    _, whole = make_part(tmp_path_factory.mktemp("silicon"), "qe", shipped)
    return whole


def test_equipartition_reads_what_pw_x_prints_within_two_percent(part, figures):
    """E3: the clock of a real run, checked against the motion of its atoms."""
    found, refused = references_of(part, CHOICE)
    assert len(found) == 3
    assert not refused
    for reference in found:
        assert reference.interval == pytest.approx(1.9351, abs=1e-4)
        assert reference.nframes == 96
        assert not reference.remarks
        assert reference.pressure is not None
        ratio = reference.equipartition_temperature / reference.told_temperature
        assert ratio == pytest.approx(1, abs=0.02)
        figures(f"{Path(reference.source).name}: {ratio:.4f} of the printed K")


@pytest.mark.parametrize("factor", [0.5, 2, 10])
def test_a_wrong_clock_of_a_real_run_is_refuted(part, factor):
    """Planted: frames said to lie further apart, or nearer, than they do."""
    wrong = replace(CHOICE, interval=1.9351 * factor)
    for reference in references_of(part, wrong)[0]:
        assert reference.interval is None
        assert "the interval is wrong" in reference.remarks[0]
