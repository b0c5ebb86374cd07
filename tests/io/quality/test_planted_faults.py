"""Every planted fault is found, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.frames import uniform
from dpbench.io.quality import duplicates
from dpbench.io.quality.thresholds import Thresholds
from dpbench.units import BOHR, HARTREE
from tests.io.quality.faulty_sets import (
    appended,
    breathing_run,
    changed,
    energy_volume_curve,
    judged,
    moved_labels,
    open_run,
    raised,
    with_pressure,
)
from tests.io.quality.twin_makers import npy_runs, one_frame, small_steps, twin_of


@pytest.fixture(scope="module")
def silicon(shared_data):
    """Three runs of silicon, 60 frames each."""
    names = ("si8_a540_300K", "si8_a540_900K", "si8_a540_1500K")
    runs = dict(npy_runs(shared_data, "si8_qe_lda"))
    return {name: runs[name].select(np.arange(60)) for name in names}


def verdict_of(quality, run):
    (entry,) = [
        e for e in quality.checks["trajectory"] if e["source"] == f"runs/{run}.out"
    ]
    return entry


def test_clean_runs_have_no_flag(tmp_path, silicon):
    _, quality = judged(tmp_path, silicon)
    assert raised(quality) == {}
    assert [e["verdict"] for e in quality.checks["trajectory"]] == ["ok"] * 3
    slopes = np.array([e["slope"] for e in quality.checks["trajectory"]])
    assert np.abs(slopes - 1).max() < 1e-3


@pytest.mark.parametrize(
    ("by", "names", "cause"),
    [
        (1, ("force",), "forces stand one frame late"),
        (-1, ("force",), "forces stand one frame early"),
        (1, ("energy",), "energies stand one frame late"),
        (-1, ("energy",), "energies stand one frame early"),
        (1, ("energy", "force"), "positions stand one frame early"),
        (-1, ("energy", "force"), "positions stand one frame late"),
    ],
)
def test_labels_of_a_neighbouring_frame_are_found(tmp_path, silicon, by, names, cause):
    bad = "si8_a540_900K"
    runs = {**silicon, bad: moved_labels(silicon[bad], by, *names)}
    version, quality = judged(tmp_path, runs)
    assert raised(quality) == {"trajectory": 60}
    entry = verdict_of(quality, bad)
    assert (entry["verdict"], entry["cause"].split(",")[0]) == ("misaligned", cause)
    flagged = {version.sources[s].path for s in version.source_of[quality.flags > 0]}
    assert flagged == {f"runs/{bad}.out"}


@pytest.mark.parametrize(
    ("factors", "cause", "also"),
    [
        ({"force": BOHR / HARTREE}, "forces are Hartree/Bohr", {}),
        ({"force": 2 * BOHR / HARTREE}, "forces are Rydberg/Bohr", {}),
        ({"force": -1.0}, "forces have the wrong sign", {}),
        ({"force": 1.7}, "forces times positions are 1.70", {}),
        ({"energy": 1 / HARTREE}, "energies are Hartree", {"energy_outlier": 60}),
        ({"energy": 2 / HARTREE}, "energies are Rydberg", {"energy_outlier": 60}),
        ({"energy": 1 / 8}, "energies are per atom", {"energy_outlier": 60}),
        ({"coord": 1 / BOHR, "box": 1 / BOHR}, "positions are Bohr", {"units": 60}),
    ],
)
def test_wrong_units_are_found_and_named(tmp_path, silicon, factors, cause, also):
    bad = "si8_a540_1500K"
    values = {key: getattr(silicon[bad], key) * by for key, by in factors.items()}
    runs = {**silicon, bad: replace(silicon[bad], **values)}
    _, quality = judged(tmp_path, runs)
    found = raised(quality)
    # Forces of 0.02 eV/Å among those of 1 eV/Å are no outliers: too small harms none.
    assert found == {"trajectory": 60, **also}
    entry = verdict_of(quality, bad)
    assert entry["verdict"] == "units"
    assert entry["cause"].startswith(cause)


def test_shift_and_unit_together_are_both_named(tmp_path, silicon):
    bad = "si8_a540_900K"
    late = moved_labels(silicon[bad], 1, "force")
    runs = {**silicon, bad: replace(late, force=late.force * BOHR / HARTREE)}
    _, quality = judged(tmp_path, runs)
    cause = verdict_of(quality, bad)["cause"]
    assert cause.startswith("forces stand one frame late; once aligned, forces are Har")


def test_atom_on_top_of_another_is_found(tmp_path, silicon):
    run = silicon["si8_a540_300K"]
    coord = run.coord[run.atoms_of(20)].copy()
    coord[3] = coord[5] + [0.2, 0.1, 0.2] + 2 * run.box[20][1]
    _, quality = judged(
        tmp_path, {**silicon, "si8_a540_300K": changed(run, 20, coord=coord)}
    )
    assert raised(quality) == {"min_distance": 1}
    assert quality.of("min_distance").tolist() == [20]
    assert quality.values["min_distance"][20] == pytest.approx(0.3, abs=1e-6)


def test_net_force_is_found(tmp_path, silicon):
    run = silicon["si8_a540_300K"]
    force = run.force[run.atoms_of(7)].copy()
    force[2] += [0.0, 0.3, 0.4]
    _, quality = judged(
        tmp_path, {**silicon, "si8_a540_300K": changed(run, 7, force=force)}
    )
    assert raised(quality) == {"net_force": 1}
    assert quality.values["net_force"][7] == pytest.approx(0.5, abs=1e-5)


def test_energy_outlier_is_found_and_spoils_no_trajectory(tmp_path, silicon):
    run = silicon["si8_a540_900K"]
    runs = {**silicon, "si8_a540_900K": changed(run, 30, energy=run.energy[30] + 40)}
    _, quality = judged(tmp_path, runs)
    assert raised(quality) == {"energy_outlier": 1}
    assert quality.worst("energy_outlier", 3).tolist() == [90]
    assert quality.values["energy_residual"][90] == pytest.approx(5.0, abs=0.2)


def test_force_outlier_is_found(tmp_path, silicon):
    run = silicon["si8_a540_900K"]
    force = run.force[run.atoms_of(11)].copy()
    force[:2] += np.array([[300.0, 0, 0], [-300.0, 0, 0]])
    runs = {**silicon, "si8_a540_900K": changed(run, 11, force=force)}
    _, quality = judged(tmp_path, runs)
    assert raised(quality) == {"force_outlier": 1, "units": 1}
    assert quality.of("force_outlier").tolist() == [71]


def test_duplicates_are_found_exact_and_turned(tmp_path, silicon):
    rng = np.random.default_rng(0)
    run = silicon["si8_a540_300K"]
    relabelled = replace(one_frame(run, 4), energy=run.energy[[4]] + 1e-3)
    twin = twin_of(one_frame(run, 9), rng)
    runs = {**silicon, "more": appended(relabelled, twin)}
    _, quality = judged(tmp_path, runs)
    assert raised(quality) == {"duplicate_exact": 1, "duplicate_invariant": 1}
    assert quality.of("duplicate_exact").tolist() == [180]
    assert quality.of("duplicate_invariant").tolist() == [181]
    assert quality.values["duplicate_of"][[180, 181]].tolist() == [4, 9]
    assert quality.checks["relabelled"] == [180]


def test_virial_beyond_any_matter_is_found(tmp_path):
    run = breathing_run()
    bad = changed(run, 3, virial=run.virial[3] + 1e4 * np.eye(3))
    _, quality = judged(tmp_path, {"run": bad})
    assert raised(quality) == {"units": 1}


def test_wrapped_atoms_are_followed(tmp_path, silicon):
    rng = np.random.default_rng(1)
    run = silicon["si8_a540_900K"]
    whole = rng.integers(-1, 2, (run.nframes, 8, 3)) @ run.box
    _, quality = judged(
        tmp_path, {"run": replace(run, coord=run.coord + whole.reshape(-1, 3))}
    )
    assert raised(quality) == {}
    assert verdict_of(quality, "run")["r"] > 0.99999


def test_strain_work_is_counted_where_the_cell_changes(tmp_path):
    _, quality = judged(tmp_path, {"run": breathing_run()})
    assert raised(quality) == {}
    entry = verdict_of(quality, "run")
    assert entry["verdict"] == "ok"
    assert entry["r"] > 0.9999
    assert entry["slope"] == pytest.approx(1, abs=1e-2)


def test_virial_of_the_wrong_sign_is_found(tmp_path):
    run = breathing_run()
    _, quality = judged(tmp_path, {"run": replace(run, virial=-run.virial)})
    assert "trajectory" in raised(quality)


def test_changing_cell_without_virial_is_skipped_and_said(tmp_path):
    run = breathing_run()
    _, quality = judged(tmp_path, {"run": replace(run, virial=run.virial * np.nan)})
    assert raised(quality) == {}
    reasons = {(s["check"], s["reason"]) for s in quality.checks["skipped"]}
    assert ("trajectory", "the cell changes and there is no virial") in reasons


def test_long_steps_and_single_frames_are_skipped_and_said(tmp_path, silicon):
    run = silicon["si8_a540_1500K"]
    sparse = run.select(np.arange(0, 60, 8))
    runs = {"sparse": sparse, "one": one_frame(silicon["si8_a540_300K"], 0)}
    _, quality = judged(tmp_path, runs)
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert any("steps are too long" in reason for reason in reasons)
    assert "one frame" in reasons
    assert "one volume" in reasons
    _, quality = judged(tmp_path / "few", {"few": run.select(np.arange(3))})
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert "fewer than 5 frames with a bond length" in reasons
    assert "no energy, or too few frames" in reasons


def test_frames_too_far_apart_in_time_are_skipped_and_said(tmp_path, silicon):
    runs = {"slow": silicon["si8_a540_300K"]}
    version, quality = judged(tmp_path / "5", runs, time_step=5.0)
    assert version.sources[0].time_step == 5.0
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert "frames are 5 fs apart" in reasons
    assert quality.checks["trajectory"] == []
    _, quality = judged(tmp_path / "2", runs, time_step=2.0)
    assert [entry["verdict"] for entry in quality.checks["trajectory"]] == ["ok"]


@pytest.mark.parametrize("pressure", [5.0, -3.0])
def test_pulay_stress_is_found(tmp_path, pressure):
    curve = energy_volume_curve()
    _, quality = judged(tmp_path, {"curve": with_pressure(curve, pressure)})
    assert raised(quality) == {"pulay_stress": 9}
    (entry,) = quality.checks["volume"]
    assert entry["difference"] == pytest.approx(-pressure, abs=0.2)


def test_exact_pressures_pass(tmp_path):
    _, quality = judged(tmp_path, {"curve": energy_volume_curve()})
    assert raised(quality) == {}
    (entry,) = quality.checks["volume"]
    assert (entry["verdict"], entry["n_volumes"]) == ("ok", 9)
    assert abs(entry["difference"]) < 0.2


def test_thermal_frames_at_two_volumes_tell_a_pulay_stress(tmp_path, shared_data):
    runs = dict(npy_runs(shared_data, "almg_qe_lda"))
    names = ("Al4_fcc_300K", "Al4_fcc_1500K", "Al4_fcc_900K")
    clean = {name: runs[name] for name in names}
    _, quality = judged(tmp_path / "clean", clean)
    assert raised(quality) == {}
    bad = {name: with_pressure(frames, 8.0) for name, frames in clean.items()}
    _, quality = judged(tmp_path / "bad", bad)
    assert raised(quality) == {"pulay_stress": 150}


def test_constant_composition_is_called_rank_deficient(tmp_path, shared_data):
    runs = dict(npy_runs(shared_data, "water8_cp2k_pbe"))
    _, quality = judged(tmp_path, runs)
    (fit,) = quality.checks["energy"]
    assert (fit["rank"], fit["elements"], fit["is_deficient"]) == (1, ["H", "O"], True)


def test_true_net_forces_of_a_coarse_grid_are_flagged(tmp_path, shared_data):
    runs = dict(npy_runs(shared_data, "water8_cp2k_pbe"))
    _, quality = judged(tmp_path, runs)
    assert set(raised(quality)) == {"net_force"}
    assert quality.counts["net_force"] > 50
    assert quality.values["net_force"].max() > 0.8


def test_thresholds_decide(tmp_path, silicon):
    limits = Thresholds(min_distance=2.2, net_force=0.0)
    version, quality = judged(tmp_path, silicon, thresholds=limits)
    nearest = quality.values["min_distance"]
    assert quality.counts["min_distance"] == int((nearest < 2.2).sum()) > 0
    assert quality.counts["net_force"] > 0
    assert quality.n_flagged == np.count_nonzero(quality.flags) <= version.nframes


def test_constant_energies_and_absent_work_are_inconsistent(tmp_path, silicon):
    run = silicon["si8_a540_900K"]
    flat = replace(run, energy=np.full(run.nframes, run.energy.mean()))
    pulled_by_nothing = replace(run, force=np.zeros_like(run.force))
    version, quality = judged(tmp_path, {"flat": flat, "none": pulled_by_nothing})
    assert raised(quality)["trajectory"] == version.nframes
    assert verdict_of(quality, "flat")["slope"] == pytest.approx(0, abs=1e-9)
    assert verdict_of(quality, "none")["slope"] is None


def test_energies_that_hardly_change_are_not_judged(tmp_path, silicon):
    run = silicon["si8_a540_900K"]
    rng = np.random.default_rng(0)
    still = replace(
        run,
        energy=run.energy[0] + 1e-4 * rng.normal(size=run.nframes),
        force=run.force * 1e-4,
    )
    _, quality = judged(tmp_path, {"still": still})
    assert quality.counts["trajectory"] == 0
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert "energies and work change by less than 0.001 eV" in reasons


OPEN = [(False, False, False), (True, True, False), (False, True, False)]


@pytest.mark.parametrize("pbc", OPEN)
def test_open_directions_are_followed_and_faults_found(tmp_path, pbc):
    run = open_run(pbc)
    bad = moved_labels(run, 1, "force")
    _, quality = judged(tmp_path, {"run": run, "bad": bad})
    good, wrong = verdict_of(quality, "run"), verdict_of(quality, "bad")
    assert (good["verdict"], wrong["verdict"]) == ("ok", "misaligned")
    assert good["r"] > 0.999


def test_an_open_cell_that_changes_is_skipped(tmp_path):
    _, quality = judged(tmp_path, {"run": open_run((True, True, False), growth=1e-3)})
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert "the cell changes and there is no virial" in reasons
    assert quality.counts["trajectory"] == 0


def test_sources_of_changing_composition_are_no_trajectories(tmp_path, silicon):
    run = silicon["si8_a540_300K"]
    other = breathing_run(nframes=6)
    mixed = [
        one_frame(run, i // 2) if i % 2 else one_frame(other, i // 2)
        for i in (range(10))
    ]
    _, quality = judged(tmp_path, {"mixed": appended(*mixed)})
    reasons = [s["reason"] for s in quality.checks["skipped"]]
    assert "no frame follows another with the same atoms" in reasons


def test_creeping_frames_are_not_linked_from_end_to_end(tmp_path, silicon):
    creep = small_steps(one_frame(silicon["si8_a540_300K"], 0), 6, 0.9e-4)
    runs = {f"file{i}": one_frame(creep, i) for i in range(6)}
    _, quality = judged(tmp_path, runs)
    # Every third frame is too far from the last one that was kept.
    of = quality.values["duplicate_of"]
    assert of.tolist() == [-1, 0, 0, -1, 3, 3]


def test_structures_alike_within_the_cutoff_alone_are_refuted(tmp_path):
    box = 60 * np.eye(3)[None]
    pair = np.array([[0, 0, 0], [1.2, 0, 0]])
    frames = [
        uniform(
            z=[7] * 4,
            coord=np.concatenate([pair, pair + np.array([apart, 3.0, 0])])[None],
            box=box,
            energy=np.zeros(1),
            force=np.zeros((1, 4, 3)),
        )
        for apart in (20.0, 22.0)
    ]
    _, quality = judged(tmp_path, {"pairs": appended(*frames)})
    assert quality.checks["twins"]["refuted"] == 1
    assert quality.counts["duplicate_invariant"] == 0


def test_twins_beyond_those_confirmed_are_flagged_and_counted(
    tmp_path, silicon, monkeypatch
):
    monkeypatch.setattr(duplicates, "MOST_CONFIRMED", 2)
    rng = np.random.default_rng(5)
    run = silicon["si8_a540_300K"]
    twins = [twin_of(one_frame(run, i), rng) for i in range(4)]
    _, quality = judged(tmp_path, {"run": run, "twins": appended(*twins)})
    assert quality.counts["duplicate_invariant"] == 4
    told = quality.checks["twins"]
    assert (told["confirmed"], told["unconfirmed"]) == (2, 2)


def test_lengths_that_were_converted_twice_are_found(tmp_path, silicon):
    run = silicon["si8_a540_300K"]
    twice = replace(run, coord=run.coord * BOHR, box=run.box * BOHR)
    _, quality = judged(tmp_path, {"twice": twice})
    assert quality.counts["units"] == quality.counts["min_distance"] == 60
    (entry,) = quality.checks["units"]
    assert "divided by 1.89" in entry["cause"]


def test_noble_gases_have_no_bond_length(tmp_path):
    run = breathing_run()
    argon = replace(run, z=np.full_like(run.z, 18), coord=run.coord * 1.5)
    _, quality = judged(tmp_path, {"argon": replace(argon, box=run.box * 1.5)})
    assert quality.counts["units"] == 0
