"""Others read what dpbench wrote, and read the same numbers: dpdata, ASE, pandas."""

import json
import subprocess
from pathlib import Path

import ase.db
import ase.io
import dpdata
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
import pytest

from dpbench.elements import SYMBOLS
from dpbench.io.exchange.export import export_dataset
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split, save_split

EXACT = {"rtol": 0, "atol": 0}
ROUNDED = {"rtol": 1e-12, "atol": 1e-12}
"""A virial that went through a stress: two divisions by the volume."""

CROISSANT = """
import json, sys
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = dataset.metadata.issues
records = list(dataset.records("frames"))
print(json.dumps({
    "errors": sorted(issues.errors),
    "warnings": sorted(issues.warnings),
    "n": len(records),
    "energy": [float(r["frames/energy"]) for r in records],
    "first": [float(x) for x in records[0]["frames/positions"][0]],
}))
"""

DEEPMD = """
import json, sys
import numpy as np
from deepmd.dpmodel.utils.lmdb_data import LmdbDataReader
from deepmd.utils.data import DataRequirementItem as Item, DeepmdData

def lmdb(path, names):
    reader = LmdbDataReader(path, names, batch_size=1)
    reader.add_data_requirement([
        Item("energy", 1, atomic=False, must=True, high_prec=True),
        Item("force", 3, atomic=True, must=True),
        Item("virial", 9, atomic=False, must=False),
    ])
    for i in range(len(reader)):
        f = reader[i]
        yield {
            "atype": f["atype"].tolist(), "coord": f["coord"].ravel().tolist(),
            "energy": float(f["energy"][0]), "force": f["force"].ravel().tolist(),
            "virial": np.ravel(f["virial"]).tolist() if f["find_virial"] else None,
            "box": np.ravel(f["box"]).tolist() if "box" in f else None,
        }

def system(path, names):
    data = DeepmdData(path, type_map=names, shuffle_test=False, sort_atoms=False)
    data.add("energy", 1, atomic=False, must=True, high_prec=True)
    data.add("force", 3, atomic=True, must=True, high_prec=True)
    data.add("virial", 9, atomic=False, must=False, high_prec=True)
    test = data.get_test()
    for i in range(len(test["coord"])):
        yield {
            "atype": test["type"][i].tolist(), "coord": test["coord"][i].tolist(),
            "energy": float(test["energy"][i][0]), "force": test["force"][i].tolist(),
            "virial": test["virial"][i].tolist() if test["find_virial"] else None,
            "box": test["box"][i].tolist() if data.pbc else None,
        }

jobs = json.loads(sys.argv[1])
read = {"lmdb": lmdb, "system": system}
print("RESULT" + json.dumps([
    [row for path in paths for row in read[kind](path, names)]
    for kind, paths, names in jobs
]))
"""


def by_energy(rows):
    """Systems come in another order than the frames of the dataset."""
    return sorted(rows, key=lambda row: row["energy"])


def frames_of(workspace, name):
    """The dataset as plain rows."""
    version = open_dataset(workspace, name)
    frames = version.read(range(version.nframes))
    return by_energy(
        {
            "energy": float(frames.energy[i]),
            "symbols": [SYMBOLS[z] for z in frames.z[frames.atoms_of(i)]],
            "coord": frames.coord[frames.atoms_of(i)].astype(float),
            "force": frames.force[frames.atoms_of(i)].astype(float),
            "box": frames.box[i],
            "pbc": frames.pbc[i],
            "virial": frames.virial[i],
        }
        for i in range(frames.nframes)
    )


def assert_same(rows, expected, tolerance=EXACT):
    assert len(rows) == len(expected)
    for row, frame in zip(by_energy(rows), expected, strict=True):
        assert row["energy"] == frame["energy"]
        assert list(row["symbols"]) == frame["symbols"]
        np.testing.assert_array_equal(row["coord"], frame["coord"])
        np.testing.assert_array_equal(row["force"], frame["force"])
        if row["box"] is not None:
            np.testing.assert_array_equal(row["box"], frame["box"])
        else:
            assert np.isnan(frame["box"]).all()
        if row["virial"] is None:
            assert np.isnan(frame["virial"]).all()
        else:
            np.testing.assert_allclose(row["virial"], frame["virial"], **tolerance)


def dpdata_rows(systems):
    """What dpdata read, as plain rows."""
    return [
        {
            "energy": float(system["energies"][i]),
            "symbols": [system["atom_names"][t] for t in system["atom_types"]],
            "coord": system["coords"][i],
            "force": system["forces"][i],
            "box": None if system.data.get("nopbc") else system["cells"][i],
            "virial": system["virials"][i] if "virials" in system.data else None,
        }
        for system in systems
        for i in range(system.get_nframes())
    ]


