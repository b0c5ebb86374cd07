"""Runs whose frames do not stay in memory, near and far."""

import shutil

import pytest
import torch

from dpbench.models.checkpoint import load_model
from dpbench.store.dataset import DatasetVersion
from dpbench.store.pack import pack
from dpbench.store.workspace import Workspace
from dpbench.train import run as front
from dpbench.train.run import train
from tests.train.small_runs import small_config
from tests.train.test_train_run import Listener, interrupt, parameters


@pytest.fixture
def run(workspace, tmp_path, monkeypatch):
    """Train on ``pairs`` with frames that are read anew for every batch."""
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)

    def start(name: str, progress=None, where=workspace, **training):
        config = small_config(**{"memory_budget": "0"} | training)
        out = tmp_path / name
        return train(where, config, dataset="pairs", out=out, progress=progress)

    return start


def provenance(report) -> dict:
    return load_model(report.model_path)[1]


def test_run_records_its_shuffle_and_its_waiting(run):
    told = provenance(run("near"))
    assert told["shuffle"] == {
        "kind": "global",
        "block_frames": 256,
        "buffer_blocks": 16,
    }
    assert 0 <= told["data_wait_fraction"] < 1


def test_far_frames_are_shuffled_in_blocks(run, monkeypatch):
    monkeypatch.setattr(DatasetVersion, "is_mapped", False)
    assert provenance(run("far"))["shuffle"]["kind"] == "block"


def test_frames_in_memory_are_near_wherever_they_came_from(run, monkeypatch):
    monkeypatch.setattr(DatasetVersion, "is_mapped", False)
    assert provenance(run("held", memory_budget="1GB"))["shuffle"]["kind"] == "global"


def test_block_run_goes_on_bitwise_though_its_frames_came_near(
    run, workspace, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(DatasetVersion, "is_mapped", False)
        straight = run("straight")
        stopped = run("stopped", progress=Listener(11, interrupt))
    resumed = train(
        workspace, None, dataset=None, out=tmp_path / "r", resume=stopped.run_id
    )
    assert provenance(resumed)["shuffle"]["kind"] == "block"
    assert torch.equal(parameters(straight), parameters(resumed))


def test_compressed_dataset_trains_in_blocks(run, workspace, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workspace.root, copy)
    own = Workspace.find(copy)
    pack(own, "pairs", compress="zstd", created_at="2026-01-01T00:00:00+00:00")
    assert provenance(run("archive", where=own))["shuffle"]["kind"] == "block"


def test_files_larger_than_memory_are_read_in_blocks(run, monkeypatch):
    monkeypatch.setattr("dpbench.train.loader.CACHED_SHARE", 1e-9)
    assert provenance(run("large"))["shuffle"]["kind"] == "block"
