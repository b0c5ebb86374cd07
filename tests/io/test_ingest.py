import dataclasses
import json
import os
import subprocess
import sys

import pytest

from dpbench.cores import available_cores
from dpbench.errors import ConfigError, DatasetError, SourceError, WorkspaceError
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.ingest_plan import (
    BUNDLE_BYTES,
    bundle_size,
    bundles,
    name_of_paths,
    plan_sources,
)
from dpbench.io.ingest_pool import worthwhile
from dpbench.io.parsed import SourceFiles
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.history import retract
from dpbench.store.references import parse_reference
from dpbench.store.workspace import Workspace
from tests.io.fake_source import READERS, FakeReader, find, write_source
from tests.store.synthetic import THEORY


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "ws", create=True)


@pytest.fixture
def runs(tmp_path):
    """Five sources: two good, one with a bad frame, one refused, one that trips."""
    folder = tmp_path / "runs"
    write_source(folder / "a.json", seed=1, natoms=[2, 3, 2])
    write_source(folder / "b.json", seed=2, natoms=[4])
    write_source(folder / "c.json", seed=3, natoms=[2, 2], bad={1: "unconverged"})
    write_source(folder / "d.json", refuse=True)
    write_source(folder / "e.json", fault=True)
    return folder


def fake_ingest(workspace, *paths, dataset="d", progress=None, **options):
    readers = options.pop("readers", READERS)
    options.setdefault("workers", 0)  # no test here crashes its reader
    chosen = IngestOptions(finder=find, readers=readers, **options)
    return ingest(
        workspace, "fake", paths, dataset=dataset, progress=progress, options=chosen
    )


def test_sources_skipped_for_a_version_retracted_meanwhile_are_never_missing(
    workspace, tmp_path
):
    folder = tmp_path / "more"
    for seed, name in enumerate(("a", "b")):
        path = write_source(folder / f"{name}.json", seed=seed, natoms=[2])
        fake_ingest(workspace, path)
    write_source(folder / "c.json", seed=7, natoms=[3])
    taken = []

    def take_back(_):
        if not taken:
            taken.append(retract(workspace, parse_reference("d-v2"), "wrong"))

    with pytest.raises(DatasetError, match=r"d-v2: was retracted meanwhile.*again"):
        fake_ingest(workspace, folder, progress=take_back)
    assert objects.version_numbers(workspace, "d") == [1, 2]
    assert fake_ingest(workspace, folder).n_sources == 3
    assert open_dataset(workspace, "d").nframes == 3


def test_report_accounts_for_every_source_and_frame(workspace, runs):
    report = fake_ingest(workspace, runs)
    assert (report.label, report.is_new) == ("d-v1", True)
    assert (report.n_files, report.n_sources, report.n_kept) == (5, 5, 5)
    assert report.quarantined == {"unconverged": 1}
    assert [failed.path for failed in report.failed] == [
        str(runs / "d.json"),
        str(runs / "e.json"),
    ]
    assert "IndexError: list index out of range" in report.failed[1].reason
    assert report.digest == open_dataset(workspace, "d").digest
    summary = report.summary()
    assert "5 kept, 1 quarantined (1 unconverged)" in summary
    assert "is no fake output" in summary
    assert json.loads(json.dumps(report.to_json()))["n_kept"] == 5


def test_same_files_again_add_nothing_and_are_not_read(workspace, runs):
    first = fake_ingest(workspace, runs)
    blind = fake_ingest(workspace, runs / "a.json", runs / "c.json", readers=READERS)
    again = fake_ingest(workspace, runs)
    assert not again.is_new
    assert (again.n_already_in, again.n_kept, again.n_bytes > 0) == (3, 0, True)
    assert (blind.n_already_in, blind.n_bytes) == (2, 0)
    assert again.digest == first.digest
    assert len(again.failed) == 2
    assert objects.version_numbers(workspace, "d") == [1]


def test_more_files_make_the_next_version(workspace, runs, tmp_path):
    first = fake_ingest(workspace, runs / "a.json")
    report = fake_ingest(workspace, runs / "a.json", runs / "b.json")
    assert (report.label, report.n_kept, report.n_already_in) == ("d-v2", 1, 1)
    assert open_dataset(workspace, "d-v1").digest == first.digest


def test_frames_of_a_restart_are_kept_once(workspace, tmp_path):
    write_source(tmp_path / "r" / "a.json", seed=1, natoms=[2, 3])
    write_source(tmp_path / "r" / "b.json", seed=1, natoms=[2, 3], pad="restart")
    report = fake_ingest(workspace, tmp_path / "r")
    assert (report.n_kept, report.n_repeated) == (2, 2)


def test_reader_may_mark_repeated_frames_itself(workspace, tmp_path):
    write_source(tmp_path / "a.json", natoms=[2, 3], bad={1: "repeated"})
    report = fake_ingest(workspace, tmp_path / "a.json", strict=True)
    assert (report.n_kept, report.n_repeated, report.quarantined) == (1, 1, {})


