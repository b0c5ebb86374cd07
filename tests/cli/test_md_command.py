"""``dpbench md``: options become a run; trouble becomes one line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.models.checkpoint import save_model
from dpbench.train import interrupt
from tests.models.structures import model, water


@pytest.fixture
def here(in_tmp):
    save_model(in_tmp / "m.pth", model(), {})
    frames = water(natoms=9)
    atoms = Atoms(
        numbers=frames.z, positions=frames.coord, cell=frames.box[0], pbc=True
    )
    write(in_tmp / "s.extxyz", atoms)
    return in_tmp


def run(*words):
    return CliRunner().invoke(cli, ["md", *words])


SHORT = ("--structure", "s.extxyz", "--temperature", "50", "--timestep", "0.1")


def test_a_run_prints_a_summary_and_its_folder(here):
    done = run(*SHORT, "--steps", "30", "--log-every", "1")
    assert done.exit_code == 0, done.output
    assert "completed: 30 steps, 0.003 ps of H6O3" in done.stdout
    assert "us/atom/step" in done.stdout
    assert "meV/atom/ps" in done.stdout
    assert "+-" in done.stdout
    assert done.stdout.splitlines()[-1] == "md"
    assert "step 30/30" in done.stderr
    assert (here / "md/md.json").is_file()


def test_json_is_the_record(here):
    done = run(*SHORT, "--steps", "5", "--json", "--out", "x", "--ensemble", "npt")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record == json.loads((here / "x/md.json").read_text())
    assert record["config"]["baths"]["ensemble"] == "npt"
    assert record["system"]["thermostat"] == "bussi"


def test_time_is_turned_into_steps_of_the_default_length(here):
    done = run(
        "--structure", "s.extxyz", "--time", "0.002", "--temperature", "1", "--json"
    )
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["config"]["baths"]["timestep"] == 0.5
    assert record["steps"] == 4


def test_zero_frames_means_no_trajectory(here):
    done = run(*SHORT, "--steps", "5", "--traj-every", "0")
    assert done.exit_code == 0, done.output
    assert not list((here / "md").glob("trajectory*"))


def test_restart_goes_on(here):
    assert run(*SHORT, "--steps", "5").exit_code == 0
    done = run("--restart", "md", "--steps", "8")
    assert done.exit_code == 0, done.output
    assert "completed: 8 steps" in done.stdout
    done = run("--restart", "md", "--time", "0.001", "--json")
    assert json.loads(done.stdout)["steps"] == 10


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_interrupted_run_says_how_to_go_on(here, monkeypatch, form):
    @contextlib.contextmanager
    def at_once():
        yield lambda: True

    monkeypatch.setattr(interrupt, "stop_on_interrupt", at_once)
    done = run(*SHORT, "--steps", "9", "--out", "my run", *form)
    assert done.exit_code == 130, done.output
    told = done.stderr if form else done.stdout
    assert told.splitlines()[-1] == "go on with: dpbench md --restart 'my run'"
    if form:
        assert json.loads(done.stdout)["status"] == "interrupted"


def test_a_constant_volume_is_printed_plainly(here):
    done = run(*SHORT, "--steps", "40", "--log-every", "1")
    line = next(x for x in done.stdout.splitlines() if x.startswith("volume"))
    assert "+-" not in line
    assert len(line.split()[1]) <= 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--steps", "5"), "Missing option '--structure'"),
        (("--structure", "s.extxyz"), "Missing option '--steps'"),
        ((*SHORT, "--steps", "5", "--time", "1"), "not both"),
        ((*SHORT, "--time", "-1"), "must be positive"),
        (("--restart", "md", "--seed", "1"), "--seed cannot be changed"),
        ((*SHORT, "--steps", "5", "--device", "tpu9"), "is no device"),
        ((*SHORT, "--steps", "5", "--device", "cuda:7"), "no CUDA device"),
    ],
)
def test_wrong_usage_exits_2(here, words, told):
    done = run(*words)
    if "cuda" in told.lower() and "no CUDA" not in done.output:
        pytest.skip("there is a CUDA device")
    assert done.exit_code == 2
    assert told in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*SHORT, "--steps", "5", "--model", "none.pth"), "none.pth: cannot be read"),
        (("--structure", "no.cif", "--steps", "5"), "no.cif: is no file"),
        ((*SHORT, "--steps", "5", "--tdamp", "0"), "tdamp = 0.0"),
        ((*SHORT, "--steps", "5", "--thermostat", "bussi", "--ensemble", "nve"), "nve"),
        (("--restart", "none"), "cannot be read"),
        ((*SHORT, "--steps", "5", "--pressure", "1"), "pressure: means nothing"),
        ((*SHORT, "--steps", "5", "--ensemble", "nve", "--tdamp", "9"), "tdamp: means"),
        (
            ("--structure", "s.extxyz", "--steps", "99", "--timestep", "60"),
            "Error: step ",
        ),
    ],
)
def test_trouble_is_one_line_and_exit_1(here, words, told):
    done = run(*words)
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert told in last


def test_a_frame_of_a_dataset_is_a_structure(here, monkeypatch):
    write("labelled.extxyz", labelled())
    made = CliRunner().invoke(
        cli, ["ingest", "extxyz", "labelled.extxyz", "--dataset", "mix"]
    )
    assert made.exit_code == 0, made.output
    done = run("--structure", "mix:1", *SHORT[2:], "--steps", "3", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["system"]["formula"] == "H6O3"
    done = run("--structure", "mix:5", *SHORT[2:], "--steps", "3", "--out", "b")
    assert done.exit_code == 1
    assert "has 2 frames; expected an index between 0 and 1" in done.output


def labelled():
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for seed in (0, 1):
        found = water(seed, natoms=9)
        atoms = Atoms(
            numbers=found.z, positions=found.coord, cell=found.box[0], pbc=True
        )
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(found.energy[0]), forces=found.force
        )
        frames.append(atoms)
    return frames


@pytest.mark.slow
def test_ctrl_c_writes_a_restart_file_and_exits_130(here):
    words = ["md", *SHORT, "--steps", "100000000", "--log-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dpbench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = here / "md/observables.csv"
    end = time.monotonic() + 120
    while time.monotonic() < end and not (
        log.is_file() and log.read_text().count("\n") > 5
    ):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted: " in stdout
    steps = json.loads((here / "md/md.json").read_text())["steps"]
    assert log.read_text().splitlines()[-1].startswith(f"{steps},")
    done = run("--restart", "md", "--steps", str(steps + 3))
    assert done.exit_code == 0, done.output
