"""Datasets to export: one workspace with all of them, made once."""

from pathlib import Path

import numpy as np
import pytest

from dpbench.io.exchange.export import export_dataset
from dpbench.io.ingest import ingest
from dpbench.store.workspace import Workspace
from tests.conftest import REPOSITORY

DEMO = REPOSITORY / "dpbench" / "_demo"

COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
SLAB = f"""2
Lattice="3 0 0 0 3 0 0 0 20" {COLUMNS} energy=-1.5 pbc="T T F"
Si 0.1 0.2 0.3 0.01 0.02 0.03
O 1.1 1.2 1.3 -0.01 -0.02 -0.03
"""
CRYSTAL = f"""2
Lattice="3 0.1 0 0 3 0 0 0 3" {COLUMNS} energy={{energy}} {{virial}}pbc="T T T"
Si {{x}} 0.2 0.3 0.01 0.02 0.03
O 1.1 1.2 1.3 -0.01 -0.02 -0.03
"""
MOLECULE = f"""3
{COLUMNS} energy={{energy}} pbc="F F F"
H {{x}} 0.0 0.0 0.01 0.02 0.03
O 0.0 1.2 0.3 0.01 0.02 0.03
H 0.0 0.0 0.9 -0.02 -0.04 -0.06
"""
# not symmetric in its last digits, as codes print it
VIRIAL = 'virial="1.5 0.1 0.2 0.1000001 1.25 0.3 0.2 0.3 1.125" '


def mixed_text():
    """Frames with and without cell and virial, one periodic in two directions."""
    crystals = [
        CRYSTAL.format(energy=-2 - i / 7, x=0.1 * i, virial=VIRIAL if i % 2 else "")
        for i in range(4)
    ]
    molecules = [MOLECULE.format(energy=-3 - i / 7, x=0.7 + 0.1 * i) for i in range(3)]
    return "".join([crystals[0], molecules[0], *crystals[1:], SLAB, *molecules[1:]])


def molecule_text():
    """A molecule without a cell."""
    frames = [MOLECULE.format(energy=-1 / (i + 3), x=1 / (i + 7)) for i in range(9)]
    return "".join(frames)


def crystal_text():
    """A crystal with virials, all of one composition."""
    return "".join(
        CRYSTAL.format(energy=-2 - i / 7, x=0.1 * i, virial=VIRIAL) for i in range(6)
    )


def narrow_system(folder: Path) -> Path:
    """A DeePMD-kit system in float32, atoms not sorted by element."""
    rng = np.random.default_rng(4)
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n0\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    for name, size in (("coord", 12), ("force", 12), ("energy", 1), ("box", 9)):
        array = rng.normal(size=(7, size)).astype(np.float32)
        np.save(folder / "set.000" / f"{name}.npy", array)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A workspace with datasets of every kind that needs no shared data."""
    root = tmp_path_factory.mktemp("home")
    workspace = Workspace.find(root / "ws", create=True)
    runs = [DEMO / "si8_a540_300K.out.gz", DEMO / "si8_a525_900K.out.gz"]
    ingest(workspace, "qe", runs, dataset="si8", workers=0)
    for name, text in (
        ("mixed", mixed_text()),
        ("molecule", molecule_text()),
        ("crystal", crystal_text()),
    ):
        (root / f"{name}.xyz").write_text(text)
        path = root / f"{name}.xyz"
        ingest(workspace, "extxyz", [path], dataset=name, workers=0)
    system = narrow_system(root / "narrow")
    ingest(workspace, "deepmd", [system], dataset="narrow", workers=0)
    return workspace


@pytest.fixture
def away(tmp_path):
    """An empty workspace."""
    return Workspace.find(tmp_path / "away", create=True)


@pytest.fixture
def exported(home, tmp_path):
    """A function that exports a dataset of ``home`` and returns the folder."""

    def export(name, format_name):
        folder = tmp_path / f"{name}-{format_name.replace('/', '-')}"
        export_dataset(home, name, format_name, folder)
        return folder

    return export
