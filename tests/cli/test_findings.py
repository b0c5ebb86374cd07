"""What ``dpbench doctor`` says of backends, the sandbox and ROCm."""

import sys
from pathlib import Path

import pytest
import torch

from dpbench.backends import sandbox
from dpbench.backends.adopt import adopt
from dpbench.cli import findings
from dpbench.store.workspace import Workspace
from tests.backends.tiny_package import write_card


@pytest.fixture
def own_cards(tmp_path, monkeypatch):
    """Cards of a workspace, and an empty folder of environments."""
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "envs"))
    workspace = Workspace.find(tmp_path / "ws", create=True)
    folder = write_card(workspace.root / "backends", imports="numpy")
    card = folder / "tinypot.toml"
    card.write_text(card.read_text().replace("facts =", "# facts ="))
    return folder


def test_backends_that_are_here_are_named(own_cards, tmp_path):
    none = findings._backends(own_cards.parent)
    assert none.startswith("none; 'dpbench backends install NAME' brings one (")
    adopt("tinypot", Path(sys.executable), own_cards=own_cards)
    assert findings._backends(own_cards.parent).startswith("tinypot (adopted, ")
    assert findings._backends(None).startswith("tinypot (no card has that name) (")
    (tmp_path / "envs" / "tinypot" / "dpbench-backend.json").write_text("{")
    assert "tinypot (" in findings._backends(own_cards.parent)
    assert "cannot be read" in findings._backends(own_cards.parent)


def test_sandbox_is_named_and_its_absence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(sandbox, "sandbox_kind", lambda: "namespaces")
    assert findings._sandbox() == "namespaces"
    monkeypatch.setattr(sandbox, "sandbox_kind", lambda: "none: not permitted")
    assert "--trust" in findings._sandbox()
    assert "Install bubblewrap" in findings._sandbox()


def test_rocm_is_untested_and_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "hip", None)
    assert "no AMD GPU here" in findings._rocm(tmp_path / "kfd")
    (tmp_path / "kfd").touch()
    assert "install torch's ROCm build" in findings._rocm(tmp_path / "kfd")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    said = findings._rocm(tmp_path / "kfd")
    assert "of ROCm 6.4; untested" in said
    assert "DPBENCH_KERNELS=reference" in said
