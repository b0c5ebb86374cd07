"""LMDB, ASE databases and Parquet files of others, through ``dpbench ingest``."""

import sqlite3

import ase.db
import dpdata
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from dpbench.errors import SourceError
from dpbench.io.discover import find_sources
from dpbench.io.ingest import ingest
from dpbench.store.dataset import open_dataset

FILES = {"deepmd": "deepmd/lmdb", "ase": "ase/db", "parquet": "parquet"}


def sorted_bytes(frames):
    """Frames as a multiset, to the last bit."""
    return sorted(
        (float(frames.energy[i]), frames.coord[frames.atoms_of(i)].tobytes())
        for i in range(frames.nframes)
    )


@pytest.mark.parametrize(
    ("code", "format_name"), [*FILES.items(), *(("auto", f) for f in FILES.values())]
)
def test_files_without_sidecar_are_plain_sources(
    home, exported, away, code, format_name
):
    folder = exported("si8", format_name)
    for name in ("dpbench.json", "dpbench-frames.npy"):
        (folder / name).unlink()
    ingest(away, code, [folder], dataset="x", workers=0)
    version = open_dataset(away, "x")
    assert version.sources[0].format == format_name
    assert version.theories == {version.sources[0].theory_id: {}}
    before = open_dataset(home, "si8")
    ours, theirs = version.read(range(180)), before.read(range(180))
    assert sorted_bytes(ours) == sorted_bytes(theirs)
    np.testing.assert_array_equal(np.sort(ours.virial, 0), np.sort(theirs.virial, 0))


def test_lmdb_of_dpdata_is_read(shared_data, tmp_path, away):
    system = shared_data / "thirdparty" / "deepmd_water" / "data" / "data_3"
    loaded = dpdata.LabeledSystem(str(system), fmt="deepmd/npy")
    loaded.to("deepmd/lmdb", str(tmp_path / "water.lmdb"))
    ingest(away, "deepmd", [tmp_path / "water.lmdb"], dataset="x", workers=0)
    frames = open_dataset(away, "x").read(range(len(loaded)))
    np.testing.assert_array_equal(frames.energy, loaded["energies"])
    np.testing.assert_array_equal(
        frames.coord.reshape(loaded["coords"].shape), loaded["coords"]
    )
    assert not frames.has_virial.any()
    assert frames.pbc.all()


def test_database_of_ase_is_read_with_the_free_energy_and_its_stress(tmp_path, away):
    atoms = Atoms("SiO", [[0, 0, 0], [1, 1, 1]], cell=[3, 4, 5], pbc=True)
    stress = [0.1, 0.2, 0.3, 0.04, 0.05, 0.06]
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1.0, free_energy=-1.5, forces=np.ones((2, 3)), stress=stress
    )
    bare = Atoms("H", [[0, 0, 0]])
    with ase.db.connect(tmp_path / "some.db") as database:
        database.write(atoms)
        database.write(bare)
    report = ingest(away, "ase", [tmp_path / "some.db"], dataset="x", workers=0)
    assert report.quarantined == {"no_energy": 1}
    frames = open_dataset(away, "x").read([0])
    assert frames.energy[0] == -1.5
    expected = -60 * np.array([[0.1, 0.06, 0.05], [0.06, 0.2, 0.04], [0.05, 0.04, 0.3]])
    np.testing.assert_allclose(frames.virial[0], expected, rtol=1e-14)


def test_other_databases_and_tables_in_a_folder_are_no_sources(exported, tmp_path):
    folder = exported("crystal", "ase/db")
    with sqlite3.connect(folder / "other.db") as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    pd.DataFrame({"a": [1]}).to_parquet(folder / "other.parquet")
    found = find_sources("auto", [folder])
    assert [source.main.name for source in found.sources] == ["data.db"]
    with pytest.raises(SourceError, match="no source found"):
        find_sources("parquet", [folder])


@pytest.mark.parametrize("format_name", ["ase/db", "parquet"])
def test_named_files_of_another_kind_say_what_is_missing(away, tmp_path, format_name):
    code = format_name.partition("/")[0]
    path = tmp_path / "x"
    if code == "ase":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (text)")
        connection.close()
    else:
        pd.DataFrame({"a": [1]}).to_parquet(path)
    match = "no such table: systems" if code == "ase" else "no column atomic_numbers"
    with pytest.raises(SourceError, match=match):
        ingest(away, code, [path], dataset="x", workers=0)


def test_a_bomb_of_a_parquet_file_is_refused(exported, away, monkeypatch):
    folder = exported("crystal", "parquet")
    (path,) = (folder / "data").glob("*.parquet")
    monkeypatch.setattr("dpbench.io.readers.parquet.MOST_INFLATION", 0)
    with pytest.raises(SourceError, match=r"unpacks to .* bytes"):
        ingest(away, "parquet", [path], dataset="x", workers=0)


def test_damaged_rows_of_a_database_are_named(exported, away):
    folder = exported("crystal", "ase/db")
    with sqlite3.connect(folder / "data.db") as connection:
        connection.execute("UPDATE systems SET positions = x'00' WHERE id = 2")
    connection.close()
    with pytest.raises(SourceError, match="row 2 is damaged"):
        ingest(away, "ase", [folder / "data.db"], dataset="x", workers=0)


def test_reading_a_database_leaves_it_as_it_was(exported, away):
    folder = exported("crystal", "ase/db")
    path = folder / "data.db"
    before = path.read_bytes()
    ingest(away, "ase", [path], dataset="x", workers=0)
    assert path.read_bytes() == before
    assert not list(folder.glob("*-journal"))
    assert not list(folder.glob("*.lock"))
