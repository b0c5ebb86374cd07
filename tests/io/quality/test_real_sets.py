"""Real outputs, read by the readers, judged as they are."""

import numpy as np
import pytest

from dpbench.io.ingest import ingest
from dpbench.io.quality.exclude import exclude
from dpbench.io.quality.findings import describe
from dpbench.io.quality.judge import judge
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.io.quality.faulty_sets import judged, raised
from tests.io.quality.twin_makers import mlearn

SETS = [
    ("qe", "si8_qe_lda"),
    ("qe", "almg_qe_lda"),
    ("cp2k", "water8_cp2k_pbe"),
    ("qe", "water8_qe_pbe"),
    ("qe", "qe_fixtures"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, shared_data):
    workspace = Workspace.find(tmp_path_factory.mktemp("real") / "ws", create=True)
    for code, name in SETS:
        folder = shared_data / "generated" / name
        ingest(workspace, code, [folder], dataset=name)
    return workspace


@pytest.mark.parametrize("name", ["si8_qe_lda", "almg_qe_lda", "water8_qe_pbe"])
def test_clean_sets_have_no_flag(workspace, name):
    quality = judge(open_dataset(workspace, name))
    assert raised(quality) == {}
    bad = [e for e in quality.checks["trajectory"] if e["verdict"] != "ok"]
    assert bad == []


def test_only_the_net_force_of_cp2k_is_flagged(workspace):
    quality = judge(open_dataset(workspace, "water8_cp2k_pbe"))
    assert set(raised(quality)) == {"net_force"}
    (entry,) = quality.checks["trajectory"]
    assert entry["slope"] == pytest.approx(1, abs=2e-3)
    assert entry["r"] > 0.9999


def test_frames_that_readers_kept_out_are_counted(workspace):
    version = open_dataset(workspace, "qe_fixtures")
    quality = judge(version)
    assert quality.counts["unconverged"] == 1
    assert quality.counts["truncated"] == 1
    assert len(quality.of("unconverged")) == 0
    rows = {row["name"]: row for row in describe(version, quality)["flags"]}
    assert rows["truncated"]["is_kept_out"]


def test_what_single_point_files_cannot_tell_is_said(workspace):
    quality = judge(open_dataset(workspace, "water8_qe_pbe"))
    skipped = {s["check"]: s for s in quality.checks["skipped"]}
    assert skipped["trajectory"]["reason"] == "one frame"
    assert skipped["trajectory"]["n_groups"] == 159
    assert skipped["pulay_stress"]["reason"] == "one volume"


def test_slopes_of_real_trajectories_are_one(workspace):
    for name in ("si8_qe_lda", "almg_qe_lda"):
        entries = judge(open_dataset(workspace, name)).checks["trajectory"]
        slopes = np.array([e["slope"] for e in entries])
        assert np.abs(slopes - 1).max() < 3e-3
        assert min(e["r"] for e in entries) > 0.99999


def test_first_steps_from_rest_are_no_duplicates(tmp_path, shared_data):
    workspace = Workspace.find(tmp_path / "ws", create=True)
    folder = shared_data / "thirdparty" / "vasp_ch4"
    ingest(workspace, "vasp", [folder], dataset="methane")
    version = open_dataset(workspace, "methane")
    quality = judge(version)
    of = quality.values["duplicate_of"]
    twins = quality.of("duplicate_invariant")
    assert quality.checks["twins"]["steps"] >= 9
    assert (version.source_of[twins] != version.source_of[of[twins]]).all()


@pytest.mark.slow
def test_twins_of_silicon_are_flagged_in_one_version(tmp_path, shared_data):
    training, _ = mlearn(shared_data, "Si", "training")
    test, _ = mlearn(shared_data, "Si", "test")
    version, quality = judged(tmp_path, {"training": training, "test": test})
    flagged = quality.of("duplicate_invariant")
    assert raised(quality) == {"duplicate_invariant": 45}
    assert int((flagged < 214).sum()) == 40
    # Three test frames repeat a training frame, two more repeat a test frame.
    of = quality.values["duplicate_of"][[236, 237, 238, 234, 235]]
    assert of.tolist() == [192, 192, 192, 233, 233]
    told = quality.checks["twins"]
    assert (told["confirmed"], told["refuted"]) == (45, 0)
    made = exclude(
        version, quality, ["duplicate_invariant"], created_at="2026-01-01T00:00:00Z"
    )
    assert judge(made).n_flagged == 0
