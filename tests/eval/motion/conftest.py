"""A workspace with a dataset of a few sources to start from."""

import numpy as np
import pytest

from dpbench.eval.parts import Part
from dpbench.eval.record import Overlap
from dpbench.eval.tasks.task import Job
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

A = 4.05
SITES = A * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def write_frames(folder, coord, box, *, elements=("Al",), types=None, **labels):
    """Write frames as deepmd/npy: coord (frame, atom, 3), box (3, 3)."""
    nframes, natoms = coord.shape[:2]
    (folder / "set.000").mkdir(parents=True)
    types = np.zeros(natoms, int) if types is None else types
    (folder / "type.raw").write_text("\n".join(map(str, types)) + "\n")
    (folder / "type_map.raw").write_text("\n".join(elements) + "\n")
    rng = np.random.default_rng(0)
    arrays = {
        "coord": coord,
        "box": np.tile(box, (nframes, 1, 1)),
        "energy": rng.normal(size=nframes),
        "force": rng.normal(scale=0.1, size=coord.shape),
        "virial": np.zeros((nframes, 3, 3)),
    } | labels
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array.reshape(nframes, -1))


def make_part(root, code, paths):
    """Ingest files into a workspace below ``root``: it, and all of their frames."""
    workspace = Workspace.find(root / "workspace", create=True)
    chosen = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, code, paths, dataset="cells", options=chosen)
    version = open_dataset(workspace, "cells")
    part = Part(
        version=version,
        split=None,
        name="whole",
        indices=np.arange(version.nframes),
        overlap=Overlap(train=None, validation=None),
        marks=(),
    )
    return workspace, part


def make_job(root, settings, **options):
    """Ingest what lies in ``root/systems``; make a job on all of it."""
    workspace, part = make_part(root, "deepmd", [root / "systems"])
    return Job(workspace=workspace, part=part, settings=settings, **options)


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """A job on three sources of fcc aluminium, four atoms each."""
    root = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(3)
    for index in range(3):
        coord = SITES + rng.normal(scale=0.02, size=(6, 4, 3))
        write_frames(root / "systems" / f"run{index}", coord, np.eye(3) * A)
    return make_job(root, None)
