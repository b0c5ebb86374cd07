"""Numbers of atoms (aparam) from files to a dataset, and out of it again."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import ase.build
import ase.db
import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dpbench.errors import SourceError
from dpbench.frames import Frames
from dpbench.io.exchange.export import export_dataset
from dpbench.io.exchange.importing import import_dataset
from dpbench.io.gate import judge
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.parsed import Quarantine
from dpbench.io.writers import WRITERS
from dpbench.store.dataset import open_dataset
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.workspace import Workspace
from tests.io.test_deepmd import NATOMS, made_up, read, write_system

EXTXYZ = """2
Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:aparam:R:2:forces:R:3 \
energy=-1.5 pbc="T T T"
Si 0.1 0.2 0.3 0.5 7 0.01 0.02 0.03
O 1.1 1.2 1.3 -0.5 8 -0.01 -0.02 -0.03
"""


def numbers(nframes: int, width: int, seed: int = 5) -> np.ndarray:
    """Numbers as aparam.npy has them, (frame, atom * number)."""
    return np.random.default_rng(seed).normal(0, 1, (nframes, NATOMS * width))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Workspace:
    """Dataset ``spins``: systems with two numbers an atom, with one, and with none."""
    root = tmp_path_factory.mktemp("aparam")
    for name, width in (("two", 2), ("one", 1), ("none", 0)):
        arrays = made_up(4)
        arrays["coord"] = arrays["coord"] + width
        if width:
            arrays["aparam"] = numbers(4, width)
        write_system(root / "systems" / name, arrays)
    workspace = Workspace.find(root / "workspace", create=True)
    options = IngestOptions(workers=0)
    ingest(workspace, "deepmd", [root / "systems"], dataset="spins", options=options)
    two = [root / "systems" / "two"]
    ingest(workspace, "deepmd", two, dataset="two", options=options)
    return workspace


def by_width(frames: Frames, width: int) -> Frames:
    return frames.select(np.flatnonzero(frames.numb_aparam == width))


def test_a_dataset_keeps_the_numbers_of_each_atom(home):
    version = open_dataset(home, "spins")
    frames = version.read(np.arange(version.nframes))
    assert sorted(frames.numb_aparam.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    for width in (1, 2):
        own = by_width(frames, width).aparam[:, :width]
        assert_array_equal(own, numbers(4, width).reshape(-1, width))
    assert by_width(frames, 0).aparam_of(0) is None


def test_a_buffer_and_any_order_give_the_same(home):
    version, order = open_dataset(home, "spins"), np.array([11, 0, 5, 5, 2, 8])
    plain = version.read(order)
    buffered = version.read(order, FrameBuffer())
    assert_array_equal(plain.aparam, buffered.aparam)
    assert_array_equal(plain.coord, buffered.coord)
    for row, index in enumerate(order):
        one, same = version.read([index]).aparam_of(0), plain.aparam_of(row)
        assert (one is None and same is None) or np.array_equal(one, same)


@pytest.mark.parametrize("format_name", sorted(set(WRITERS) - {"parquet"}))
def test_an_export_brings_them_back(home, format_name, tmp_path):
    written = export_dataset(home, "spins", format_name, tmp_path / "out")
    assert written.sidecar.is_lossless
    there = Workspace.find(tmp_path / "ws", create=True)
    report = import_dataset(there, tmp_path / "out", dataset="back")
    assert report.is_same
    assert open_dataset(there, "back").digest == open_dataset(home, "spins").digest


def test_parquet_says_that_it_has_no_place_for_them(home, tmp_path):
    written = export_dataset(home, "spins", "parquet", tmp_path / "out")
    assert not written.sidecar.is_lossless
    assert any("aparam) of 8 frames" in note for note in written.sidecar.not_held)
    there = Workspace.find(tmp_path / "ws", create=True)
    assert not import_dataset(there, tmp_path / "out", dataset="back").is_same


@pytest.mark.parametrize("format_name", ["deepmd/npy", "deepmd/npy/mixed"])
def test_deepmd_kit_finds_aparam_beside_the_labels(home, format_name, tmp_path):
    export_dataset(home, "spins", format_name, tmp_path / "out")
    shapes = [np.load(p).shape for p in sorted(tmp_path.glob("out/*/*/aparam.npy"))]
    assert sorted(shapes) == [(4, NATOMS), (4, NATOMS * 2)]
    assert len(list(tmp_path.glob("out/*-noaparam/type.raw"))) == 1


@pytest.mark.parametrize(
    ("code", "format_name", "file"),
    [
        ("deepmd", "deepmd/hdf5", "data.hdf5"),
        ("deepmd", "deepmd/lmdb", "."),
        ("extxyz", "extxyz", "data.xyz"),
        ("ase", "ase/db", "data.db"),
    ],
)
def test_readers_find_them_in_other_formats(home, code, format_name, file, tmp_path):
    export_dataset(home, "spins", format_name, tmp_path / "out")
    there = Workspace.find(tmp_path / "ws", create=True)
    options = IngestOptions(workers=0)
    ingest(there, code, [tmp_path / "out" / file], dataset="again", options=options)
    version, before = open_dataset(there, "again"), open_dataset(home, "spins")
    assert sorted(map(bytes, version.frame_digests)) == sorted(
        map(bytes, before.frame_digests)
    )


def test_columns_of_extxyz_are_read(tmp_path):
    (tmp_path / "a.xyz").write_text(EXTXYZ)
    parsed = read(tmp_path / "a.xyz", "extxyz")
    assert parsed.frames.aparam.tolist() == [[0.5, 7.0], [-0.5, 8.0]]
    assert parsed.frames.force[1].tolist() == [-0.01, -0.02, -0.03]


def test_padding_atoms_of_mixed_type_have_none(tmp_path):
    arrays = made_up(2) | {"aparam": numbers(2, 2)}
    arrays["real_atom_types"] = np.array([[0, 1, 1], [0, 1, -1]])
    arrays["aparam"][1, -2:] = np.nan
    parsed = read(write_system(tmp_path / "s", arrays), "deepmd/mixed")
    assert_array_equal(parsed.frames.aparam, arrays["aparam"].reshape(-1, 2)[:5])
    assert set(parsed.quarantine) == {Quarantine.NONE}


def test_a_shape_that_does_not_fit_is_quarantined_and_named(tmp_path):
    arrays = made_up(4) | {"aparam": np.zeros((4, NATOMS + 1))}
    parsed = read(write_system(tmp_path / "s", arrays))
    assert set(parsed.quarantine) == {Quarantine.BAD_SHAPE}
    (note,) = parsed.notes
    assert "set.000/aparam.npy: shape (4, 4)" in note
    assert "natoms * numb_aparam" in note


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_quarantined_and_placed(tmp_path, value):
    arrays = made_up(4) | {"aparam": numbers(4, 1)}
    arrays["aparam"][2, 1] = value
    parsed = read(write_system(tmp_path / "s", arrays))
    good, bad = Quarantine.NONE, Quarantine.NOT_A_NUMBER
    assert parsed.quarantine == (good, good, bad, good)
    assert "the first is atom 1 of frame 2" in parsed.notes[0]


def test_a_database_whose_aparam_is_something_else_says_so(tmp_path):
    path = tmp_path / "lattices.db"
    with ase.db.connect(path) as database:
        database.write(ase.build.bulk("Cu", cubic=True), data={"aparam": 3.6})
    with pytest.raises(SourceError, match=r"aparam'\] has 1 numbers; .* 4 atoms"):
        read(path, "ase/db")


def test_the_gate_tells_gaps_from_frames_with_fewer_numbers(home):
    frames = open_dataset(home, "spins").read(np.arange(12))
    assert set(judge(frames)) == {Quarantine.NONE}
    broken = frames.aparam.copy()
    frame = int(np.flatnonzero(frames.numb_aparam == 2)[0])
    broken[frames.atoms_of(frame).start + 1, 0] = np.nan
    verdict = judge(replace(frames, aparam=broken))
    assert verdict[frame] is Quarantine.NOT_A_NUMBER
    assert sum(reason is not Quarantine.NONE for reason in verdict) == 1


def test_a_forged_width_in_an_export_is_refused(home, tmp_path):
    from dpbench.io.exchange.systems import npy_arrays

    export_dataset(home, "spins", "deepmd/npy", tmp_path / "out")
    path = next(iter(tmp_path.glob("out/*/set.000/aparam.npy")))
    np.save(path, np.zeros((4, NATOMS * 2 + 1)))
    reader = npy_arrays(path.parent.parent, 4)
    with pytest.raises(SourceError, match="aparam has shape"):
        reader.read(np.arange(4))


def test_hdf5_systems_are_read_like_folders(tmp_path):
    arrays = made_up(3) | {"aparam": numbers(3, 1)}
    folder = write_system(tmp_path / "s", arrays)
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file["type.raw"] = np.array([0, 1, 1])
        file["type_map.raw"] = np.array(["O", "H"], dtype="S")
        for name, array in arrays.items():
            file[f"set.000/{name}.npy"] = array
    found = read(tmp_path / "s.hdf5", "deepmd/hdf5").frames.aparam
    assert_array_equal(found, read(Path(folder)).frames.aparam)


LOADER = """
import json, sys
from deepmd.dpmodel.utils.lmdb_data import LmdbDataReader
from deepmd.utils.data import DataRequirementItem as Item, DeepmdData
found = []
for path in json.loads(sys.argv[1]):
    if path.endswith("lmdb"):
        reader = LmdbDataReader(path, ["H", "O"], batch_size=1)
        reader.add_data_requirement([Item("aparam", 2, atomic=True, must=True)])
        frames = [reader[i] for i in range(len(reader))]
        found += [(f["coord"].ravel(), f["aparam"].ravel()) for f in frames]
        continue
    data = DeepmdData(path, type_map=["H", "O"], shuffle_test=False, sort_atoms=False)
    data.add("aparam", 2, atomic=True, must=True, high_prec=True)
    test = data.get_test()
    found += list(zip(test["coord"], test["aparam"]))