def test_source_found_twice_is_read_once(workspace, tmp_path):
    write_source(tmp_path / "r" / "a.json")
    write_source(tmp_path / "r" / "copy.json")
    report = fake_ingest(workspace, tmp_path / "r")
    assert (report.n_sources, report.n_already_in, report.n_kept) == (2, 1, 2)


def test_newer_reader_reads_again(workspace, tmp_path):
    write_source(tmp_path / "a.json")
    fake_ingest(workspace, tmp_path / "a.json")
    newer = {"fake": FakeReader(reader_version=2)}
    report = fake_ingest(workspace, tmp_path / "a.json", readers=newer)
    assert (report.n_already_in, report.n_repeated, report.is_new) == (0, 2, False)


def test_strict_commits_nothing_and_says_so(workspace, runs):
    report = fake_ingest(workspace, runs, strict=True)
    assert report.refusal == "--strict: 1 frames quarantined, 2 sources failed"
    assert "nothing was committed" in report.summary()
    assert objects.dataset_names(workspace) == []
    assert list(workspace.stores.iterdir()) == []


def test_no_good_frame_is_an_error_that_commits_nothing(workspace, tmp_path):
    write_source(tmp_path / "r" / "a.json", natoms=[2], bad={0: "truncated"})
    write_source(tmp_path / "r" / "b.json", refuse=True)
    write_source(tmp_path / "r" / "c.json", natoms=[])
    with pytest.raises(SourceError, match="no good frame in 3 sources") as caught:
        fake_ingest(workspace, tmp_path / "r")
    assert "c.json: holds no frame" in str(caught.value)
    assert "a.json: 1 truncated" in str(caught.value)
    assert objects.dataset_names(workspace) == []


def test_mixed_levels_of_theory_are_refused_unless_allowed(workspace, tmp_path):
    write_source(tmp_path / "r" / "a.json", seed=1)
    pbe = {**THEORY, "functional": "PBE"}
    write_source(tmp_path / "r" / "b.json", seed=2, theory=pbe)
    with pytest.raises(DatasetError, match="--allow-mixed-theory"):
        fake_ingest(workspace, tmp_path / "r")
    assert list(workspace.stores.iterdir()) == []
    assert fake_ingest(workspace, tmp_path / "r", allow_mixed_theory=True).is_new


def test_version_is_no_name_to_ingest_into(workspace, runs):
    with pytest.raises(ConfigError, match="versions are made by ingest"):
        fake_ingest(workspace, runs, dataset="water-v2")


def test_unreadable_file_is_a_failed_source(workspace, runs):
    (runs / "z.json").symlink_to(runs / "nowhere")
    report = fake_ingest(workspace, runs)
    assert "z.json: cannot be read" in report.failed[0].reason


@pytest.mark.parametrize("bundle_bytes", [0, 60, 10**9])
def test_digest_and_order_do_not_depend_on_bundles(workspace, runs, bundle_bytes):
    report = fake_ingest(workspace, runs, bundle_bytes=bundle_bytes)
    version = open_dataset(workspace, "d")
    assert [s.path.rsplit("/", 1)[-1] for s in version.sources] == [
        "a.json",
        "b.json",
        "c.json",
    ]
    assert version.source_of.tolist() == [0, 0, 0, 1, 2]
    other = Workspace.find(workspace.root.parent / "other", create=True)
    assert fake_ingest(other, runs).digest == report.digest


def test_digest_does_not_depend_on_the_order_of_ingest(workspace, runs):
    for name in ("c", "a", "b"):
        fake_ingest(workspace, runs / f"{name}.json")
    other = Workspace.find(workspace.root.parent / "other", create=True)
    expected = fake_ingest(other, runs).digest
    assert open_dataset(workspace, "d").digest == expected


def test_bundles_hold_neighbours_up_to_a_size(tmp_path):
    for i in range(6):
        write_source(tmp_path / f"{i}.json", pad="x" * (100 if i != 3 else 1000))
    planned, failed = plan_sources(find("fake", [tmp_path]).sources, READERS, threads=2)
    assert failed == []
    made = bundles(planned, bundle_bytes=320)
    names = [[s.files.main.stem for s in bundle.sources] for bundle in made]
    assert names == [["0", "1"], ["2"], ["3"], ["4", "5"]]


def test_dataset_is_named_after_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "My run (2)"
    write_source(folder / "a.out")
    monkeypatch.chdir(folder)
    for path in (folder, folder / "a.out", ".", "*.out", folder / "**" / "*.out"):
        assert name_of_paths([path]) == "My-run-2"
    twice = folder / "deep" / "My run (2)"
    twice.mkdir(parents=True)
    assert name_of_paths([twice / "*.out"]) == "My-run-2"
    assert name_of_paths([folder / "deep" / "*.out"]) == "deep"


