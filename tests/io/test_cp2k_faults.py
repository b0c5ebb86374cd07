"""Planted faults in CP2K logs and trajectories, and formats no sample covers."""

import random
import re

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.cp2k.reader import read
from dpbench.units import BAR, BOHR, GPA

NAMES = ("cp2k.log", "w8-1.cell", "w8-pos-1.xyz", "w8-frc-1.xyz")


@pytest.fixture(scope="module")
def texts(shared_data):
    """Log and trajectories of five MD steps, by name."""
    folder = shared_data / "generated/other_codes/cp2k_xtb_medium_log"
    return {name: (folder / name).read_text() for name in NAMES}


@pytest.fixture
def parse(tmp_path, texts):
    def run(without=(), **changed):
        """Read the files; ``log=``, ``pos=``, ``frc=``, ``cell=`` replace one."""
        paths = []
        for name, text in texts.items():
            key = next(k for k in ("log", "pos", "frc", "cell") if k in name)
            if key in without:
                continue
            path = tmp_path / name
            path.write_text(changed.get(key, text))
            paths.append(path)
        return read(SourceFiles(format="cp2k", paths=tuple(paths)))

    return run


def nth(text, needle, n):
    """Offset of the n-th ``needle``."""
    return [m.start() for m in re.finditer(re.escape(needle), text)][n]


def replaced(text, needle, n, new):
    at = nth(text, needle, n)
    return text[:at] + new + text[at + len(needle) :]


def shifted(text, pattern, *, digits):
    """Raise every energy (second group of ``pattern``) by 1 mHa."""
    return re.sub(pattern, lambda m: f"{m[1]}{float(m[2]) + 0.001:.{digits}f}", text)


def reasons(source):
    return [str(reason) for reason in source.quarantine]


def test_an_unconverged_step_is_flagged_alone(texts, parse):
    log = replaced(
        texts["cp2k.log"], "SCF run converged in", 2, "SCF run NOT converged in"
    )
    source = parse(log=log)
    assert reasons(source) == ["", "", "unconverged", "", ""]
    np.testing.assert_array_equal(source.frames.energy, parse().frames.energy)


def test_a_failed_outer_loop_is_unconverged(texts, parse):
    failed = "  Leaving inner SCF loop after reaching    30 steps.\n"
    failed += "  outer SCF loop FAILED to converge after  10 iterations or  300 steps\n"
    line = re.findall(
        r"  \*\*\* SCF run converged in +\d+ steps \*\*\*\n", texts["cp2k.log"]
    )
    source = parse(log=replaced(texts["cp2k.log"], line[3], 0, failed))
    assert reasons(source).count("unconverged") == 1


def test_an_outer_loop_may_mend_what_the_inner_left(texts, parse):
    at = nth(texts["cp2k.log"], "  *** SCF run converged", 2)
    inner = "  Leaving inner SCF loop after reaching    30 steps.\n"
    log = texts["cp2k.log"][:at] + inner + texts["cp2k.log"][at:]
    assert reasons(parse(log=log)) == [""] * 5


def test_a_step_without_verdict_is_not_passed_on(texts, parse):
    log = replaced(texts["cp2k.log"], "SCF run converged in", 1, "SCF run lost in")
    assert reasons(parse(log=log)) == ["", "unconverged", "", "", ""]


def test_a_log_that_was_cut_leaves_later_frames_without_verdict(texts, parse):
    log = texts["cp2k.log"]
    source = parse(log=log[: nth(log, "SCF WAVEFUNCTION", 3)])
    assert reasons(source) == ["", "", "", "truncated", "truncated"]
    assert not source.complete


@pytest.mark.parametrize("cut", ["pos", "frc", "log"])
def test_a_cut_anywhere_never_gives_a_wrong_label(texts, parse, cut):
    whole = parse().frames
    name = next(name for name in NAMES if cut in name)
    rng = random.Random(2)
    end = len(texts[name]) - (2000 if cut == "log" else 1)
    for stop in (rng.randrange(end) for _ in range(60)):
        try:
            source = parse(**{cut: texts[name][:stop]})
        except SourceError:
            continue
        good = [i for i, reason in enumerate(source.quarantine) if not reason]
        a, b = source.frames.select(good), whole.select(good)
        np.testing.assert_array_equal(a.energy, b.energy)
        # without a trajectory the log's own digits remain: six and eight decimals
        np.testing.assert_allclose(a.coord, b.coord, rtol=0, atol=1e-6)
        np.testing.assert_allclose(a.force, b.force, rtol=0, atol=1e-6)
        known = a.has_virial
        np.testing.assert_allclose(a.virial[known], b.virial[known], rtol=1e-12)