@pytest.mark.parametrize("name", ["si8", "mixed", "narrow", "molecule"])
@pytest.mark.parametrize("format_name", ["deepmd/npy", "deepmd/hdf5"])
def test_dpdata_reads_every_system(home, exported, name, format_name):
    folder = exported(name, format_name)
    sidecar = json.loads((folder / "dpbench.json").read_text())
    paths = [system["path"] for system in sidecar["systems"]]
    where = f"{folder}/data.hdf5#" if format_name.endswith("hdf5") else f"{folder}/"
    systems = [dpdata.LabeledSystem(f"{where}{p}", fmt=format_name) for p in paths]
    assert_same(dpdata_rows(systems), frames_of(home, name))


@pytest.mark.parametrize("name", ["si8", "mixed", "narrow"])
def test_dpdata_reads_mixed_type(home, exported, name):
    folder = exported(name, "deepmd/npy/mixed")
    sidecar = json.loads((folder / "dpbench.json").read_text())
    rows = []
    # one at a time: dpdata refuses systems with and without virials side by side
    for path in (system["path"] for system in sidecar["systems"]):
        systems = dpdata.MultiSystems().load_systems_from_file(
            str(folder / path), fmt="deepmd/npy/mixed"
        )
        rows += dpdata_rows(systems.systems.values())
    expected = frames_of(home, name)
    rows = by_energy(rows)
    assert [row["energy"] for row in rows] == [frame["energy"] for frame in expected]
    if name == "si8":
        assert_same(rows, expected)


@pytest.mark.parametrize("name", ["si8", "crystal", "molecule"])
def test_dpdata_reads_lmdb(home, exported, name):
    folder = exported(name, "deepmd/lmdb")
    systems = dpdata.MultiSystems().load_systems_from_file(
        str(folder), fmt="deepmd/lmdb"
    )
    rows = by_energy(dpdata_rows(systems.systems.values()))
    expected = frames_of(home, name)
    assert [row["energy"] for row in rows] == [frame["energy"] for frame in expected]
    for row, frame in zip(rows, expected, strict=True):  # dpdata sorts the atoms
        order = np.argsort(frame["symbols"], kind="stable")
        ours = np.argsort(row["symbols"], kind="stable")
        np.testing.assert_array_equal(row["coord"][ours], frame["coord"][order])
        np.testing.assert_array_equal(row["force"][ours], frame["force"][order])


@pytest.mark.parametrize("name", ["si8", "crystal"])
def test_dpdata_reads_extxyz(home, exported, name):
    path = exported(name, "extxyz") / "data.xyz"
    systems = dpdata.MultiSystems().load_systems_from_file(str(path), fmt="extxyz")
    rows = by_energy(dpdata_rows(systems.systems.values()))
    expected = frames_of(home, name)
    np.testing.assert_array_equal(
        [row["energy"] for row in rows], [frame["energy"] for frame in expected]
    )
    for row, frame in zip(rows, expected, strict=True):
        # dpdata reads the nine numbers row by row, the field writes them by column
        np.testing.assert_array_equal(row["virial"], frame["virial"].T)
        np.testing.assert_array_equal(row["box"], frame["box"])


def ase_row(atoms):
    """One structure of ASE as a plain row."""
    stress = atoms.calc.results.get("stress")
    box = np.array(atoms.cell)
    virial = None
    if stress is not None:
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
    return {
        "energy": atoms.get_potential_energy(),
        "symbols": atoms.get_chemical_symbols(),
        "coord": atoms.positions,
        "force": atoms.get_forces(),
        "box": box if box.any() else None,
        "pbc": atoms.pbc,
        "virial": virial,
    }


def symmetric(frames):
    """ASE's stress has six numbers."""
    return [f | {"virial": (f["virial"] + f["virial"].T) / 2} for f in frames]


@pytest.mark.parametrize("name", ["si8", "mixed", "narrow", "molecule"])
def test_ase_reads_extxyz(home, exported, name):
    path = exported(name, "extxyz") / "data.xyz"
    atoms = ase.io.read(path, index=":", format="extxyz")
    rows = [ase_row(a) for a in atoms]
    # extxyz numbers the off-diagonals of one side only
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if name == "mixed" else ROUNDED
    assert_same(rows, symmetric(frames_of(home, name)), tolerance)
    version = open_dataset(home, name)
    assert atoms[0].info["source"] == version.sources[0].sha256
    assert [a.info["step"] for a in atoms] == version.step.tolist()
    assert atoms[0].info["theory"] == version.sources[0].theory_id


@pytest.mark.parametrize("name", ["si8", "mixed", "narrow", "molecule"])
def test_ase_reads_its_database(home, exported, name):
    path = exported(name, "ase/db") / "data.db"
    version = open_dataset(home, name)
    with ase.db.connect(path) as database:
        rows = list(database.select())
        assert database.metadata["title"] == version.label
        assert database.metadata["theories"] == version.theories
        selected = list(database.select(f"step={int(version.step[0])}"))
    read = [ase_row(row.toatoms()) for row in rows]
    assert_same(read, symmetric(frames_of(home, name)), ROUNDED)
    assert [row.step for row in rows] == version.step.tolist()
    assert rows[0].source == f"sha256:{version.sources[0].sha256}"
    assert selected


def nested(value):
    """Nested lists of Arrow as an array; None stays."""
    return None if value is None else np.array([list(row) for row in value])


