"""Model files that go to DeePMD-kit and come from it, in an environment of its own."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dpbench.backends.trust import digest_of
from dpbench.cli.main import cli
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.deepmd_file import read_portable, write_deepmd
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import recognise
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from dpbench.train.config import ModelSettings
from dpbench.train.init_model import Init
from dpbench.train.session import begin
from tests.models import family, structures
from tests.train.small_runs import small_config, write_system

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

PEER = Path(__file__).with_name("deepmd_files_peer.py")
PROVENANCE = {"run_id": "r", "curve": [0.5, None]}

SINGLE_THREADS = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}

KINDS = {
    ".pth": "deepmd-pth",
    ".pb": "deepmd-pb",
    ".pte": "deepmd-pte",
    ".hlo": "deepmd-hlo",
    ".jax": "deepmd-jax",
    ".savedmodel": "deepmd-savedmodel",
    ".savedmodeltf": "deepmd-savedmodeltf",
    ".yaml": "deepmd-yaml",
}
"""Files that DeePMD-kit writes in seconds; a ``.pt2`` is compiled, which takes long."""


def ask(python: str, *words: object) -> None:
    done = subprocess.run(
        [python, str(PEER), *map(str, words)],
        env=os.environ | SINGLE_THREADS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def even_model():
    """A model whose fitting net has no shortcut that TensorFlow would not have."""
    cfg = structures.config()
    cfg = replace(cfg, fitting=replace(cfg.fitting, neuron=(10, 10)))
    return DeepPotential.initialise(cfg, structures.statistics(), 5)


def test_every_kind_is_read_from_yaml_and_beside_our_provenance(
    deepmd_python, tmp_path
):
    """DeePMD-kit ignores our key, and its YAML and ours are the same."""
    pairs = []
    for kind in family.PEER_KINDS:
        if kind.startswith("pair_table"):
            continue  # that asks for the table's file
        ours, theirs = tmp_path / f"{kind}.yaml", tmp_path / f"{kind}.back.dp"
        write_deepmd(ours, family.model(kind), provenance=PROVENANCE)
        frozen = ours.with_suffix(".pth")
        yaml_back = tmp_path / f"{kind}.back.yaml"
        pairs += [ours, frozen, frozen, theirs, theirs, yaml_back]
    ask(deepmd_python, "convert", *pairs)
    for kind in family.PEER_KINDS:
        if kind.startswith("pair_table"):
            continue
        expected = family.model(kind)
        for suffix in ("dp", "yaml"):
            back = read_portable(tmp_path / f"{kind}.back.{suffix}")
            assert torch.equal(back.model.parameters.flat, expected.parameters.flat)
            assert back.provenance["deepmd_file"]["software"] == "deepmd-kit"
            assert "run_id" not in back.provenance


def test_files_of_every_backend_are_recognised(deepmd_python, tmp_path):
    source = tmp_path / "m.dp"
    write_deepmd(source, even_model(), provenance=PROVENANCE)
    for suffix, kind in KINDS.items():
        # One process each: two of TensorFlow's modes do not go together.
        ask(deepmd_python, "convert", source, tmp_path / f"m{suffix}")
        found = recognise(tmp_path / f"m{suffix}")
        assert (found.kind, found.suffix_expected) == (kind, suffix)
        assert found.is_program == (suffix != ".yaml")
    # Cut short they are named, or no longer what they were; nothing else happens.
    whole = (tmp_path / "m.pb").read_bytes()
    (tmp_path / "cut.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match="truncated"):
        recognise(tmp_path / "cut.pb")


def workspace_with(folder: Path) -> Workspace:
    """Two compositions of silicon and carbon, all of them for training."""
    for name, seed in (("a", 1), ("b", 2)):
        write_system(folder / "systems" / name, seed=seed)
    (folder / "systems/b/type.raw").write_text("0\n0\n0\n1\n")
    workspace = Workspace.find(folder / "workspace", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, "deepmd", [folder / "systems"], dataset="pairs", options=options)
    version = open_dataset(workspace, "pairs")
    save_split(version, make_split(version, fractions={"train": 1.0}))
    return workspace


def test_the_bias_is_refitted_as_by_dp_change_bias(deepmd_python, tmp_path):
    workspace = workspace_with(tmp_path)
    cfg = structures.config(sel=(60, 60))
    cfg = replace(cfg, type_map=("C", "Si"))
    model = DeepPotential.initialise(cfg, structures.statistics(), 5)
    write_deepmd(tmp_path / "m.dp", model)
    frozen, changed = tmp_path / "m.pth", tmp_path / "changed.dp"
    ask(deepmd_python, "convert", tmp_path / "m.dp", frozen)
    ask(deepmd_python, "change-bias", frozen, tmp_path / "systems", changed)
    theirs = read_portable(changed).model
    ours = begin(
        workspace,
        replace(small_config(steps=1), model=ModelSettings()),
        dataset="pairs",
        device=torch.device("cpu"),
        command=(),
        init=Init(path=tmp_path / "m.dp", model=model, provenance={}),
    ).model
    assert torch.equal(ours.parameters.flat, theirs.parameters.flat)
    before = model.statistics.energy_bias
    assert np.abs(ours.statistics.energy_bias - before).max() > 0.1
    np.testing.assert_allclose(
        ours.statistics.energy_bias, theirs.statistics.energy_bias, 0, 1e-9
    )


def run_cli(*words: object, code: int = 0) -> str:
    found = CliRunner().invoke(cli, [str(word) for word in words])
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture
def deepmd_backend(deepmd_python, tmp_path, monkeypatch) -> None:
    """The environment as an adopted backend."""
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "backends"))
    for name, value in SINGLE_THREADS.items():
        monkeypatch.setenv(name, value)
    run_cli("backends", "add", "deepmd", "--python", deepmd_python)


def test_there_and_back_through_deepmd_kit(deepmd_backend, tmp_path, monkeypatch):
    """A model of ours as DeePMD-kit's .pth, then back, then trained on."""
    workspace = workspace_with(tmp_path)
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    cfg = replace(structures.config(sel=(60, 60)), type_map=("C", "Si"))
    model = DeepPotential.initialise(cfg, structures.statistics(), 5)
    save_model(tmp_path / "m.pth", model, PROVENANCE)
    told = json.loads(
        run_cli("convert", "m.pth", "f.pth", "--backend", "deepmd-pt", "--json")
    )
    assert told["target_kind"] == recognise(tmp_path / "f.pth").kind == "deepmd-pth"
    assert told["compared"]["force_ev_per_ang"] < 1e-10
    # What was made here needs no --trust.
    run_cli("convert", "f.pth", "back.pth")
    back, provenance = load_model(tmp_path / "back.pth")
    assert torch.equal(back.parameters.flat, model.parameters.flat)
    assert provenance["converted_from"]["kind"] == "deepmd-pth"
    train = ("train", "--dataset", "pairs", "--init", "f.pth", "--steps", 2)
    run_cli("-q", *train, "--out", "tuned.pth")
    tuned, provenance = load_model(tmp_path / "tuned.pth")
    assert provenance["init"]["kind"] == "deepmd-pth"
    assert tuned.type_map == ("C", "Si")
    assert model_digest(tuned) != model_digest(model)
    # From another machine it is a program that nothing vouches for.
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(tmp_path / "other"))
    Workspace.find(tmp_path / "other", create=True)
    said = run_cli("convert", "f.pth", "again.pth", code=1)
    assert "--trust" in said
    digest = said.split("--trust ")[1].split()[0].strip(".")
    run_cli("convert", "f.pth", "again.pth", "--trust", digest)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_large_bias_comes_back_from_tensorflow(
    deepmd_backend, deepmd_python, tmp_path, monkeypatch, precision
):
    """DeePMD-kit 3.2.0 itself loses what stands behind the fitting net in a .pb."""
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    cfg = replace(even_model().config, precision=precision)
    statistics = replace(
        structures.statistics(), energy_bias=np.array([-107.58, -12.3])
    )
    model = DeepPotential.initialise(cfg, statistics, 5)
    save_model(tmp_path / "m.pth", model, PROVENANCE)
    run_cli("convert", "m.pth", "m.pb")
    run_cli("convert", "m.pb", "back.pth")
    back, _ = load_model(tmp_path / "back.pth")
    assert model_digest(back) == model_digest(model)
    # DeePMD-kit's own reader finds the bias too.
    ask(deepmd_python, "convert", tmp_path / "m.pb", tmp_path / "theirs.dp")
    theirs = read_portable(tmp_path / "theirs.dp").model
    assert model_digest(theirs) == model_digest(model)
    # A .pb of DeePMD-kit's own has it where only dpbench looks.
    write_deepmd(tmp_path / "m.dp", model)
    ask(deepmd_python, "convert", tmp_path / "m.dp", tmp_path / "made.pb")
    words = ("--trust", digest_of(tmp_path / "made.pb"))
    run_cli("convert", "made.pb", "again.pth", *words)
    again, _ = load_model(tmp_path / "again.pth")
    assert model_digest(again) == model_digest(model)