print("RESULT" + json.dumps([[a.tolist() for a in pair] for pair in found]))
"""


@pytest.mark.deepmd
@pytest.mark.slow
@pytest.mark.parametrize(
    "format_name", ["deepmd/npy", "deepmd/npy/mixed", "deepmd/hdf5", "deepmd/lmdb"]
)
def test_deepmd_kit_loads_the_numbers_that_were_exported(
    deepmd_python, home, format_name, tmp_path
):
    out = tmp_path / "as-lmdb"
    export_dataset(home, "two", format_name, out)
    systems = json.loads((out / "dpbench.json").read_text())["systems"]
    where = f"{out}/data.hdf5#/" if "hdf5" in format_name else f"{out}/"
    paths = [f"{where}{system['path']}" for system in systems] or [str(out)]
    done = subprocess.run(
        [deepmd_python, "-c", LOADER, json.dumps(paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("RESULT")]
    rows = sorted(json.loads(line.removeprefix("RESULT")))
    version = open_dataset(home, "two")
    frames = version.read(np.arange(version.nframes))
    ours = sorted(
        (frames.coord[frames.atoms_of(i)].ravel().tolist(), i)
        for i in range(frames.nframes)
    )
    for (_, aparam), (_, index) in zip(rows, ours, strict=True):
        np.testing.assert_allclose(aparam, frames.aparam_of(index).ravel(), 2e-7)
