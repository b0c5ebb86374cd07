"""``dpbench train`` as users type it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from dpbench.cli.__main__ import main
from dpbench.cli.train import ENGINES, OPTIMISERS
from dpbench.models.checkpoint import load_model
from dpbench.train.config import RunSettings
from dpbench.train.engine import EngineName
from dpbench.train.optimisers.config import OptimiserName
from dpbench.train.state import checkpoints
from tests.train.small_runs import write_system

TOML = """
[model.descriptor]
rcut = 4.0
neuron = [4, 8]
axis_neuron = 2
[model.fitting]
neuron = [8, 8]
[training]
steps = {steps}
batch_size = 4
validation_every = 5
checkpoint_every = {every}
"""


@pytest.fixture
def folder(in_tmp: Path) -> Path:
    """A folder with two systems and a TOML file."""
    for name, seed in (("a", 1), ("b", 2)):
        write_system(in_tmp / "systems" / name, seed=seed)
    (in_tmp / "train.toml").write_text(TOML.format(steps=10, every=5))
    return in_tmp


@pytest.fixture
def ingested(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The same, with the systems ingested as ``pairs``."""
    assert main(["ingest", "deepmd", "systems", "--dataset", "pairs"]) == 0
    capsys.readouterr()
    return folder


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["train", *arguments])
    return code, capsys.readouterr().err


def test_train_prints_the_model_last_and_progress_on_stderr(ingested, capsys):
    assert main(["train", "--dataset", "pairs", "--config", "train.toml"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "m.pth"
    assert "split dpb" in captured.err
    assert "10 steps (steps as stated)" in captured.err
    assert load_model(ingested / "m.pth")[1]["dataset"]["name"] == "pairs"


def test_options_win_over_the_file_and_json_is_json(ingested, capsys):
    arguments = "--steps 4 --seed 7 --precision float32 --batch-size 2 --out o --json"
    main(
        ["train", "--dataset", "pairs-v1", "--config", "train.toml", *arguments.split()]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == found["planned_steps"] == 4
    assert found["model"] == str(Path("o/m.pth"))
    model, provenance = load_model(Path(found["model"]))
    assert model.dtype == torch.float32
    assert provenance["seed"] == 7
    assert provenance["config"]["training"]["batch_size"] == 2


def test_engine_optimiser_budget_and_overflow_go_into_the_record(ingested, capsys):
    arguments = "--engine exact --optimizer muon --memory-budget 20MB"
    options = [*arguments.split(), "--sel-overflow", "deepmd-tf", "--steps", "3"]
    main(["train", "--dataset", "pairs", "--config", "train.toml", *options])
    capsys.readouterr()
    _, told = load_model(ingested / "m.pth")
    assert told["engine"] == "exact"
    assert told["optimiser"] == "muon"
    assert told["config"]["optimiser"]["type"] == "muon"
    assert told["memory_budget_bytes"] == 20_000_000
    assert told["config"]["training"]["sel_overflow"] == "deepmd-tf"


def test_input_json_alone_ingests_its_systems(folder, capsys):
    (folder / "input.json").write_text(
        json.dumps(
            {
                "model": {
                    "descriptor": {"type": "se_e2_a", "rcut": 4.0, "neuron": [4, 8]},
                    "fitting_net": {"neuron": [8, 8]},
                },
                "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-5},
                "training": {
                    "training_data": {"systems": ["systems/a"], "batch_size": 2},
                    "validation_data": {"systems": ["systems/b"]},
                    "numb_steps": 3,
                    "save_ckpt": "model.ckpt",
                },
            }
        )
    )
    assert main(["train", "--config", "input.json"]) == 0
    captured = capsys.readouterr()
    assert "training.save_ckpt: no effect here" in captured.err
    _, provenance = load_model(folder / "m.pth")
    assert provenance["split"]["parts"] == {"train": 12, "validation": 12}


def test_misspelt_key_is_one_line_and_exit_1(ingested, capsys):
    (ingested / "train.toml").write_text("[model.descriptor]\nrcut_smooth = 1.0\n")
    code, error = error_of(capsys, "--dataset", "pairs", "--config", "train.toml")
    assert code == 1
    assert error.splitlines()[-1] == (
        "Error: train.toml.model.descriptor: unknown key 'rcut_smooth' -- did you mean "
        "'rcut_smth'?"
    )


def test_missing_dataset_names_the_nearest(ingested, capsys):
    code, error = error_of(capsys, "--dataset", "pair")
    assert code == 1
    assert "did you mean 'pairs'?" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--config", "train.toml"],
        ["--resume", "x", "--steps", "5"],
        ["--resume", "x", "--dataset", "pairs"],
        ["--resume", "x", "--engine", "exact"],
        ["--dataset", "pairs", "--engine", "fast"],
        ["--dataset", "pairs", "--optimizer", "guess"],
        ["--dataset", "pairs", "--steps", "5", "--time-budget", "5m"],
        ["--dataset", "pairs", "--sel-overflow", "ignore"],
        ["--dataset", "pairs", "--steps", "0"],
        ["--dataset", "pairs", "--config", "absent.toml"],
    ],
)
def test_wrong_usage_is_exit_2(ingested, capsys, arguments):
    assert error_of(capsys, *arguments)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--time-budget", "soon"],
        ["--batch-size", "many"],
        ["--device", "cuda:99"],
        ["--split", "nonsense"],
        ["--memory-budget", "much"],
    ],
)
def test_values_that_cannot_be_used_are_exit_1(ingested, capsys, arguments):
    code, error = error_of(capsys, "--dataset", "pairs", *arguments)
    assert code == 1
    assert len(error.strip().splitlines()) == 1


