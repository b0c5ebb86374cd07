"""A small model and a start structure as files."""

import pytest
from ase import Atoms
from ase.io import write

from dpbench.models.checkpoint import save_model
from tests.models.structures import model, water


@pytest.fixture(scope="session")
def md_files(tmp_path_factory):
    """A folder with m.pth and s.extxyz."""
    folder = tmp_path_factory.mktemp("md")
    save_model(folder / "m.pth", model(), {})
    frames = water(natoms=12)
    atoms = Atoms(
        numbers=frames.z, positions=frames.coord, cell=frames.box[0], pbc=True
    )
    write(folder / "s.extxyz", atoms)
    return folder
