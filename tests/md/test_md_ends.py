"""How runs end: means of what was made, warnings that stay, and ways to go on."""

import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms

from dpbench.errors import ConfigError, ModelError, SimulationError
from dpbench.md.run import go_on, start_run
from dpbench.md.settings import Baths, refuse_idle
from dpbench.models.checkpoint import save_model
from tests.md.test_md_runs import config, rows
from tests.models.structures import model


def stop_after(steps):
    calls = []
    return lambda: calls.append(1) or len(calls) == steps


@pytest.mark.parametrize("kind", ["csv", "zarr"])
def test_means_leave_out_the_first_fifth_of_the_steps_made(md_files, tmp_path, kind):
    settings = config(md_files, steps=4000, log_every=1, replicas=2)
    start_run(replace(settings, steps=50), tmp_path / "a")
    short = replace(settings, log_format=kind)
    report = start_run(short, tmp_path / "b", should_stop=stop_after(50))
    assert report.outcome.status == "interrupted"
    planned = json.loads((tmp_path / "a/md.json").read_text())["summary"]
    assert planned["temperature"]["samples"] == 2 * 41 // 2
    for name in ("temperature", "pressure", "potential"):
        assert report.record["summary"][name] == pytest.approx(planned[name])
    drift = report.record["summary"]["drift_mev_per_atom_ps"]
    assert drift == pytest.approx(planned["drift_mev_per_atom_ps"], rel=1e-5)


def test_a_run_made_longer_has_rows_on_the_grid_alone(md_files, tmp_path):
    settings = config(md_files, steps=8)
    start_run(settings, tmp_path / "a")
    log = tmp_path / "a/observables.csv"
    assert [int(row["step"]) for row in rows(log)] == [0, 5, 8]
    longer = go_on(tmp_path / "a", steps=20)
    start_run(replace(settings, steps=20), tmp_path / "b")
    assert rows(log) == rows(tmp_path / "b/observables.csv")
    whole = json.loads((tmp_path / "b/md.json").read_text())["summary"]
    assert longer.record["summary"] == whole


@pytest.fixture
def close(md_files, tmp_path):
    """A pair at 0.4 Å, and settings for its run."""
    path = tmp_path / "close.extxyz"
    ase.io.write(path, Atoms("OO", [[0, 0, 0], [0.4, 0, 0]], cell=[9] * 3, pbc=True))
    return config(md_files, structure=str(path), steps=3, log_every=1)


def test_pairs_beyond_the_table_are_counted_and_told(close, tmp_path):
    cold = replace(close, baths=Baths(timestep=1e-6, temperature=1e-3))
    report = start_run(cold, tmp_path / "a")
    # The evaluation of the start, and one of each step.
    assert report.record["pairs_beyond_table"] == 4
    exact = start_run(replace(cold, exact=True), tmp_path / "b")
    assert exact.record["pairs_beyond_table"] == 0


def test_an_explosion_tells_of_pairs_beyond_the_table(close, tmp_path):
    hot = replace(close, max_temperature=1e-6)
    with pytest.raises(SimulationError, match=r"Before that, \d+ times a pair was"):
        start_run(hot, tmp_path / "run")
    record = json.loads((tmp_path / "run/md.json").read_text())
    assert record["pairs_beyond_table"] > 0
    with pytest.raises(
        SimulationError, match=r"exploded at step 0 before its first restart file"
    ):
        go_on(tmp_path / "run")


def test_a_restart_file_that_is_gone_is_told_as_such(md_files, tmp_path):
    start_run(config(md_files, steps=3), tmp_path / "run")
    (tmp_path / "run/restart.npz").unlink()
    for text in (None, "{", "[]"):
        if text is not None:
            (tmp_path / "run/md.json").write_text(text)
        with pytest.raises(SimulationError, match=r"restart\.npz: cannot be read"):
            go_on(tmp_path / "run", steps=9)


def test_the_training_says_what_happens_to_more_neighbours_than_slots(
    md_files, tmp_path
):
    provenance = {"config": {"training": {"sel_overflow": "deepmd"}}}
    save_model(tmp_path / "m.pth", model(sel=(2, 3)), provenance)
    settings = config(md_files, model=str(tmp_path / "m.pth"), steps=2)
    report = start_run(settings, tmp_path / "a")
    assert report.record["model"]["sel_overflow"] == "deepmd"
    with pytest.raises(ModelError, match="the model's sel expects"):
        start_run(replace(settings, sel_overflow="error"), tmp_path / "b")


@pytest.mark.parametrize(
    "cell",
    [
        [[5, 0, 0], [5, 0, 0], [0, 0, 5]],
        [[5, 0, 0], [0, 5, 0], [5, 5, 0]],
    ],
)
def test_a_flat_cell_is_told_with_its_file(md_files, tmp_path, cell):
    path = tmp_path / "flat.extxyz"
    ase.io.write(path, Atoms("OH", np.eye(3)[:2], cell=cell, pbc=True))
    with pytest.raises(SimulationError, match=r"flat\.extxyz: box has linearly dep"):
        start_run(config(md_files, structure=str(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("baths", "given", "told"),
    [
        ({"ensemble": "nvt"}, "pressure", "expected ensemble npt"),
        ({"ensemble": "nve"}, "couple", "expected ensemble npt"),
        ({"ensemble": "langevin"}, "pdamp", "expected ensemble npt"),
        ({"ensemble": "nve"}, "tdamp", "expected thermostat langevin or nhc or bussi"),
        ({"ensemble": "npt"}, "tchain", "expected thermostat nhc"),
        ({"ensemble": "nvt", "thermostat": "bussi"}, "tloop", "thermostat nhc"),
    ],
)
def test_options_without_meaning_are_refused(baths, given, told):
    with pytest.raises(ConfigError, match=f"^{given}: means nothing.*{told}"):
        refuse_idle(Baths(**baths), [given])


def test_options_with_meaning_are_taken():
    refuse_idle(Baths(ensemble="npt"), ["pressure", "pdamp", "couple", "tdamp"])
    refuse_idle(Baths(ensemble="nvt"), ["tchain", "tloop", "tdamp", "temperature"])
    refuse_idle(Baths(ensemble="langevin"), ["tdamp"])


@pytest.mark.parametrize(
    "options",
    [
        {"pressure": 1e9},
        {"pressure": -1e9},
        {"pdamp": 1e-6},
        {"compressibility": 1e4},
        {"couple": "aniso", "pressure": 1e9},
    ],
)
def test_absurd_settings_of_the_barostat_stop_with_step_and_cause(
    md_files, tmp_path, options
):
    settings = config(md_files, baths={"ensemble": "npt", "timestep": 0.5} | options)
    with pytest.raises(SimulationError, match=r"^step \d+ of 40: ") as caught:
        start_run(settings, tmp_path / "run")
    assert "nan" not in str(caught.value)


@pytest.mark.parametrize("name", ["pressure", "temperature", "tdamp", "timestep"])
def test_baths_take_finite_numbers_alone(name):
    for value in (np.nan, np.inf):
        with pytest.raises(ConfigError, match=f"{name} = {value}"):
            Baths(ensemble="npt", **{name: float(value)})
