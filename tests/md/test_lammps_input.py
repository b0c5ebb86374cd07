"""Inputs for LAMMPS: the structure that is written is the structure that was read."""

import io
from dataclasses import replace
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.geometry import get_distances
from click import ClickException

from dpbench.backends.launch import Launch
from dpbench.cli.main import cli
from dpbench.errors import BackendError, ModelError, SimulationError
from dpbench.md.lammps import split_input
from dpbench.md.lammps_input import (
    FirstRun,
    data_text,
    input_text,
    lammps_box,
    pair_lines,
)
from dpbench.md.state import Structure, masses_of

BOXES = {
    "orthorhombic": np.diag([6.0, 6.5, 7.0]),
    "triclinic": np.array([[6.0, 1.0, 0.5], [-4.0, 5.0, 1.0], [2.0, 3.0, 7.0]]),
    "left-handed": np.array([[0.0, 6.1, 0.0], [6.2, 0.5, 0.0], [0.3, 0.0, 7.3]]),
}


def structure(box, pbc=(True, True, True), velocity=None):
    rng = np.random.default_rng(2)
    return Structure(
        where="test",
        z=np.array([8, 1, 1, 8, 1]),
        coord=rng.uniform(-3, 9, (5, 3)),
        box=box,
        pbc=np.array(pbc),
        velocity=velocity,
    )


@pytest.mark.parametrize("name", BOXES)
def test_ase_reads_the_same_structure_from_the_data_file(name):
    velocity = np.random.default_rng(3).normal(0, 5, (5, 3))
    start = structure(BOXES[name], velocity=velocity)
    text = data_text(start, masses_of(start.z))
    read = ase.io.read(
        io.StringIO(text), format="lammps-data", units="metal", atom_style="atomic"
    )
    ours = get_distances(start.coord, cell=start.box, pbc=True)[1]
    theirs = get_distances(read.positions, cell=read.cell, pbc=True)[1]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-10)
    # H before O; speeds are those of before, whatever the frame.
    np.testing.assert_array_equal(read.arrays["type"], [2, 1, 1, 2, 1])
    turned = lammps_box(start)
    np.testing.assert_allclose(turned.velocity @ turned.turn.T, velocity, atol=1e-12)
    assert turned.velocity is not None
    tilts = np.abs(np.tril(turned.box, -1)).max(axis=0)
    assert (tilts <= 0.5 * np.diagonal(turned.box) + 1e-12).all()


def test_a_cell_that_lammps_takes_is_left_as_it_is():
    box = np.array([[6.0, 0.0, 0.0], [1.0, 6.5, 0.0], [0.5, -1.0, 7.0]])
    start = structure(box)
    turned = lammps_box(start)
    np.testing.assert_array_equal(turned.box, box)
    np.testing.assert_array_equal(turned.coord, start.coord)


@pytest.mark.parametrize("pbc", [(1, 0, 1), (0, 0, 1), (0, 0, 0)])
def test_open_sides_lie_beyond_all_atoms(pbc):
    start = structure(np.diag([6.0, 6.5, 7.0]) * np.array(pbc), np.array(pbc, bool))
    turned = lammps_box(start)
    count = sum(pbc)
    assert turned.boundary.split() == ["p"] * count + ["m"] * (3 - count)
    high = turned.low + np.diagonal(turned.box)
    assert (turned.coord[:, count:] > turned.low[count:]).all()
    assert (turned.coord[:, count:] < high[count:]).all()
    np.testing.assert_allclose(
        np.diagonal(turned.box)[:count], (6.0, 7.0)[-count:] if count else []
    )


def test_a_flat_cell_is_refused():
    flat = np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]])
    with pytest.raises(SimulationError, match="span no volume"):
        lammps_box(structure(flat))


def test_the_input_of_our_model_has_a_place_for_it(md_files, tmp_path):
    start = structure(BOXES["triclinic"])
    text = input_text(start, md_files / "m.pth", FirstRun(steps=7, timestep=0.25))
    path = tmp_path / "in.lmp"
    path.write_text(text)
    head, tail, name = split_input(path)
    assert name == "dpbench"
    assert "read_data start.data" in head
    assert "velocity all create 300.0" in tail
    assert "timestep 0.00025" in tail
    assert tail.endswith("run 7\n")
    moving = replace(start, velocity=np.ones((5, 3)))
    assert "velocity" not in input_text(moving, md_files / "m.pth", FirstRun())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "m.txt"
    path.write_text("no model\n")
    with pytest.raises(ModelError, match="neither dpbench nor DeePMD-kit"):
        pair_lines(path, ("O", "H"))