def test_names_of_engines_and_optimisers_are_those_of_the_settings():
    assert get_args(EngineName) == ENGINES
    assert get_args(OptimiserName) == OPTIMISERS
    assert get_args(get_type_hints(RunSettings)["engine"]) == ENGINES


@pytest.mark.parametrize("where", ["option", "toml"])
def test_the_tabulating_autograd_engine_can_be_asked_for(ingested, capsys, where):
    arguments = ["--dataset", "pairs", "--config", "train.toml", "--steps", "2"]
    if where == "option":
        arguments += ["--engine", "autograd-table"]
    else:
        with (ingested / "train.toml").open("a") as file:
            file.write('engine = "autograd-table"\n')
    assert main(["train", *arguments]) == 0
    assert load_model(ingested / "m.pth")[1]["engine"] == "autograd-table"


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "dpbench.cli", "train", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoint(folder: Path) -> Path:
    """The folder of the one run, once it has a checkpoint."""
    for _ in range(1200):
        for run in (folder / ".dpbench" / "runs").glob("*"):
            if checkpoints(run):
                return run
        time.sleep(0.05)
    raise AssertionError("no checkpoint was written")


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_run_survives_ctrl_c_and_kill_bitwise(ingested, blow):
    (ingested / "train.toml").write_text(TOML.format(steps=400, every=10))
    arguments = ("--dataset", "pairs", "--config", "train.toml", "--out")
    straight = start(ingested, *arguments, "straight.pth")
    straight.communicate(timeout=300)
    for run in (ingested / ".dpbench" / "runs").glob("*"):
        run.rename(ingested / run.name)
    process = start(ingested, *arguments, "stopped.pth")
    run = wait_for_checkpoint(ingested)
    process.send_signal(blow)
    out, _ = process.communicate(timeout=60)
    assert not (ingested / "stopped.pth").exists()
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert "dpbench train --resume" in out
    resumed = start(ingested, "--resume", run.name, "--out", "resumed.pth")
    out, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    assert out.splitlines()[-1] == "resumed.pth"
    one, two = (
        load_model(ingested / name)[0].parameters.flat
        for name in ("straight.pth", "resumed.pth")
    )
    assert torch.equal(one, two)