def test_progress_tells_how_far_it_is(workspace, runs):
    seen = []
    fake_ingest(workspace, runs, progress=seen.append, bundle_bytes=0)
    assert [state.n_done for state in seen] == [1, 2, 3, 4, 5]
    assert seen[-1].n_failed == 2
    assert seen[-1].n_frames == 6
    assert seen[-1].done_bytes == seen[-1].total_bytes


def test_reader_processes_make_the_same_version(workspace, runs):
    report = fake_ingest(workspace, runs, workers=2, bundle_bytes=0)
    other = Workspace.find(workspace.root.parent / "other", create=True)
    expected = fake_ingest(other, runs, workers=0)
    assert report.digest == expected.digest
    assert report.failed == expected.failed
    assert report.quarantined == expected.quarantined


KILLED = """
import os, signal, sys
from pathlib import Path
import sqlalchemy.engine
from dpbench.store.workspace import Workspace
from tests.io.test_ingest import fake_ingest

calls, moment = 0, int(sys.argv[3])

def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

for name in ("mkdir", "rename", "replace", "hardlink_to", "unlink", "write_text"):
    setattr(Path, name, counted(getattr(Path, name)))
os.fsync = lambda _: None
Connection = sqlalchemy.engine.Connection
Connection.execute = counted(Connection.execute)
Connection._commit_impl = counted(Connection._commit_impl)
fake_ingest(Workspace.find(sys.argv[1], create=True), sys.argv[2])
print(calls)
"""
"""An ingest that kills itself at its n-th step that changes files or the registry."""


def killed_ingest(root, runs, moment):
    command = [sys.executable, "-c", KILLED, str(root), str(runs), str(moment)]
    return subprocess.run(command, check=False, timeout=120, capture_output=True)


@pytest.mark.slow
def test_kill_at_any_point_leaves_no_half_version(tmp_path, runs):
    whole = killed_ingest(tmp_path / "whole", runs, 0)
    calls = int(whole.stdout)
    expected = open_dataset(Workspace.find(tmp_path / "whole"), "d").digest
    for moment in sorted(
        {1, *range(4, calls - 8, calls // 5), *range(calls - 8, calls)}
    ):
        root = tmp_path / f"ws{moment}"
        assert killed_ingest(root, runs, moment).returncode == -9
        workspace = Workspace.find(root, create=True)
        if objects.version_numbers(workspace, "d"):
            version = open_dataset(workspace, "d")
            assert version.digest == expected
            assert version.read(range(version.nframes)).nframes == 5
        report = fake_ingest(workspace, runs)
        assert report.label == "d-v1"
        assert report.digest == expected
        assert not list(workspace.stores.glob("*.tmp"))


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a tiny disk")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    for i in range(6):
        write_source(tmp_path / "runs" / f"{i}.json", seed=i, natoms=[400] * 40)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets not even root mount a disk")
    try:
        workspace = Workspace.find(disk / "ws", create=True)
        fake_ingest(workspace, tmp_path / "runs" / "0.json")
        digest = open_dataset(workspace, "d").digest
        with pytest.raises(WorkspaceError, match="No space left on device"):
            fake_ingest(workspace, tmp_path / "runs")
        assert open_dataset(workspace, "d").digest == digest
        assert objects.version_numbers(workspace, "d") == [1]
        assert not list(workspace.stores.glob("*.tmp"))
        assert open_dataset(workspace, "d").read(range(40)).nframes == 40
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_no_path_is_a_clear_error(workspace):
    with pytest.raises(ConfigError, match="no path was given"):
        fake_ingest(workspace)


def test_more_processes_start_only_where_they_pay(tmp_path):
    write_source(tmp_path / "a.json")
    write_source(tmp_path / "b.json", seed=1)
    planned, _ = plan_sources(find("fake", [tmp_path]).sources, READERS, threads=1)
    assert worthwhile(planned) == 1
    large = [dataclasses.replace(source, n_bytes=10**9) for source in planned]
    assert worthwhile(large) == min(2, available_cores())
    assert worthwhile(large[:1]) == 1
    assert bundle_size(large, workers=2) == BUNDLE_BYTES
    assert bundle_size(planned, workers=2) < BUNDLE_BYTES


def test_folder_is_one_source_of_all_its_files(tmp_path):
    folder = tmp_path / "system"
    write_source(folder / "set.000" / "x.npy")
    write_source(folder / "type.raw")
    one = SourceFiles(format="fake", paths=(folder,))
    (before,), _ = plan_sources([one], READERS, threads=1)
    assert before.n_files == 2
    moved = folder.rename(tmp_path / "moved")
    (after,), _ = plan_sources(
        [SourceFiles(format="fake", paths=(moved,))], READERS, threads=1
    )
    assert after.id == before.id
    (moved / "type.raw").write_text("changed")
    (changed,), _ = plan_sources(
        [SourceFiles(format="fake", paths=(moved,))], READERS, threads=1
    )
    assert changed.id != before.id
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = SourceFiles(format="fake", paths=(empty,))
    assert plan_sources([nothing], READERS, threads=1)[1] == [
        (str(empty), "cannot be read (no files)")
    ]
