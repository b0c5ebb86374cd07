"""What was exported comes back: every frame, source, step and level of theory."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.io.exchange.content import Content
from dpbench.io.exchange.export import export_dataset, relative_paths
from dpbench.io.exchange.importing import import_dataset
from dpbench.io.exchange.sidecar import FRAMES_NAME, OPTIONAL
from dpbench.io.ingest import ingest
from dpbench.io.writers import WRITERS
from dpbench.store.dataset import open_dataset
from dpbench.store.digests import frame_digests
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.splits.parts import open_part
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.workspace import Workspace
from tests.io.writers.conftest import COLUMNS
from tests.io.writers.test_import_faults import renew_hashes
from tests.store.synthetic import (
    THEORY,
    commit,
    random_frames,
    segment_data,
    source_entry,
)

FORMATS = tuple(WRITERS)
LOCAL = ("si8", "mixed", "molecule", "crystal", "narrow")
SHARED = (
    ("qe", "almg", "generated/almg_qe_lda/*300K.out"),
    ("cp2k", "water", "generated/water8_xtb_cp2k"),
    ("extxyz", "acac", "thirdparty/acac/train_300K.xyz"),
    ("deepmd", "dp_water", "thirdparty/deepmd_water/data/data_3"),
)


@pytest.fixture(scope="session")
def shared_home(shared_data, tmp_path_factory):
    """A workspace with real data of every kind."""
    workspace = Workspace.find(tmp_path_factory.mktemp("shared") / "ws", create=True)
    for code, name, path in SHARED:
        ingest(workspace, code, [shared_data / path], dataset=name, workers=0)
    return workspace


def assert_comes_back(there, here, folder, *, name, format_name):
    """Export, import, and compare digests, sources and facts."""
    before = open_dataset(there, name)
    written = export_dataset(there, name, format_name, folder)
    report = import_dataset(here, folder, dataset="back")
    after = open_dataset(here, "back")
    assert written.sidecar.is_lossless
    assert report.is_same
    assert report.quarantined == {}
    assert after.digest == before.digest == written.sidecar.digest
    assert after.theories == before.theories
    theirs = [(s.sha256, s.code, s.theory_id, s.n_frames) for s in before.sources]
    ours = [(s.sha256, s.code, s.theory_id, s.n_frames) for s in after.sources]
    assert ours == theirs
    np.testing.assert_array_equal(after.step, before.step)
    np.testing.assert_array_equal(after.facts["n_scf"], before.facts["n_scf"])
    np.testing.assert_array_equal(after.frame_digests, before.frame_digests)
    frame = before.read([0]).coord.dtype
    assert after.read([0]).coord.dtype == frame


def test_time_between_steps_comes_back(tmp_path, away):
    there = Workspace.find(tmp_path / "there", create=True)
    frames = random_frames(0, [3, 3])
    commit(there, "md", segment_data(frames, [source_entry("a", time_step=0.75)]))
    export_dataset(there, "md", "extxyz", tmp_path / "x")
    import_dataset(away, tmp_path / "x", dataset="back")
    assert [s.time_step for s in open_dataset(away, "back").sources] == [0.75]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("name", LOCAL)
def test_every_frame_comes_back(home, away, tmp_path, name, format_name):
    assert_comes_back(home, away, tmp_path / "x", name=name, format_name=format_name)


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("name", ["almg", "water", "dp_water"])
def test_every_frame_of_real_data_comes_back(
    shared_home, away, tmp_path, name, format_name
):
    folder = tmp_path / "x"
    assert_comes_back(shared_home, away, folder, name=name, format_name=format_name)


@pytest.mark.parametrize("format_name", FORMATS)
def test_cell_without_periodicity_is_kept_or_said_to_be_lost(
    shared_home, away, tmp_path, format_name
):
    before = open_dataset(shared_home, "acac")
    report = export_dataset(shared_home, "acac", format_name, tmp_path / "x")
    back = import_dataset(away, tmp_path / "x", dataset="back")
    is_deepmd = format_name.startswith("deepmd")
    assert back.is_same == report.sidecar.is_lossless == (not is_deepmd)
    notes = " ".join(report.sidecar.not_held)
    assert ("the cell of 500 frames" in notes) == is_deepmd
    after = open_dataset(away, "back").read(range(before.nframes))
    np.testing.assert_array_equal(after.coord, before.read(range(500)).coord)
    assert not after.pbc.any()


@pytest.mark.parametrize("format_name", FORMATS)
def test_missing_labels_stay_missing(home, away, tmp_path, format_name):
    export_dataset(home, "mixed", format_name, tmp_path / "x")
    import_dataset(away, tmp_path / "x")
    frames = open_dataset(away, "mixed").read(range(8))
    np.testing.assert_array_equal(
        frames.has_virial, [False, False, True, False, True, False, False, False]
    )
    assert np.isnan(frames.box[1]).all()
    assert frames.pbc[5].tolist() == [True, True, False]


def test_frames_periodic_in_two_directions_are_named(home, tmp_path):
    report = export_dataset(home, "mixed", "deepmd/npy", tmp_path / "x")
    assert any("some directions only, of 1 frame" in n for n in report.sidecar.not_held)


@pytest.mark.parametrize("format_name", ["deepmd/npy", "parquet"])
def test_part_of_a_split_travels_alone(home, away, tmp_path, format_name):
    version = open_dataset(home, "si8")
    split = make_split(version, strategy="block", seed=3)
    save_split(version, split)
    report = export_dataset(
        home, "si8:test", format_name, tmp_path / "x", split=split.digest
    )
    import_dataset(away, tmp_path / "x")
    back = open_dataset(away, "si8-test")
    assert back.nframes == len(split.parts["test"]) < version.nframes
    kept = {bytes(d) for d in version.frame_digests[split.parts["test"]]}
    assert {bytes(d) for d in back.frame_digests} == kept
    assert report.sidecar.part == "test"


def test_quarantined_frames_stay_behind_and_the_digest_says_so(away, tmp_path):
    text = "".join(
        f"1\n{COLUMNS} energy={e} pbc=F\nH {x} 0 0 0 0 0\n"
        for e, x in (("-1", 1), ("nan", 2), ("-2", 3))
    )
    (tmp_path / "a.xyz").write_text(text)
    ingest(away, "extxyz", [tmp_path / "a.xyz"], dataset="a", workers=0)
    version = open_dataset(away, "a")
    assert version.payload["quarantined"] == {"nan": 1}
    report = export_dataset(away, "a", "extxyz", tmp_path / "x")
    assert report.sidecar.n_quarantined == 1
    assert report.sidecar.version_digest == version.digest != report.sidecar.digest
    assert any("1 quarantined" in note for note in report.sidecar.not_held)
    back = import_dataset(away, tmp_path / "x", dataset="b")
    assert back.is_same
    assert open_dataset(away, "b").digest == report.sidecar.digest


def test_importing_twice_adds_nothing(exported, away):
    folder = exported("crystal", "extxyz")
    assert import_dataset(away, folder).outcome.is_new
    again = import_dataset(away, folder)
    assert not again.outcome.is_new
    assert again.is_same


def test_import_into_the_dataset_that_was_exported_adds_nothing(home, exported):
    before = open_dataset(home, "crystal")
    report = import_dataset(home, exported("crystal", "ase/db"))
    assert not report.outcome.is_new
    assert report.outcome.n_repeated == before.nframes
    assert open_dataset(home, "crystal").object_id == before.object_id


def test_import_of_a_part_does_not_hide_the_original_file(home, exported, away):
    folder = exported("crystal", "deepmd/lmdb")
    import_dataset(away, folder)
    source = home.root.parent / "crystal.xyz"
    report = ingest(away, "extxyz", [source], dataset="crystal", workers=0)
    assert report.n_already_in == 0  # it was read again
    assert report.n_repeated == 6


def test_same_content_gives_the_same_files(home, tmp_path):
    for format_name in FORMATS:
        one, two = (
            export_dataset(home, "mixed", format_name, tmp_path / f"{format_name}-{i}")
            for i in "ab"
        )
        if format_name != "ase/db":  # ASE writes the time and a random id of each row
            assert one.sidecar == two.sidecar


def test_exports_name_no_folder_of_this_machine(home, exported):
    for format_name in FORMATS:
        folder = exported("si8", format_name)
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert str(home.root.parent).encode() not in content
                assert b"_demo/si8" not in content


def test_paths_keep_what_tells_them_apart():
    assert relative_paths(["/a/b/c/x.out", "/a/b/d/y.out"]) == ["c/x.out", "d/y.out"]
    assert relative_paths(["/a/b/x.out"]) == ["x.out"]


def test_content_is_read_in_bounded_blocks(home, monkeypatch):
    monkeypatch.setattr("dpbench.io.exchange.content.BLOCK_ATOMS", 80)
    content = Content(open_part(home, "si8"))
    sizes = [frames.nframes for _, frames in content.blocks()]
    assert max(sizes) <= 10
    assert sum(sizes) == content.nframes == 180


@pytest.mark.parametrize("format_name", FORMATS)
def test_charge_spin_and_temperature_come_back(away, tmp_path, format_name):
    frames = random_frames(5, [2, 3, 2])
    facts = {
        "charge": np.array([np.nan, -1.0, 0.0]),
        "multiplicity": np.array([-1, 2, 1], dtype=np.int16),
        "temperature": np.array([300.0, np.nan, 310.5]),
    }
    data = segment_data(frames, [source_entry("a")])
    digests = frame_digests(
        frames,
        theory=fingerprint(THEORY),
        quarantine=[""] * 3,
        charge=facts["charge"],
        multiplicity=facts["multiplicity"],
    )
    commit(away, "ion", replace(data, digests=digests, **facts))
    report = export_dataset(away, "ion", format_name, tmp_path / "x")
    import_dataset(away, tmp_path / "x", dataset="back")
    before, after = open_dataset(away, "ion"), open_dataset(away, "back")
    assert after.digest == before.digest
    for name, values in facts.items():
        np.testing.assert_array_equal(after.facts[name], values)
    said = any("charge (1 frames)" in note for note in report.sidecar.not_held)
    assert said == format_name.startswith("deepmd")


def test_tables_of_frames_of_older_releases_are_read(exported, away):
    folder = exported("crystal", "extxyz")
    table = np.load(folder / FRAMES_NAME)
    names = [name for name in table.dtype.names if name not in OPTIONAL]
    older = np.zeros(len(table), dtype=[(n, table.dtype[n]) for n in names])
    for name in names:
        older[name] = table[name]
    np.save(folder / FRAMES_NAME, older)
    renew_hashes(folder)
    assert import_dataset(away, folder).is_same