def test_the_cut_frame_of_a_killed_run_is_kept_and_flagged(texts, parse):
    pos = texts["w8-pos-1.xyz"]
    cut = nth(pos, " i = ", 4) + 900
    source = parse(pos=pos[:cut])
    assert reasons(source) == ["", "", "", "", "truncated"]
    coord = source.frames.coord[source.frames.atoms_of(4)]
    assert np.isfinite(coord[0]).all()
    assert np.isnan(coord[-1]).all()


def test_forces_that_were_cut_come_from_the_log_if_it_has_them(texts, parse):
    frc = texts["w8-frc-1.xyz"]
    cut = frc[: nth(frc, " i = ", 4) + 900]
    assert reasons(parse(frc=cut)) == [""] * 5
    silent = re.sub(r" ATOMIC FORCES in(.|\n)*?SUM OF ATOMIC", "", texts["cp2k.log"])
    source = parse(frc=cut, log=silent)
    assert reasons(source) == ["", "", "", "", "truncated"]


def test_energies_that_contradict_are_a_mismatch(texts, parse):
    pos = texts["w8-pos-1.xyz"]
    start, stop = nth(pos, " i = ", 2), nth(pos, " i = ", 3)
    frame = shifted(pos[start:stop], r"(E = +)(-46\.\d+)", digits=10)
    changed = pos[:start] + frame + pos[stop:]
    source = parse(pos=changed)
    assert reasons(source) == ["", "", "mismatch", "", ""]
    assert any("contradict in 1 frames" in note for note in source.notes)


def as_wide(row, lines):
    """A row as CP2K would print it: as wide as all others of its table."""
    return row.ljust(len(lines[2]) - 1) + "\n"


def test_forces_that_contradict_are_a_mismatch(texts, parse):
    frc = texts["w8-frc-1.xyz"]
    lines = frc.splitlines(keepends=True)
    lines[26 * 3 + 2] = as_wide("  O 0.1 0.1 0.1", lines)
    assert reasons(parse(frc="".join(lines))) == ["", "", "", "mismatch", ""]


def test_positions_that_contradict_the_first_of_the_log_are_a_mismatch(texts, parse):
    pos = texts["w8-pos-1.xyz"].replace("1.5534500000", "1.5634500000", 1)
    assert reasons(parse(pos=pos)) == ["mismatch", "", "", "", ""]


def test_positions_in_bohr_are_told_by_the_log(texts, parse):
    def row(match):
        numbers = "".join(f"{float(x) / BOHR:20.10f}" for x in match[2].split())
        return f"{match[1]}{numbers}\n"

    pattern = r"^( +[OH])((?: +-?\d+\.\d+){3})\n"
    pos = re.sub(pattern, row, texts["w8-pos-1.xyz"], flags=re.M)
    source, whole = parse(pos=pos), parse()
    assert reasons(source) == [""] * 5
    np.testing.assert_allclose(source.frames.coord, whole.frames.coord, atol=1e-9)
    assert any("in bohr" in note for note in source.notes)


def test_forces_that_are_written_more_rarely_are_missing_not_cut(texts, parse):
    frc = texts["w8-frc-1.xyz"].splitlines(keepends=True)
    even = "".join("".join(frc[26 * i : 26 * (i + 1)]) for i in (0, 2, 4))
    log = re.sub(r" ATOMIC FORCES in(.|\n)*?SUM OF ATOMIC", "", texts["cp2k.log"])
    source = parse(frc=even, log=log)
    assert reasons(source) == ["", "no_force", "", "no_force", ""]


def test_nan_in_a_trajectory_is_flagged(texts, parse):
    frc = texts["w8-frc-1.xyz"].splitlines(keepends=True)
    frc[26 + 2] = as_wide("  O  NaN  0.0 ************", frc)
    log = re.sub(r" ATOMIC FORCES in(.|\n)*?SUM OF ATOMIC", "", texts["cp2k.log"])
    source = parse(frc="".join(frc), log=log)
    assert reasons(source) == ["", "nan", "", "", ""]


