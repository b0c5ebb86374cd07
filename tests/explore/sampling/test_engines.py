"""LAMMPS and ASE as engines: the same walks, their ends, and what they refuse."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

from dpbench.errors import ConfigError
from dpbench.explore.sampling.engine_lammps import read_dump
from dpbench.explore.sampling.walking import walk
from dpbench.models.deepmd_file import write_deepmd
from tests.explore.sampling.small import FCC, almg_model, plan, settings_of

STAGE = {
    "structures": ["fcc"],
    "temperatures": [300],
    "steps": 40,
    "every": 10,
    "timestep": 1.0,
}


def settings(engine, stage=STAGE, structure=FCC, **more):
    return settings_of([structure], [stage], engine=engine, **more)


def check(walked, *, moves_cell=False):
    """What every engine's walk has to be."""
    assert (walked.outcome, walked.reason) == ("done", "")
    assert walked.step.tolist() == [10, 20, 30, 40]
    frames = walked.frames
    assert frames.natoms.tolist() == [4] * 4
    assert frames.pbc.all()
    places = frames.coord.reshape(4, 4, 3)
    jumps = np.linalg.norm(np.diff(places, axis=0), axis=2)
    assert 0 < jumps.max() < 1.5
    assert walked.cpu_seconds > 0
    volumes = np.linalg.det(frames.box)
    assert (np.ptp(volumes) > 0) == moves_cell


@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nhc"])
def test_ase_walks_by_the_model(model_file, tmp_path, thermostat):
    tasks = plan(
        settings("ase", STAGE | {"thermostat": thermostat, "replicas": 2}),
        model_file,
        tmp_path,
    )
    assert {len(task.names) for task in tasks} == {1}
    (walked,) = walk(tasks[0])
    check(walked)
    (again,) = walk(plan_again(tasks[0], tmp_path / "again"))
    np.testing.assert_array_equal(walked.frames.coord, again.frames.coord)


def plan_again(task, folder):
    return replace(task, folder=folder)


@pytest.mark.parametrize("couple", ["iso", "aniso"])
def test_ase_moves_the_cell_by_a_pressure(model_file, tmp_path, couple):
    stage = STAGE | {"pressures": [5.0], "couple": couple}
    task, *_ = plan(settings("ase", stage), model_file, tmp_path)
    (walked,) = walk(task)
    check(walked, moves_cell=True)
    boxes = walked.frames.box
    assert np.allclose(boxes[:, 0, 0], boxes[:, 1, 1]) == (couple == "iso")


def test_ase_walks_by_any_calculator(model_file, tmp_path):
    aluminium = {"name": "fcc", "kind": "prototype", "elements": ["Al"], "rattle": 0.05}
    made = settings(
        "ase", structure=aluminium, ase={"calculator": "ase.calculators.emt:EMT"}
    )
    (task,) = plan(made, model_file, tmp_path)
    check(walk(task)[0])
    gone = settings("ase", ase={"calculator": "ase.calculators.nowhere:EMT"})
    with pytest.raises(ConfigError, match=r"explore\.ase\.calculator = 'ase"):
        walk(plan(gone, model_file, tmp_path)[0])


class GivesUp(EMT):
    """A calculator that fails after a while."""

    left = 25

    def __init__(self):
        super().__init__()

    def calculate(self, *args, **kwargs):
        GivesUp.left -= 1
        if GivesUp.left < 0:
            raise RuntimeError("it gave up")
        super().calculate(*args, **kwargs)


def test_a_calculator_that_fails_ends_its_walk_alone(model_file, tmp_path):
    aluminium = {"name": "fcc", "kind": "prototype", "elements": ["Al"], "rattle": 0.05}
    made = settings(
        "ase",
        structure=aluminium,
        ase={"calculator": "tests.explore.sampling.test_engines:GivesUp"},
    )
    (task,) = plan(made, model_file, tmp_path)
    (walked,) = walk(task)
    assert (walked.outcome, walked.reason) == ("failed", "RuntimeError: it gave up")
    assert walked.step.tolist() == [10, 20]
    refused = replace(made.ase, arguments={"colour": "red"})
    with pytest.raises(ConfigError, match=r"explore\.ase\.arguments: .* refuses them"):
        walk(replace(task, ase=refused))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"arguments": {"a": 1}}, "no calculator that takes them"),
        ({"calculator": "ase.calculators.emt.EMT"}, "expected package.module:Name"),
    ],
)
def test_wrong_calculators_are_told(table, said):
    with pytest.raises(ConfigError, match=said):
        settings("ase", ase=table)


