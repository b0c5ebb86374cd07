"""Planted faults in pw.x outputs: each is found, and harms its own frame alone."""

import random
import re

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.qe.reader import read


@pytest.fixture(scope="module")
def relax(shared_data):
    """A relaxation of six frames, as text."""
    return (shared_data / "generated/qe_fixtures/si8_relax.out").read_text()


@pytest.fixture(scope="module")
def relax_input(shared_data):
    return (shared_data / "generated/qe_fixtures/si8_relax.in").read_text()


@pytest.fixture
def parse(tmp_path):
    def run(text, beside=None):
        out = tmp_path / "pw.out"
        out.write_text(text)
        paths = [out]
        if beside is not None:
            paths.append(tmp_path / "pw.in")
            paths[1].write_text(beside)
        return read(SourceFiles(format="qe", paths=tuple(paths)))

    return run


def nth(text, needle, n):
    """Offset of the n-th ``needle``."""
    return [m.start() for m in re.finditer(re.escape(needle), text)][n]


def replaced(text, needle, n, new):
    at = nth(text, needle, n)
    return text[:at] + new + text[at + len(needle) :]


def assert_only(source, index, reason, whole):
    """The frame has the reason; all other frames are those of the whole output."""
    expected = [Quarantine.NONE] * whole.frames.nframes
    expected[index] = reason
    assert list(source.quarantine) == expected
    others = [i for i in range(whole.frames.nframes) if i != index]
    a, b = source.frames.select(others), whole.frames.select(others)
    for name in ("coord", "force", "energy", "virial", "box"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_cut_anywhere_never_gives_a_wrong_label(relax, parse):
    whole = parse(relax).frames
    rng = random.Random(1)
    end = relax.index("JOB DONE")
    seen = set()
    for cut in (rng.randrange(end) for _ in range(150)):
        try:
            source = parse(relax[:cut])
        except SourceError:
            continue
        frames = source.frames
        assert not source.complete
        assert set(source.quarantine[:-1]) <= {Quarantine.NONE}
        good = [i for i, reason in enumerate(source.quarantine) if not reason]
        seen.add(source.quarantine[-1])
        a, b = frames.select(good), whole.select(good)
        for name in ("coord", "force", "energy", "box"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        known = a.has_virial
        np.testing.assert_array_equal(a.virial[known], b.virial[known])
        assert known[:-1].all()
    assert seen == {Quarantine.NONE, Quarantine.TRUNCATED}


def test_an_unconverged_step_is_flagged_alone(relax, parse):
    text = replaced(
        relax,
        "convergence has been achieved in",
        2,
        "convergence NOT achieved after",
    )
    assert_only(parse(text), 2, Quarantine.UNCONVERGED, parse(relax))


def test_an_scf_without_verdict_is_not_passed_on(relax, parse):
    text = replaced(relax, "convergence has been achieved in", 2, "lost in")
    assert_only(parse(text), 2, Quarantine.UNCONVERGED, parse(relax))


def test_a_run_out_of_time_is_not_passed_on(relax, parse):
    cut = nth(relax, "!    total energy", 5)
    end = "     Maximum CPU time exceeded\n\n   JOB DONE.\n"
    source = parse(relax[:cut] + end)
    assert source.complete
    assert list(source.quarantine) == [Quarantine.NONE] * 5 + [Quarantine.UNCONVERGED]


@pytest.mark.parametrize("value", ["**************", "           NaN"])
def test_overflow_and_nan_are_flagged(relax, parse, value):
    at = relax.index("force = ", nth(relax, "Forces acting", 1)) + len("force = ")
    text = relax[:at] + value + relax[at + 14 :]
    source = parse(text)
    assert_only(source, 1, Quarantine.NOT_A_NUMBER, parse(relax))
    assert np.isnan(source.frames.force[source.frames.atoms_of(1)]).sum() == 1


def test_stars_for_an_energy_are_flagged(relax, parse):
    at = nth(relax, "!    total energy              =", 3)
    text = relax[: at + 32] + "*****************" + relax[at + 49 :]
    assert_only(parse(text), 3, Quarantine.NOT_A_NUMBER, parse(relax))


def test_forces_whose_columns_ran_together_are_read(relax, parse):
    at = relax.index("force = ", nth(relax, "Forces acting", 1)) + len("force = ")
    row = " -100.12345678-1234.50000000-9999.00000000"
    source = parse(relax[:at] + row + relax[at + 42 :])
    row = source.frames.force[source.frames.atoms_of(1)][0]
    np.testing.assert_allclose(row / row[0], [1, 12.33001, 99.8677], rtol=1e-4)


def test_missing_forces_are_named(relax, parse):
    assert parse(relax).frames.nframes == 6
    start, stop = nth(relax, "Forces acting", 5), nth(relax, "Total force =", 5)
    source = parse(relax[:start] + relax[stop:])
    assert source.quarantine[-1] is Quarantine.NO_FORCE


def test_a_missing_stress_costs_the_virial_alone(relax, parse):
    text = replaced(relax, "total   stress", 2, "no stress here")
    source, whole = parse(text), parse(relax)
    assert set(source.quarantine) == {Quarantine.NONE}
    assert source.frames.has_virial.tolist() == [True, True, False, True, True, True]
    np.testing.assert_array_equal(source.frames.force, whole.frames.force)


def test_contributions_to_the_force_are_not_read_for_it(relax, parse):
    """With verbosity = high the same lines come again for every contribution."""
    whole = parse(relax)
    table = re.search(r"((?: +atom .*\n){8})\n +Total force", relax)[1]
    noise = table.replace("0.", "7.")
    text = re.sub(
        r"((?: +atom .*\n){8})(\n +Total force)",
        lambda m: m[1] + "     The ionic contribution  to forces\n" + noise + m[2],
        relax,
    )
    assert text != relax
    np.testing.assert_array_equal(parse(text).frames.force, whole.frames.force)


@pytest.mark.parametrize("unit", ["bohr", "alat", "crystal"])
def test_positions_are_read_in_every_unit(relax, parse, unit):
    whole = parse(relax).frames
    scale = {"bohr": 1 / 0.529177210903, "alat": 1 / 5.4, "crystal": 1 / 5.4}[unit]

    def card(match):
        rows = []
        for row in match[1].splitlines():
            label, *numbers = row.split()
            numbers = [f"{float(x) * scale:20.12f}" for x in numbers]
            rows.append(" ".join([label, *numbers]))
        return f"ATOMIC_POSITIONS ({unit})\n" + "\n".join(rows) + "\n"

    text = re.sub(r"ATOMIC_POSITIONS \(angstrom\)\n((?:Si .*\n){8})", card, relax)
    np.testing.assert_allclose(parse(text).frames.coord, whole.coord, atol=1e-6)


@pytest.mark.parametrize(
    ("title", "scale"),
    [("(angstrom)", 5.3), ("(bohr)", 10.0), ("(alat= 10.20452050)", 0.99), ("alat", 1)],
)
def test_cells_are_read_in_every_unit(relax, parse, title, scale):
    rows = "".join(
        "".join(f"{x:14.9f}" for x in row) + "\n" for row in scale * np.eye(3)
    )
    card = f"CELL_PARAMETERS {title}\n{rows}\nATOMIC_POSITIONS"
    boxes = parse(relax.replace("ATOMIC_POSITIONS", card)).frames.box
    unit = {"(angstrom)": 1, "(bohr)": 0.529177210903}.get(title, 5.4)
    np.testing.assert_allclose(boxes[0, 0, 0], 5.4, rtol=1e-7)
    np.testing.assert_allclose(boxes[1:, 0, 0], scale * unit, rtol=1e-7)


def test_lost_or_damaged_cell_is_quarantined(relax, parse):
    rows = "".join("".join(f"{x:14.9f}" for x in row) + "\n" for row in 5.3 * np.eye(3))
    card = f"CELL_PARAMETERS (angstrom)\n{rows}\nATOMIC_POSITIONS"
    text = relax.replace("ATOMIC_POSITIONS", card)
    whole = [str(r) for r in parse(text).quarantine]
    assert set(whole) == {""}
    lost = replaced(text, card, 1, "ATOMIC_POSITIONS")
    cut = replaced(text, rows, 1, rows[:43] + rows[86:])
    for damaged in (lost, cut):
        found = [str(r) for r in parse(damaged).quarantine]
        assert found == [*whole[:2], "nan", *whole[3:]]


def test_appended_restarts_are_read_one_behind_the_other(relax, parse):
    once, twice = parse(relax), parse(relax + relax)
    assert twice.frames.nframes == 12
    np.testing.assert_array_equal(twice.frames.energy[6:], once.frames.energy)
    np.testing.assert_array_equal(twice.frames.coord[48:], once.frames.coord)


def test_an_input_of_other_positions_costs_the_first_frame(relax, relax_input, parse):
    beside = relax_input.replace("Si 0.05 0.02 0", "Si 0.05 0.03 0")
    assert beside != relax_input
    source = parse(relax, beside)
    assert_only(source, 0, Quarantine.MISMATCH, parse(relax, relax_input))
    assert any("other positions" in note for note in source.notes)


def test_an_input_of_other_atoms_costs_all_frames(relax, relax_input, parse):
    beside = relax_input.replace("Si 4.05 4.05 1.35", "Ge 4.05 4.05 1.35")
    source = parse(relax, beside)
    assert set(source.quarantine) == {Quarantine.MISMATCH}


def test_a_restarted_input_is_not_held_to_its_positions(relax, relax_input, parse):
    beside = relax_input.replace("Si 0.05 0.02 0", "Si 0.05 0.03 0").replace(
        "calculation='relax'", "calculation='relax'\n restart_mode='restart'"
    )
    assert set(parse(relax, beside).quarantine) == {Quarantine.NONE}


def test_numbered_species_are_elements(relax, parse):
    text = relax.replace("Si  tau(   1)", "Si1 tau(   1)")
    source = parse(text)
    assert source.frames.symbols == ("Si",)


def test_an_unknown_species_is_named(relax, parse):
    with pytest.raises(SourceError, match="unknown element 'Qq'"):
        parse(relax.replace("Si  tau(   1)", "Qq  tau(   1)"))


@pytest.mark.parametrize("text", ["", "no output of any code\n", "\0\1\2" * 50])
def test_what_is_no_output_is_refused(parse, text):
    with pytest.raises(SourceError, match=r"pw\.out"):
        parse(text)


def test_a_run_that_ended_before_its_scf_is_a_named_failure(relax, parse):
    with pytest.raises(SourceError, match="started SCF"):
        parse(relax[: relax.index("Self-consistent")])


def test_a_restart_that_changes_a_setting_is_kept_apart(relax, parse):
    changed = relax.replace("=      18.0000  Ry", "=      25.0000  Ry")
    assert changed != relax
    whole = parse(relax)
    source = parse(relax + changed)
    n = whole.frames.nframes
    assert set(source.quarantine[:n]) == {Quarantine.NONE}
    assert set(source.quarantine[n:]) == {Quarantine.MISMATCH}
    assert any("run 2 changes cutoff" in note for note in source.notes)