def test_a_repeated_restart_is_kept_once(texts, parse):
    doubled = {
        key: text * 2
        for key, text in zip(("log", "cell", "pos", "frc"), texts.values(), strict=True)
    }
    source = parse(**doubled)
    assert reasons(source) == [""] * 5 + ["repeated"] * 5
    assert source.step.tolist() == [0, 1, 2, 3, 4] * 2


def test_a_restart_that_went_another_way_is_kept_whole(texts, parse):
    """Steps that were computed again with other velocities are frames of their own."""
    other = dict(texts)
    for name in ("w8-pos-1.xyz", "w8-frc-1.xyz"):
        other[name] = shifted(other[name], r"(E = +)(-46\.\d+)", digits=10)
    pattern = r"(energy \[a\.u\.\]: +)(-46\.\d+)"
    other["cp2k.log"] = shifted(other["cp2k.log"], pattern, digits=15)
    keys = ("log", "cell", "pos", "frc")
    pairs = zip(keys, texts.values(), other.values(), strict=True)
    source = parse(**{key: a + b for key, a, b in pairs})
    assert reasons(source) == [""] * 10


def test_steps_come_from_the_run_not_from_the_count(texts, parse):
    """A log that starts at a restart's step 41 belongs to frames 40 to 44."""
    changed = {
        "log": re.sub(
            r"(MD\| Step number +)(\d+)",
            lambda m: m[1] + str(int(m[2]) + 40),
            texts["cp2k.log"],
        )
    }
    for key, name in (("pos", "w8-pos-1.xyz"), ("frc", "w8-frc-1.xyz")):
        changed[key] = re.sub(
            r" i = +(\d+)", lambda m: f" i = {int(m[1]) + 40}", texts[name]
        )
    changed["cell"] = re.sub(
        r"^( +)(\d+) ",
        lambda m: f"{m[1]}{int(m[2]) + 40} ",
        texts["w8-1.cell"],
        flags=re.M,
    )
    source = parse(**changed)
    assert source.step.tolist() == [40, 41, 42, 43, 44]
    assert reasons(source) == [""] * 5
    np.testing.assert_array_equal(source.frames.energy, parse().frames.energy)


def test_a_trajectory_without_log_is_a_named_failure(parse):
    with pytest.raises(SourceError, match="no log of CP2K"):
        parse(without=("log",))


def test_a_log_without_positions_gives_its_first_frame_and_says_so(parse):
    source = parse(without=("pos", "frc", "cell"))
    assert source.frames.nframes == 1
    assert reasons(source) == [""]
    assert any("4 later steps have no positions" in note for note in source.notes)


def test_a_force_field_is_not_dft(texts, parse):
    log = texts["cp2k.log"].replace("FORCE_EVAL ( QS )", "FORCE_EVAL ( FIST )")
    assert set(reasons(parse(log=log))) == {"not_dft"}


@pytest.mark.parametrize(("unit", "scale"), [("GPa", GPA), ("bar", BAR)])
def test_stress_is_read_in_the_unit_it_names(texts, parse, unit, scale):
    log = texts["cp2k.log"].replace("stress tensor [GPa]", f"stress tensor [{unit}]")
    ratio = parse(log=log).frames.virial / parse().frames.virial
    np.testing.assert_allclose(ratio, scale / GPA, rtol=1e-12)


def test_an_unknown_unit_of_stress_is_not_guessed(texts, parse):
    log = texts["cp2k.log"].replace("stress tensor [GPa]", "stress tensor [oz/ft]")
    source = parse(log=log)
    assert not source.frames.has_virial.any()
    assert reasons(source) == [""] * 5


def test_no_periodicity_is_no_cell(texts, parse):
    log = re.sub(
        r"CELL\| Periodicity( +) XYZ", r"CELL| Periodicity\1NONE", texts["cp2k.log"]
    )
    frames = parse(log=log, without=()).frames
    assert np.isnan(frames.box).all()
    assert not frames.pbc.any()
    assert not frames.has_virial.any()


def test_a_slab_is_periodic_in_two_directions(texts, parse):
    log = re.sub(
        r"CELL\| Periodicity( +) XYZ", r"CELL| Periodicity\1 XY", texts["cp2k.log"]
    )
    frames = parse(log=log).frames
    assert frames.pbc.tolist() == [[True, True, False]] * 5
    assert np.isfinite(frames.box).all()
