"""Real outputs, from the files to the frames that a trainer reads."""

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.ingest import ingest
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

SETS = [
    ("qe", "si8_qe_lda", 600),
    ("qe", "almg_qe_lda", 850),
    ("cp2k", "water8_cp2k_pbe", 61),
    ("qe", "water8_qe_pbe", 159),
]


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "ws", create=True)


@pytest.mark.parametrize(("code", "name", "nframes"), SETS)
def test_generated_sets_are_ingested_whole_and_once(
    workspace, shared_data, code, name, nframes
):
    folder = shared_data / "generated" / name
    report = ingest(workspace, code, [folder])
    assert (report.label, report.n_kept) == (f"{name}-v1", nframes)
    assert (report.quarantined, report.failed) == ({}, ())
    version = open_dataset(workspace, name)
    assert version.nframes == nframes
    assert version.read(range(nframes)).has_force.all()
    again = ingest(workspace, code, [folder])
    assert (again.is_new, again.n_kept, again.digest) == (False, 0, report.digest)


def test_killed_and_unconverged_runs_are_kept_apart_with_the_reason(
    workspace, shared_data
):
    report = ingest(workspace, "qe", [shared_data / "generated" / "qe_fixtures"])
    assert report.quarantined == {"truncated": 1, "unconverged": 1}
    kept_out = open_dataset(workspace, "qe_fixtures").quarantine()
    assert sorted(kept_out.reasons) == ["truncated", "unconverged"]
    assert np.isfinite(kept_out.frames.coord).all()


def test_unconverged_run_alone_makes_no_version(workspace, shared_data):
    path = shared_data / "generated" / "qe_fixtures" / "si8_unconverged.out"
    with pytest.raises(SourceError, match="1 unconverged"):
        ingest(workspace, "qe", [path], dataset="x")
    assert objects.dataset_names(workspace) == []


def test_npy_and_output_of_one_run_read_the_same(workspace, shared_data):
    generated = shared_data / "generated"
    ingest(workspace, "deepmd", [generated / "npy" / "si8_qe_lda"], dataset="npy")
    ingest(workspace, "qe", [generated / "si8_qe_lda"], dataset="qe")
    npy, qe = (open_dataset(workspace, name) for name in ("npy", "qe"))
    assert npy.nframes == qe.nframes
    one, other = npy.read(range(600)), qe.read(range(600))
    np.testing.assert_allclose(one.energy, other.energy, rtol=1e-8)
    np.testing.assert_allclose(one.force, other.force, atol=1e-6)