def test_an_exploding_walk_of_ase_keeps_its_frames(model_file, tmp_path):
    """EMT with a time step far too long."""
    aluminium = {"name": "fcc", "kind": "prototype", "elements": ["Al"], "rattle": 0.3}
    stage = STAGE | {"timestep": 80.0, "steps": 400, "every": 1, "tdamp": 1e5}
    made = settings(
        "ase",
        stage,
        aluminium,
        ase={"calculator": "ase.calculators.emt:EMT"},
    )
    (task,) = plan(made, model_file, tmp_path)
    (walked,) = walk(task)
    assert walked.outcome in ("exploded", "failed")
    assert walked.reason
    assert walked.steps < 400
    assert np.isfinite(walked.frames.coord).all()


def test_a_dump_is_read_with_its_cell(tmp_path):
    text = "".join(
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n2\n"
        "ITEM: BOX BOUNDS xy xz yz pp pp pp\n"
        "-0.5 7.0 1.0\n0.0 6.5 -0.5\n0.0 7.0 0.5\n"
        "ITEM: ATOMS id xu yu zu\n"
        f"1 0.0 0.0 {step}.0\n2 1.5 1.5 1.5\n"
        for step in (0, 10)
    )
    path = tmp_path / "places.dump"
    path.write_text(text + "ITEM: TIMESTEP\n20\nITEM: NUMB")
    coord, box, step = read_dump(path, 2)
    assert step.tolist() == [0, 10]
    np.testing.assert_array_equal(coord[1], [[0, 0, 10], [1.5, 1.5, 1.5]])
    # Of a cell (6, 0, 0), (1, 6, 0), (-0.5, 0.5, 7), by LAMMPS' own rule.
    np.testing.assert_allclose(box[0], [[6, 0, 0], [1, 6, 0], [-0.5, 0.5, 7]])
    nothing = read_dump(tmp_path / "none", 2)
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_lammps_that_is_not_there_is_told(model_file, tmp_path):
    made = settings("lammps", lammps={"python": str(tmp_path / "python")})
    task, *_ = plan(made, model_file, tmp_path)
    with pytest.raises(ConfigError, match="is no file"):
        walk(task)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thermostat", "pressures"), [("langevin", []), ("bussi", [5.0]), ("nhc", [])]
)
def test_lammps_walks_by_dpbench(
    deepmd_python, model_file, tmp_path, thermostat, pressures
):
    stage = STAGE | {"thermostat": thermostat, "pressures": pressures}
    made = settings("lammps", stage, lammps={"python": deepmd_python})
    task = plan(made, model_file, tmp_path)[1]
    (walked,) = walk(task)
    check(walked, moves_cell=bool(pressures))
    folder = Path(task.folder) / walked.name
    assert {path.name for path in folder.iterdir()} >= {"in.lmp", "walk.json"}
    # The model's own atoms, in the order that they were given.
    start, first = task.coord[0], walked.frames.coord[:4]
    assert np.linalg.norm(first - start, axis=1).max() < 1.0


@pytest.mark.slow
def test_an_exploding_walk_of_lammps_keeps_its_frames(
    deepmd_python, model_file, tmp_path
):
    hot = STAGE | {"timestep": 200.0, "steps": 400, "every": 1, "temperatures": [4000]}
    made = settings("lammps", hot, lammps={"python": deepmd_python})
    task, *_ = plan(made, model_file, tmp_path)
    (walked,) = walk(task)
    assert walked.outcome in ("exploded", "failed")
    assert walked.reason
    assert np.isfinite(walked.frames.coord).all()


@pytest.mark.slow
def test_lammps_walks_by_deepmds_plugin(deepmd_python, model_file, tmp_path):
    """The same model as a .pb."""
    programs = Path(deepmd_python).parent
    write_deepmd(tmp_path / "m.dp", almg_model())
    words = [str(programs / "dp"), "convert-backend", "m.dp", "m.pb"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    made = settings("lammps", lammps={"python": deepmd_python})
    task = plan(made, tmp_path / "m.pb", tmp_path)[1]
    check(walk(task)[0])