def test_the_command_writes_what_runs(md_files, tmp_path):
    out = tmp_path / "run"
    words = ["lammps", "input", "--model", md_files / "m.pth", "--out", out]
    words += ["--structure", md_files / "s.extxyz", "--repeat", 2, 1, 1]
    cli.main([str(word) for word in words], standalone_mode=False)
    assert sorted(p.name for p in out.iterdir()) == ["in.lmp", "run.sh", "start.data"]
    assert "24 atoms" in (out / "start.data").read_text()
    assert "dpbench lammps run in.lmp --model" in (out / "run.sh").read_text()
    before = (out / "in.lmp").read_text()
    words += ["--steps", 7]
    with pytest.raises(ClickException, match=r"has in\.lmp, start\.data, run\.sh"):
        cli.main([str(word) for word in words], standalone_mode=False)
    assert (out / "in.lmp").read_text() == before
    cli.main([str(word) for word in [*words, "--force"]], standalone_mode=False)
    assert (out / "in.lmp").read_text().endswith("run 7\n")


@pytest.fixture
def backends(tmp_path, monkeypatch):
    """An empty folder of backends."""
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "backends"))
    return tmp_path / "backends"


def deepmd_with_lammps(folder, monkeypatch):
    """Let dpbench find DeePMD-kit's environment, with LAMMPS' program in it."""
    python = folder / "deepmd/bin/python"
    python.parent.mkdir(parents=True)
    python.with_name("lmp").touch()

    def launch_of(name, **_):
        if name != "deepmd":
            raise BackendError(f"{name}: is not installed.")
        return Launch(name=name, python=python, adapter=python)

    monkeypatch.setattr("dpbench.backends.environments.launch_of", launch_of)
    return python


def write_plugin_input(md_files, tmp_path):
    model = tmp_path / "m.pb"
    words = ["lammps", "input", "--model", model, "--out", tmp_path / "run"]
    words += ["--structure", md_files / "s.extxyz"]
    cli.main([str(word) for word in words], standalone_mode=False)
    return (tmp_path / "run/run.sh").read_text()


def test_the_script_takes_lammps_of_deepmd_kits_environment(
    md_files, tmp_path, backends, monkeypatch, capsys
):
    kind = SimpleNamespace(kind="deepmd-pb")
    monkeypatch.setattr("dpbench.models.recognise.recognise", lambda _: kind)
    monkeypatch.setattr("dpbench.md.lammps_input.recognise", lambda _: kind)
    python = deepmd_with_lammps(backends, monkeypatch)
    assert f"python={python}\n" in write_plugin_input(md_files, tmp_path)
    assert capsys.readouterr().err == ""


def test_a_missing_lammps_is_said_when_the_input_is_written(
    md_files, tmp_path, backends, monkeypatch, capsys
):
    kind = SimpleNamespace(kind="deepmd-pb")
    monkeypatch.setattr("dpbench.models.recognise.recognise", lambda _: kind)
    monkeypatch.setattr("dpbench.md.lammps_input.recognise", lambda _: kind)
    assert "python=python\n" in write_plugin_input(md_files, tmp_path)
    said = capsys.readouterr().err
    assert "was not found" in said
    assert "--lammps-python PATH" in said


def test_a_run_without_lammps_names_the_environment_that_has_it(
    md_files, tmp_path, backends, monkeypatch
):
    words = ["lammps", "run", str(tmp_path / "in.lmp")]
    words += ["--model", str(md_files / "m.pth")]
    with pytest.raises(ClickException, match="backends add lammps --python PATH"):
        cli.main(words, standalone_mode=False)
    python = deepmd_with_lammps(backends, monkeypatch)
    with pytest.raises(ClickException, match=f"add lammps --python {python}"):
        cli.main(words, standalone_mode=False)
