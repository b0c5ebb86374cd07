"""Damaged, changed and hostile exports are refused; nothing is committed."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dpbench.errors import ConfigError, DatasetError, SourceError, WorkspaceError
from dpbench.io.exchange.export import export_dataset
from dpbench.io.exchange.importing import import_dataset
from dpbench.io.exchange.sidecar import FRAMES_NAME, NAME, hash_files
from dpbench.io.ingest import ingest
from dpbench.io.writers import WRITERS
from dpbench.store import objects
from dpbench.store.dataset import open_dataset

DATA = {
    "deepmd/npy": "Si*/set.000/coord.npy",
    "deepmd/npy/mixed": "*/set.000/real_atom_types.npy",
    "deepmd/hdf5": "data.hdf5",
    "deepmd/lmdb": "data.mdb",
    "extxyz": "data.xyz",
    "ase/db": "data.db",
    "parquet": "data/*.parquet",
}
"""A file that holds data, by format."""


def edit(folder, **changes):
    """Change keys of the sidecar."""
    path = folder / NAME
    sidecar = json.loads(path.read_text())
    path.write_text(json.dumps(sidecar | changes))
    return sidecar


def renew_hashes(folder):
    """Do what whoever forges a file would do: write its hash down."""
    sidecar = json.loads((folder / NAME).read_text())
    files = hash_files(folder, list(sidecar["files"]))
    edit(
        folder,
        files={n: {"sha256": f.sha256, "bytes": f.bytes} for n, f in files.items()},
    )


def assert_refused(workspace, folder, match, error=SourceError):
    with pytest.raises(error, match=match) as caught:
        import_dataset(workspace, folder)
    assert "\n" not in str(caught.value)
    assert objects.dataset_names(workspace) == []


@pytest.mark.parametrize("format_name", list(WRITERS))
def test_a_flipped_bit_is_found_and_its_file_named(exported, away, format_name):
    folder = exported("crystal", format_name)
    (path,) = folder.glob(DATA[format_name].replace("Si*", "OSi*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert_refused(away, folder, f"{path.name}: has changed since the export")


@pytest.mark.parametrize("format_name", list(WRITERS))
def test_a_cut_file_is_found_even_with_its_hash_renewed(exported, away, format_name):
    folder = exported("crystal", format_name)
    (path,) = folder.glob(DATA[format_name].replace("Si*", "OSi*"))
    os.truncate(path, path.stat().st_size // 2)
    assert_refused(away, folder, f"{path.name}: .* bytes; expected")
    renew_hashes(folder)
    assert_refused(away, folder, ".")


def test_a_missing_file_is_named(exported, away):
    folder = exported("crystal", "deepmd/npy")
    (folder / "OSi" / "set.000" / "force.npy").unlink()
    assert_refused(away, folder, r"force\.npy: is missing")


def test_changed_labels_are_found_even_with_the_hashes_renewed(exported, away):
    folder = exported("crystal", "deepmd/npy")
    path = folder / "OSi" / "set.000" / "energy.npy"
    np.save(path, np.load(path) + 1)
    renew_hashes(folder)
    assert_refused(away, folder, "reads as content .* Nothing was committed")


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a/../../x", "a\\..\\b", "", "a\0b"]
)
def test_paths_that_leave_the_folder_are_refused(exported, away, path):
    folder = exported("crystal", "extxyz")
    sidecar = edit(folder)
    edit(folder, files=sidecar["files"] | {path: {"sha256": "0" * 64, "bytes": 1}})
    assert_refused(away, folder, "expected one inside the export")


@pytest.mark.parametrize("path", ["../elsewhere", "/tmp"])
def test_systems_outside_of_the_folder_are_refused(exported, away, path):
    folder = exported("crystal", "deepmd/npy")
    edit(folder, systems=[{"path": path, "n_frames": 6}])
    assert_refused(away, folder, "expected one inside the export")


def test_links_that_leave_the_folder_are_refused(exported, away, tmp_path):
    folder = exported("crystal", "extxyz")
    shutil.move(folder / "data.xyz", tmp_path / "outside.xyz")
    (folder / "data.xyz").symlink_to(tmp_path / "outside.xyz")
    assert_refused(away, folder, "expected one inside the export")


def test_hdf5_links_to_other_files_are_refused(exported, away, tmp_path):
    folder = exported("crystal", "deepmd/hdf5")
    shutil.copy(folder / "data.hdf5", tmp_path / "other.hdf5")
    with h5py.File(folder / "data.hdf5", "a") as file:
        del file["OSi/set.000/coord.npy"]
        file["OSi/set.000/coord.npy"] = h5py.ExternalLink(
            str(tmp_path / "other.hdf5"), "OSi/set.000/coord.npy"
        )
    renew_hashes(folder)
    assert_refused(away, folder, "is no plain array")


def test_giant_hdf5_shapes_are_refused(exported, away):
    folder = exported("crystal", "deepmd/hdf5")
    with h5py.File(folder / "data.hdf5", "a") as file:
        del file["OSi/type.raw"]
        file["OSi"].create_dataset(
            "type.raw", shape=(10**12,), dtype="i8", chunks=(1000,)
        )
    renew_hashes(folder)
    assert_refused(away, folder, "declares 8000000000000 bytes")


def test_giant_npy_shapes_are_refused(exported, away):
    folder = exported("crystal", "deepmd/npy")
    path = folder / "OSi" / "set.000" / "coord.npy"
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**15, 6)}
        np.lib.format.write_array_header_1_0(file, header)
    renew_hashes(folder)
    assert_refused(away, folder, r"coord\.npy: cannot be read")


def test_pickled_arrays_are_refused(exported, away):
    folder = exported("crystal", "deepmd/npy")
    path = folder / "OSi" / "set.000" / "coord.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    renew_hashes(folder)
    assert_refused(away, folder, r"coord\.npy: cannot be read")


def test_more_frames_than_the_files_hold_are_refused(exported, away):
    folder = exported("crystal", "extxyz")
    edit(folder, n_frames=10**15)
    assert_refused(away, folder, f"{FRAMES_NAME}: shape")
    edit(folder, n_frames=0)
    assert_refused(away, folder, "n_frames = 0")


def test_deep_and_giant_sidecars_are_refused(exported, away):
    folder = exported("crystal", "extxyz")
    (folder / NAME).write_text("[" * 100_000)
    assert_refused(away, folder, "is not JSON")
    with (folder / NAME).open("wb") as file:
        file.truncate(1 << 30)
    assert_refused(away, folder, "expected less than")


def test_sidecars_of_newer_releases_and_unknown_keys_are_refused(exported, away):
    folder = exported("crystal", "extxyz")
    edit(folder, dpbench_export=99)
    assert_refused(away, folder, "dpbench_export = 99")
    edit(folder, dpbench_export=1, surprise=True)
    assert_refused(away, folder, "unknown key 'surprise'")


def test_a_changed_level_of_theory_is_refused(exported, away):
    folder = exported("si8", "extxyz")
    sidecar = edit(folder)
    (key,) = sidecar["theories"]
    edit(folder, theories={key: sidecar["theories"][key] | {"functional": "PBE"}})
    assert_refused(away, folder, "does not fit its content")
    edit(folder, theories={key: {"surprise": 1}})
    assert_refused(away, folder, "does not fit its content")


def test_folders_of_others_are_sent_to_ingest(away, tmp_path):
    (tmp_path / "data.xyz").write_text("1\n\nH 0 0 0\n")
    assert_refused(away, tmp_path, "is no export of dpbench.*dpbench ingest")
    assert_refused(away, tmp_path / "nowhere", "is no export of dpbench")


def test_mixing_theories_by_import_is_refused(exported, away, tmp_path):
    folder = exported("si8", "extxyz")
    import_dataset(away, folder, dataset="all")
    other = exported("crystal", "parquet")
    with pytest.raises(DatasetError, match="--allow-mixed-theory"):
        import_dataset(away, other, dataset="all")
    report = import_dataset(away, other, dataset="all", allow_mixed_theory=True)
    assert report.outcome.n_added == 6
    mixed = export_dataset(away, "all", "extxyz", tmp_path / "mixed")
    assert mixed.sidecar.mixed_theory


def test_folders_with_something_in_them_are_left_alone(home, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(WorkspaceError, match="not empty"):
        export_dataset(home, "crystal", "extxyz", tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError, match="not empty"):
        export_dataset(home, "crystal", "extxyz", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    export_dataset(home, "crystal", "extxyz", tmp_path / "empty")
    assert (tmp_path / "empty" / "data.xyz").is_file()


def test_unknown_formats_are_named(home, tmp_path):
    with pytest.raises(ConfigError, match=r"expected one of deepmd/npy"):
        export_dataset(home, "crystal", "deepmd/nyp", tmp_path / "x")


@pytest.mark.slow
@pytest.mark.parametrize("format_name", list(WRITERS))
def test_a_full_disk_leaves_nothing(home, tmp_path, format_name):
    """A limit on the size of files stands for a full disk: writes fail midway."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from dpbench.errors import WorkspaceError\n"
        "from dpbench.io.exchange.export import export_dataset\n"
        "from dpbench.store.workspace import Workspace\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "workspace = Workspace.find(sys.argv[1])\n"
        "export_dataset(workspace, 'si8', sys.argv[2], Path(sys.argv[3]) / 'whole')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try:\n"
        "    export_dataset(workspace, 'si8', sys.argv[2], Path(sys.argv[3]) / 'x')\n"
        "except WorkspaceError as error:\n"
        "    print('REFUSED', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, home.root, format_name, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "REFUSED" in done.stdout, done.stderr[-2000:]
    assert "nothing was left there" in done.stdout
    assert [p.name for p in tmp_path.iterdir() if p.name != "away"] == ["whole"]


def test_lmdb_that_is_cut_does_not_end_the_process(exported, away):
    """Reading past the end of a memory map would kill it."""
    folder = exported("si8", "deepmd/lmdb")
    os.truncate(folder / "data.mdb", (folder / "data.mdb").stat().st_size - 4096)
    renew_hashes(folder)
    assert_refused(away, folder, "The file is cut")


def test_exports_are_read_by_ingest_too(exported, away):
    """Without the sidecar an export is a file like any other."""
    folder = exported("crystal", "extxyz")
    ingest(away, "extxyz", [folder / "data.xyz"], dataset="plain", workers=0)
    before, after = 6, open_dataset(away, "plain").nframes
    assert before == after