@pytest.mark.parametrize("name", ["si8", "mixed", "narrow", "molecule"])
def test_pandas_reads_parquet(home, exported, name):
    folder = exported(name, "parquet")
    table = pd.read_parquet(folder / "data")
    rows = [
        {
            "energy": row.energy,
            "symbols": [SYMBOLS[z] for z in row.atomic_numbers],
            "coord": nested(row.positions),
            "force": nested(row.forces),
            "box": nested(row.cell),
            "virial": nested(row.virial),
        }
        for row in table.itertuples()
    ]
    assert_same(rows, frames_of(home, name))
    version = open_dataset(home, name)
    assert table.step.tolist() == version.step.tolist()
    assert table.formula.tolist() == list(version.formulas)
    assert table.source[0] == version.sources[0].sha256


def test_parquet_has_row_groups_of_bounded_size(exported, monkeypatch):
    monkeypatch.setattr("dpbench.io.writers.parquet.ROW_GROUP", 50)
    (path,) = (exported("si8", "parquet") / "data").glob("*.parquet")
    assert path.name == "train-00000-of-00001.parquet"
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert max(sizes) <= 50
    assert sum(sizes) == 180


def test_part_names_the_split_of_the_hub(home, tmp_path):
    version = open_dataset(home, "crystal")
    split = make_split(
        version, strategy="random", fractions={"train": 0.5, "far-off": 0.5}, name="far"
    )
    save_split(version, split)
    export_dataset(home, "crystal:far-off", "parquet", tmp_path / "x", split="far")
    (path,) = (tmp_path / "x" / "data").iterdir()
    assert path.name == "far_off-00000-of-00001.parquet"
    text = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    assert "- split: far_off\n    path: data/far_off-*.parquet" in text


def test_hub_card_has_a_header_that_the_hub_reads(exported):
    text = (exported("si8", "parquet") / "README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    assert "license: unknown" in header  # two of the six runs are another content
    assert "path: data/train-*.parquet" in header
    assert '- "n<1K"' in header
    assert "| `virial` | virial, eV, -dE/dstrain" in body


def croissant_python(python: Path, folder: Path) -> dict[str, str]:
    """An environment for mlcroissant that lends it our pyarrow, which pandas needs."""
    folder.mkdir()
    (folder / "pyarrow").symlink_to(Path(pyarrow.__file__).parent)
    return {"PYTHONPATH": str(folder), "PATH": str(python.parent), "HOME": str(folder)}


def test_mlcroissant_validates_the_metadata_and_reads_the_records(
    services_python, home, exported, tmp_path
):
    folder = exported("si8", "parquet")
    done = subprocess.run(
        [services_python, "-c", CROISSANT, folder / "croissant.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=croissant_python(services_python, tmp_path / "lent"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == []
    version = open_dataset(home, "si8")
    frames = version.read(range(version.nframes))
    np.testing.assert_array_equal(found["energy"], frames.energy)
    np.testing.assert_array_equal(found["first"], frames.coord[0])


def deepmd_rows(python, jobs):
    """What DeePMD-kit's own loaders give: rows of each job (kind, paths, elements)."""
    done = subprocess.run(
        [python, "-c", DEEPMD, json.dumps(jobs)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("RESULT")]
    found = json.loads(line.removeprefix("RESULT"))
    return [
        [
            {
                "energy": row["energy"],
                "symbols": [names[t] for t in row["atype"]],
                **{
                    key: None if row[key] is None else np.reshape(row[key], (-1, 3))
                    for key in ("coord", "force", "box", "virial")
                },
            }
            for row in rows
        ]
        for rows, (_, _, names) in zip(found, jobs, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "format_name", ["deepmd/npy", "deepmd/npy/mixed", "deepmd/hdf5", "deepmd/lmdb"]
)
def test_deepmd_kit_reads_its_formats(deepmd_python, home, exported, format_name):
    datasets = ("si8", "mixed", "narrow", "molecule")
    jobs = []
    for name in datasets:
        folder = exported(name, format_name)
        sidecar = json.loads((folder / "dpbench.json").read_text())
        where = f"{folder}/data.hdf5#/" if "hdf5" in format_name else f"{folder}/"
        paths = [f"{where}{system['path']}" for system in sidecar["systems"]]
        is_lmdb = format_name == "deepmd/lmdb"
        kind = "lmdb" if is_lmdb else "system"
        jobs.append((kind, [str(folder)] if is_lmdb else paths, sidecar["elements"]))
    single = {"rtol": 2e-7, "atol": 1e-6}  # DeePMD-kit takes coordinates as it trains
    for name, rows in zip(datasets, deepmd_rows(deepmd_python, jobs), strict=True):
        expected = frames_of(home, name)
        assert len(rows) == len(expected)
        for row, frame in zip(by_energy(rows), expected, strict=True):
            assert row["energy"] == frame["energy"]
            assert row["symbols"] == frame["symbols"]
            for key in ("coord", "force", "box", "virial"):
                if row[key] is None:
                    assert np.isnan(frame[key]).all()
                else:
                    np.testing.assert_allclose(row[key], frame[key], **single)
