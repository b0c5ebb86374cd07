"""A foreign trainer sees the device it was given, and runs no strange program."""

import hashlib
import json

import pytest

from dpbench.errors import ConfigError
from dpbench.trainers import vouched
from dpbench.trainers.nequip import NequipTrainer
from dpbench.trainers.run import Request, train_foreign
from dpbench.trainers.table import trainer_of
from dpbench.trainers.vouched import check_confined
from tests.trainers.test_foreign_run import train


@pytest.mark.parametrize(
    ("device", "cuda", "hip"), [("cpu", "", "-1"), ("cuda:1", "7", "7")]
)
def test_it_sees_the_device_that_was_asked_for(
    workspace, fake, tmp_path, monkeypatch, device, cuda, hip
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("ROCR_VISIBLE_DEVICES", raising=False)
    report = train(workspace, fake(), tmp_path, device=device)
    seen = json.loads((report.run_folder / "devices.json").read_text())
    assert seen["CUDA_VISIBLE_DEVICES"] == cuda
    assert seen["HIP_VISIBLE_DEVICES"] == hip


def test_a_device_that_is_not_there_leaves_no_run(
    workspace, fake, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    before = set(workspace.runs.iterdir())
    with pytest.raises(ConfigError, match="cuda:1"):
        train(workspace, fake(), tmp_path, device="cuda:1")
    assert set(workspace.runs.iterdir()) == before


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "nequip.yaml"
    path.write_text("{data: {}, trainer: {}, training_module: {}}")
    return path


def test_without_a_sandbox_a_program_needs_a_name(workspace, fake, theirs, monkeypatch):
    monkeypatch.setattr(vouched, "sandbox_kind", lambda: "none: no bubblewrap")
    digest = hashlib.sha256(theirs.read_bytes()).hexdigest()
    request = Request(config=theirs, dataset="pairs", out=theirs.parent)
    with pytest.raises(ConfigError, match=f"no sandbox.*--trust {digest}") as caught:
        train_foreign(workspace, trainer_of("nequip"), request, launch=fake())
    assert "\n" not in str(caught.value)
    check_confined(NequipTrainer(), theirs, [digest.upper()])
    check_confined(trainer_of("deepmd"), theirs, [])


def test_in_a_sandbox_it_needs_none(theirs, monkeypatch):
    monkeypatch.setattr(vouched, "sandbox_kind", lambda: "namespaces")
    check_confined(NequipTrainer(), theirs, [])
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        check_confined(NequipTrainer(), theirs, ["abc"])
