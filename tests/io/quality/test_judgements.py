"""Judgements are kept, made again when lost, and lead to versions without frames."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import ConfigError, DatasetError
from dpbench.io.quality import gather
from dpbench.io.quality import judge as judge_module
from dpbench.io.quality.exclude import exclude
from dpbench.io.quality.findings import describe
from dpbench.io.quality.flags import DECIDED_BY, FLAGS
from dpbench.io.quality.judge import judge
from dpbench.io.quality.thresholds import Thresholds, read_thresholds
from dpbench.store.dataset import open_dataset
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.workspace import Workspace
from tests.io.quality.faulty_sets import (
    breathing_run,
    changed,
    energy_volume_curve,
    judged,
    moved_labels,
    with_pressure,
)
from tests.io.quality.twin_makers import twins_of
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

NOW = "2026-01-02T00:00:00+00:00"


def faulty_run():
    """A run of 40 frames: 5 has a net force, 8 an outlying energy, 9 both."""
    run = breathing_run()
    force = np.array([[0.5, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    for frame in (5, 9):
        run = changed(run, frame, force=run.force[run.atoms_of(frame)] + force)
    for frame in (8, 9):
        run = changed(run, frame, energy=run.energy[frame] + 100)
    return run


@pytest.fixture
def faulty(tmp_path):
    return judged(tmp_path, {"run": faulty_run()}, name="copper")


def derived_files(version):
    return sorted((version.workspace.root / "derived" / "quality").iterdir())


def test_a_kept_judgement_is_the_same_and_needs_no_frame(faulty, monkeypatch):
    version, quality = faulty
    monkeypatch.setattr(judge_module, "gather", None)
    again = judge(open_dataset(version.workspace, "copper"))
    assert (again.flags == quality.flags).all()
    assert again.checks == quality.checks
    assert again.thresholds == quality.thresholds
    for name, values in quality.values.items():
        np.testing.assert_array_equal(again.values[name], values)


def test_other_thresholds_are_another_judgement(faulty):
    version, _ = faulty
    judge(version, Thresholds(net_force=9.0))
    assert len(derived_files(version)) == 2
    assert judge(version, Thresholds(net_force=9.0)).counts["net_force"] == 0
    assert judge(version).counts["net_force"] == 2


def test_the_same_frames_from_other_sources_are_judged_anew(tmp_path):
    run = breathing_run()
    run = replace(run, force=-run.force)
    workspace = new_workspace(tmp_path)
    singles = [
        segment_data(run.select(np.array([i])), [source_entry(f"f{i:02d}", n_read=1)])
        for i in range(run.nframes)
    ]
    commit(workspace, "singles", *singles)
    commit(workspace, "run", segment_data(run, [source_entry("run", n_read=40)]))
    one, other = (open_dataset(workspace, name) for name in ("singles", "run"))
    assert one.digest == other.digest
    assert judge(one).counts["trajectory"] == 0
    assert judge(other).counts["trajectory"] == 40


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "short"])
def test_a_damaged_judgement_is_made_again(faulty, caplog, damage):
    version, quality = faulty
    (path,) = derived_files(version)
    content = path.read_bytes()
    if damage == "short":
        with np.load(path) as arrays:
            fields = {name: arrays[name] for name in arrays.files}
        np.savez(path, **{**fields, "flags": fields["flags"][:-1]})
    else:
        new = {"cut": content[: len(content) // 2], "empty": b"", "text": b"none"}
        path.write_bytes(new[damage])
    with caplog.at_level(logging.WARNING, logger="dpbench"):
        again = judge(version)
    assert "made again" in caplog.text
    assert (again.flags == quality.flags).all()
    assert judge(version).counts == quality.counts


def test_a_workspace_that_cannot_be_written_is_judged_all_the_same(faulty):
    version, quality = faulty
    folder = version.workspace.root / "derived"
    for path in derived_files(version):
        path.unlink()
    (folder / "quality").rmdir()
    folder.rmdir()
    folder.write_text("in the way")
    assert (judge(version).flags == quality.flags).all()


def test_blocks_of_any_size_give_the_same_judgement(faulty, monkeypatch):
    version, quality = faulty
    for size in (1, 7):
        monkeypatch.setattr(gather, "BLOCK_FRAMES", size)
        again = judge(version, is_cached=False)
        assert (again.flags == quality.flags).all()
        assert again.checks == quality.checks


def test_excluding_makes_the_next_version_and_deletes_nothing(faulty):
    version, quality = faulty
    made = exclude(version, quality, ["net_force", "energy_outlier"], created_at=NOW)
    assert (made.label, made.nframes) == ("copper-v2", 37)
    assert made.payload["note"] == (
        "copper-v1 without net_force (2), energy_outlier (1); quality rules 2, "
        "net_force=0.1, energy_z=10, energy_floor=0.002, min_frames=10"
    )
    kept = np.delete(np.arange(40), [5, 8, 9])
    assert (made.frame_digests == version.frame_digests[kept]).all()
    (entry,) = made.payload["data"]
    assert set(entry["excluded"]) == {"net_force", "energy_outlier"}
    assert open_dataset(version.workspace, "copper-v1").nframes == 40
    assert judge(made).n_flagged == 0


def test_excluding_nothing_or_everything_is_refused(faulty):
    version, quality = faulty
    with pytest.raises(DatasetError, match="no frame has a flag among min_distance"):
        exclude(version, quality, ["min_distance"], created_at=NOW)
    with pytest.raises(DatasetError, match="are in no version anyway"):
        exclude(version, quality, ["unconverged"], created_at=NOW)
    with pytest.raises(ConfigError, match="unknown flag"):
        exclude(version, quality, ["netforce"], created_at=NOW)
    all_bad = replace(quality, flags=quality.flags | np.uint32(1 << 5))
    with pytest.raises(DatasetError, match="all 40 frames"):
        exclude(version, all_bad, ["net_force"], created_at=NOW)


def test_worst_frames_come_first_with_their_source(faulty):
    version, quality = faulty
    rows = {row["name"]: row for row in describe(version, quality, most=2)["flags"]}
    worst = rows["energy_outlier"]["worst"]
    assert {row["frame"] for row in worst} == {8, 9}
    assert worst[0]["source"] == "runs/run.out"
    assert worst[0]["step"] == worst[0]["frame"]
    sizes = [abs(row["values"]["energy_z"]) for row in worst]
    assert sizes == sorted(sizes, reverse=True)
    json.dumps(rows, allow_nan=False)


def test_frames_without_labels_or_cell_are_judged_by_what_they_have(tmp_path):
    frames = random_frames(3, [3] * 12)
    nan = np.nan
    bare = replace(
        frames,
        force=frames.force * nan,
        virial=frames.virial * nan,
        box=frames.box * nan,
        pbc=np.zeros_like(frames.pbc),
        coord=frames.coord * 3,
    )
    version, quality = judged(tmp_path, {"bare": bare})
    skipped = {(s["check"], s["reason"]) for s in quality.checks["skipped"]}
    assert ("net_force", "no forces") in skipped
    assert ("units", "no volume: a direction is open") in skipped
    assert np.isnan(quality.values["net_force"]).all()
    assert quality.counts["net_force"] == 0
    json.dumps(describe(version, quality), allow_nan=False)


def test_incompatible_levels_of_theory_are_fitted_apart(tmp_path):
    run = breathing_run()
    other = {"code": "qe", "functional": "PBE", "cutoff": 400.0}
    entries = [
        source_entry("lda", n_read=40),
        source_entry("pbe", n_read=40, theory=fingerprint(other)),
    ]
    shifted = replace(run, energy=run.energy + 400)
    workspace = Workspace.find(tmp_path / "ws", create=True)
    commit(
        workspace,
        "mixed",
        segment_data(run, entries[:1]),
        segment_data(shifted, entries[1:]),
        theories=(THEORY, other),
        allow_mixed_theory=True,
    )
    quality = judge(open_dataset(workspace, "mixed"))
    assert len(quality.checks["energy"]) == 2
    assert quality.counts["energy_outlier"] == 0
    # One structure at two levels of theory is no duplicate: both are wanted.
    assert quality.counts["duplicate_exact"] == 0


def test_every_threshold_decides_on_a_flag_that_exists():
    assert set(DECIDED_BY) <= set(FLAGS)
    named = {key for keys in DECIDED_BY.values() for key in keys}
    assert named == set(Thresholds.__slots__)


def test_thresholds_are_read_from_texts_and_files(tmp_path):
    path = tmp_path / "quality.toml"
    path.write_text("net_force = 0.2\nmin_frames = 20\n")
    limits = read_thresholds(["net_force=0.3", "min_distance=1"], file=path)
    assert (limits.net_force, limits.min_frames) == (0.3, 20)
    assert limits.min_distance == 1.0
    for text, message in (
        ("net_force", "expected KEY=VALUE"),
        ("netforce=1", "unknown key 'netforce' -- did you mean 'net_force'"),
        ("net_force=much", "'much' is not a number"),
        ("min_frames=1.5", "'1.5' is not a whole number"),
        ("net_force=-1", "expected 0 or more"),
        ("net_force=nan", "expected 0 or more"),
        ("twin_tolerance=1", "expected at most"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_thresholds([text])
    path.write_text("net_forc = 0.2\n")
    with pytest.raises(ConfigError, match=r"quality.toml.*net_forc"):
        read_thresholds(file=path)


def run_cli(version, *arguments):
    root = str(version.workspace.root)
    command = ["--workspace", root, "dataset", "quality", *arguments]
    return CliRunner().invoke(cli, command)


def test_command_reports_and_makes_a_version(faulty):
    version, _ = faulty
    result = run_cli(version, "copper")
    assert result.exit_code == 0, result.output
    assert "copper-v1  40 frames, 3 flagged" in result.stdout
    assert "frame 9: step 9 of runs/run.out" in result.stdout
    assert "skipped" in result.stdout
    strict = ("--set", "net_force=0.01", "--exclude", "net_force,energy_outlier")
    result = run_cli(version, "copper", *strict, "--json")
    facts = json.loads(result.stdout)
    assert facts["thresholds"]["net_force"] == 0.01
    assert facts["made"]["label"] == "copper-v2"
    assert facts["made"]["n_frames"] == 37
    assert run_cli(version, "copper-v2").stdout.startswith("copper-v2  37 frames, 0")


def test_command_words_counts_and_tells_how_to_see_more(faulty):
    version, _ = faulty
    text = run_cli(version, "copper", "--worst", "1").stdout
    assert "net_force: 1 of 2; --worst N for more" in text
    assert "energy_outlier: 1 of 2; --worst N for more" in text
    assert "in 1 group:" in text
    assert "1 groups" not in text
    assert ": 0 frames" not in text
    assert (
        "--worst N for more" not in run_cli(version, "copper", "--worst", "40").stdout
    )


def test_command_refuses_unknown_keys_and_flags(faulty):
    version, _ = faulty
    for arguments in (("--set", "nothing=1"), ("--exclude", "nothing")):
        result = run_cli(version, "copper", *arguments)
        assert result.exit_code == 1
        assert "'nothing'" in result.stderr or "nothing: unknown" in result.stderr


def test_the_page_tells_every_threshold_and_flag():
    page = (Path(__file__).parents[3] / "docs" / "quality.md").read_text()
    for name in FLAGS:
        assert f"| `{name}` |" in page
    for key in Thresholds.__slots__:
        (value,) = set(re.findall(rf"`{key}` \(([-\d.e]+)", page))
        assert float(value) == getattr(Thresholds(), key), key


def test_a_charged_structure_is_no_duplicate_of_the_neutral_one(tmp_path):
    run = breathing_run()
    charged = replace(run, energy=run.energy + 9.0)
    neutral = segment_data(run, [source_entry("neutral", n_read=40)])
    ions = segment_data(charged, [source_entry("ions", n_read=40)])
    ions = replace(
        ions, charge=np.ones(40), multiplicity=np.full(40, 2, dtype=np.int16)
    )
    workspace = new_workspace(tmp_path)
    commit(workspace, "copper", neutral, ions)
    quality = judge(open_dataset(workspace, "copper"))
    assert quality.counts["duplicate_exact"] == 0
    assert quality.counts["duplicate_invariant"] == 0
    states = [entry["state"] for entry in quality.checks["energy"]]
    assert states == ["", "charge 1, 2S+1 = 2"]
    assert quality.n_flagged == 0


def test_a_structure_with_other_numbers_of_atoms_is_no_duplicate(tmp_path):
    run = breathing_run()
    cold, hot = (
        replace(run, aparam=np.full((len(run.z), 1), number)) for number in (0.1, 0.5)
    )
    turned = twins_of(hot.select(np.arange(5)), np.random.default_rng(0))
    turned = replace(turned, aparam=np.full((len(turned.z), 1), 0.7))
    again = replace(turned, aparam=np.full((len(turned.z), 1), 0.5))
    workspace = new_workspace(tmp_path)
    parts = {"cold": cold, "hot": hot, "turned": turned, "again": again}
    commit(
        workspace,
        "copper",
        *(
            segment_data(part, [source_entry(name, n_read=part.nframes)])
            for name, part in parts.items()
        ),
    )
    quality = judge(open_dataset(workspace, "copper"))
    assert quality.counts["duplicate_exact"] == 0
    assert quality.of("duplicate_invariant").tolist() == list(range(85, 90))
    assert quality.values["duplicate_of"][85:].tolist() == list(range(40, 45))


def test_a_block_of_frames_is_read_at_a_time(faulty, monkeypatch):
    version, quality = faulty
    read, sizes = type(version).read, []

    def counting(self, indices, **options):
        sizes.append(len(indices))
        return read(self, indices, **options)

    monkeypatch.setattr(type(version), "read", counting)
    monkeypatch.setattr(gather, "BLOCK_ATOMS", 40)
    told = []
    again = judge(version, is_cached=False, progress=told.append)
    assert (again.flags == quality.flags).all()
    assert told == [10] * 4
    # Ten frames of four atoms, and three neighbours for the steps between blocks.
    assert max(sizes) == 13


def test_command_tells_of_every_kind_of_finding(tmp_path):
    run = breathing_run()
    late = moved_labels(run, 1, "force")
    far = replace(run, coord=run.coord * 1.9, box=run.box * 1.9)
    again = replace(run.select([3]), energy=run.energy[[3]] + 0.01)
    curve = with_pressure(energy_volume_curve(), 6.0)
    runs = {"run": run, "late": late, "far": far, "again": again, "curve": curve}
    version, _ = judged(tmp_path, runs, name="copper")
    text = run_cli(version, "copper").stdout
    for words in (
        "misaligned: runs/late.out: forces stand one frame late",
        "lengths look like Bohr",
        "    as frame 0: step 0 of runs/run.out",
        "with other labels than the frame that stands earlier",
        "pulay: Cu4",
        "skipped trajectory: 9 frames in 1 group: no atom moves",
    ):
        assert words in text, words


def test_an_undeclared_copy_is_a_duplicate_of_any_level(tmp_path):
    run = breathing_run()
    copy = replace(run, energy=run.energy + 1e-6)
    rng = np.random.default_rng(0)
    turned = twins_of(run.select(np.arange(5)), rng)
    bare = fingerprint({})
    workspace = new_workspace(tmp_path)
    commit(
        workspace,
        "mixed",
        segment_data(run, [source_entry("lda", n_read=40)]),
        segment_data(copy, [source_entry("copy", n_read=40, theory=bare)]),
        segment_data(turned, [source_entry("turned", n_read=5, theory=bare)]),
        theories=(THEORY, {}),
        allow_mixed_theory=True,
    )
    quality = judge(open_dataset(workspace, "mixed"))
    assert quality.of("duplicate_exact").tolist() == list(range(40, 80))
    assert quality.of("duplicate_invariant").tolist() == list(range(80, 85))
    of = quality.values["duplicate_of"]
    assert of[40:].tolist() == [*range(40), *range(5)]
