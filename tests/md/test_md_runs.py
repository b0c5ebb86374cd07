"""Whole runs: what they write, how they go on, and how they end when they must."""

import csv
import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import zarr
from ase import Atoms

from dpbench.errors import DpbenchError, ModelError, SimulationError
from dpbench.md import run as md_run
from dpbench.md.models import LoadedForces
from dpbench.md.run import go_on, start_run
from dpbench.md.settings import Baths, MDConfig
from dpbench.models.checkpoint import save_model
from tests.md.analytic import SoftSpheres
from tests.models.structures import model

NEVER = "an uninterrupted run"


def config(folder, **options):
    baths = {"timestep": 0.1, "temperature": 100.0} | options.pop("baths", {})
    values = {
        "model": str(folder / "m.pth"),
        "structure": str(folder / "s.extxyz"),
        "steps": 40,
        "log_every": 5,
        "traj_every": 10,
        "baths": Baths(**baths),
    }
    return MDConfig(**(values | options))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_observables_trajectory_record_and_restart(md_files, tmp_path):
    settings = config(md_files, replicas=2, repeat=(2, 1, 1))
    report = start_run(settings, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "observables.csv",
        "trajectory-0.extxyz",
        "trajectory-1.extxyz",
        "md.json",
        "restart.npz",
    }
    log = rows(tmp_path / "run/observables.csv")
    assert [int(row["step"]) for row in log if row["replica"] == "1"] == list(
        range(0, 41, 5)
    )
    frames = ase.io.read(tmp_path / "run/trajectory-1.extxyz", index=":")
    assert [frame.info["step"] for frame in frames] == [0, 10, 20, 30, 40]
    assert len(frames[0]) == 24
    for frame in frames:
        row = next(
            r
            for r in log
            if int(r["step"]) == frame.info["step"] and r["replica"] == "1"
        )
        assert frame.get_potential_energy() == float(row["potential_ev"])
    record = json.loads((tmp_path / "run/md.json").read_text())
    assert record == report.record
    assert record["status"] == "completed"
    assert record["steps"] == 40
    assert record["system"]["formula"] == "H16O8"
    assert record["system"]["degrees_of_freedom"] == 69
    assert record["kernels"]["motion"] == "numba"
    assert record["kernels"]["inference"] == "numba"
    assert record["speed"]["us_per_atom_step"] > 0
    expected = np.mean([float(r["temperature_k"]) for r in log if int(r["step"]) >= 8])
    assert record["summary"]["temperature"]["mean"] == pytest.approx(expected)


def test_zarr_holds_what_csv_holds(md_files, tmp_path):
    settings = config(md_files, replicas=2)
    start_run(settings, tmp_path / "a")
    start_run(
        replace(
            settings,
            log_format="zarr",
            traj_format="zarr",
            traj_fields=("velocity", "force"),
        ),
        tmp_path / "b",
    )
    log = zarr.open_group(tmp_path / "b/observables.zarr", mode="r")
    table = rows(tmp_path / "a/observables.csv")
    for name, column in (("conserved", "conserved_ev"), ("pressure", "pressure_bar")):
        ours = [float(row[column]) for row in table]
        np.testing.assert_array_equal(log[name][:].ravel(), ours)
    frames = zarr.open_group(tmp_path / "b/trajectory.zarr", mode="r")
    assert frames.attrs["atomic_numbers"] == [8, 1, 1] * 4
    text = ase.io.read(tmp_path / "a/trajectory-1.extxyz", index=":")
    for index, atoms in enumerate(text):
        np.testing.assert_allclose(
            frames["coord"][index, 1], atoms.positions, atol=1e-8
        )
    assert frames["velocity"].shape == frames["force"].shape == (5, 2, 12, 3)


def test_replicas_differ_and_keep_their_velocities_in_any_number(md_files, tmp_path):
    first = {}
    for count in (1, 3):
        settings = config(
            md_files,
            replicas=count,
            steps=1,
            traj_every=1,
            traj_format="zarr",
            traj_fields=("velocity",),
        )
        start_run(settings, tmp_path / str(count))
        group = zarr.open_group(tmp_path / str(count) / "trajectory.zarr", mode="r")
        first[count] = group["velocity"][0]
    np.testing.assert_array_equal(first[1][0], first[3][0])
    assert np.abs(first[3][0] - first[3][1]).max() > 1


ENSEMBLES = {
    "nve": {"ensemble": "nve"},
    "langevin": {"ensemble": "langevin"},
    "nhc": {"ensemble": "nvt"},
    "bussi": {"ensemble": "nvt", "thermostat": "bussi"},
    "npt": {"ensemble": "npt", "pdamp": 20.0, "couple": "aniso"},
}


@pytest.mark.parametrize("name", list(ENSEMBLES))
@pytest.mark.parametrize("is_zarr", [False, True])
def test_a_crashed_run_goes_on_bit_for_bit(md_files, tmp_path, name, is_zarr):
    """Rows written after the restart file are dropped; the rest is the same."""
    if is_zarr and name not in ("nve", "npt"):
        pytest.skip("files do not depend on the ensemble")
    kinds = {"log_format": "zarr", "traj_format": "zarr"} if is_zarr else {}
    settings = config(
        md_files,
        replicas=2,
        skin=0.3,
        restart_every=17,
        baths=ENSEMBLES[name],
        **kinds,
    )
    start_run(settings, tmp_path / "a")

    class CrashError(Exception):
        pass

    calls = []

    def crash():
        calls.append(1)
        if len(calls) == 29:
            raise CrashError
        return False

    with pytest.raises(CrashError):
        start_run(settings, tmp_path / "b", should_stop=crash)
    report = go_on(tmp_path / "b")
    assert report.outcome.status == "completed"
    if is_zarr:
        for file, array in (("observables", "conserved"), ("trajectory", "coord")):
            one, other = (
                zarr.open_group(tmp_path / x / f"{file}.zarr", mode="r")[array][:]
                for x in "ab"
            )
            np.testing.assert_array_equal(one, other)
    else:
        for file in ("observables.csv", "trajectory-0.extxyz", "trajectory-1.extxyz"):
            one, other = ((tmp_path / x / file).read_bytes() for x in "ab")
            assert one == other
    with (
        np.load(tmp_path / "a/restart.npz") as one,
        np.load(tmp_path / "b/restart.npz") as other,
    ):
        for key in set(one.files) - {"header"}:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_an_interrupted_run_can_be_made_longer(md_files, tmp_path):
    settings = config(md_files)
    calls = []
    report = start_run(
        settings, tmp_path / "b", should_stop=lambda: calls.append(1) or len(calls) == 7
    )
    assert report.outcome.status == "interrupted"
    assert report.record["steps"] == 7
    longer = go_on(tmp_path / "b", steps=50)
    assert longer.record["steps"] == 50
    start_run(replace(settings, steps=50), tmp_path / "a")
    one, other = (rows(tmp_path / x / "observables.csv") for x in "ab")
    assert one == other
    with pytest.raises(SimulationError, match="nothing is left to do"):
        go_on(tmp_path / "b")


def test_restart_refuses_another_model_and_damaged_files(md_files, tmp_path):
    start_run(config(md_files, steps=5), tmp_path / "run")
    save_model(tmp_path / "other.pth", model(seed=6), {})
    with pytest.raises(SimulationError, match="is not the model"):
        go_on(tmp_path / "run", steps=9, model=str(tmp_path / "other.pth"))
    path = tmp_path / "run/restart.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(SimulationError, match="damaged"):
        go_on(tmp_path / "run", steps=9)
    path.write_bytes(content[:100])
    with pytest.raises(SimulationError, match="damaged"):
        go_on(tmp_path / "run", steps=9)
    with pytest.raises(SimulationError, match="cannot be read"):
        go_on(tmp_path / "none")


def test_restart_refuses_outputs_that_lost_rows(md_files, tmp_path):
    start_run(config(md_files, steps=5), tmp_path / "run")
    path = tmp_path / "run/observables.csv"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SimulationError, match="is shorter than"):
        go_on(tmp_path / "run", steps=9)


class Bomb(SoftSpheres):
    """Fine for a while; then something is wrong."""

    def __init__(self, fault):
        super().__init__(height=0.0)
        self.fault, self.calls = fault, 0

    def evaluate(self, coord, box):
        self.calls += 1
        found = super().evaluate(coord, box)
        if self.calls > 12:
            self.fault(found)
        return found


def nan_force(found):
    found.force[15, 1] = np.nan


def nan_energy(found):
    found.energy[1] = np.nan


def hot(found):
    found.force[3] = 1e4


def fast(found):
    found.force[3] = 1e7


def other_energy(found):
    found.energy[0] += 7.0


def refused(found):
    raise ModelError("replica 1, atom 3: has 99 O within 4 Å; expected at most 46.")


@pytest.mark.parametrize(
    ("fault", "words", "status"),
    [
        (
            nan_force,
            r"step 12 of 40: force of atom 3 \(O\) of replica 1 is no",
            "exploded",
        ),
        (
            nan_energy,
            r"step 12 of 40: the energy of replica 1 is no number",
            "exploded",
        ),
        (hot, r"step 1\d of 40: replica 0 reached .* K, more than 5000 K", "exploded"),
        (
            fast,
            r"step 1\d of 40: (atom 3 \(O\) of replica 0 moved|replica 0)",
            "exploded",
        ),
        (
            other_energy,
            "step 15 of 40: the conserved energy of replica 0 jumped by 0.583",
            "exploded",
        ),
        (refused, r"step 11 of 40: replica 1, atom 3: has 99 O", "failed"),
    ],
)
def test_an_exploding_run_stops_with_step_and_reason_and_keeps_its_files(
    md_files, tmp_path, monkeypatch, fault, words, status
):
    def load(settings, z):
        return LoadedForces(
            field=Bomb(fault), digest="d", kind="k", precision="float64"
        )

    monkeypatch.setattr(md_run, "load_forces", load)
    settings = config(md_files, replicas=2, repeat=(1, 1, 1), traj_every=5)
    structure = ase.io.read(md_files / "s.extxyz")
    structure.set_cell(np.eye(3) * 7)
    ase.io.write(tmp_path / "s.extxyz", structure)
    settings = replace(settings, structure=str(tmp_path / "s.extxyz"))
    with pytest.raises(SimulationError, match=words) as caught:
        start_run(settings, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "run") in str(caught.value)
    record = json.loads((tmp_path / "run/md.json").read_text())
    assert record["status"] == status
    assert record["reason"]
    assert {int(r["step"]) for r in rows(tmp_path / "run/observables.csv")} >= {
        0,
        5,
        10,
    }
    frames = ase.io.read(tmp_path / "run/trajectory-1.extxyz", index=":")
    assert len(frames) >= 3


def test_a_barostat_that_tears_at_the_cell_is_stopped(md_files, tmp_path):
    baths = {"ensemble": "npt", "pressure": 1e5, "pdamp": 0.1}
    with pytest.raises(SimulationError, match=r"strains the cell .* --pdamp"):
        start_run(config(md_files, baths=baths), tmp_path / "run")


def test_a_time_step_far_too_long_is_an_explosion(md_files, tmp_path):
    settings = config(md_files, baths={"timestep": 20.0, "temperature": 2000.0})
    with pytest.raises(SimulationError, match=r"^step \d+ of 40: "):
        start_run(settings, tmp_path / "run")
    assert rows(tmp_path / "run/observables.csv")


@pytest.mark.parametrize("exact", [True, False])
def test_more_neighbours_than_slots_is_an_error_unless_truncated(
    md_files, tmp_path, exact
):
    save_model(tmp_path / "m.pth", model(sel=(2, 3)), {})
    settings = config(md_files, model=str(tmp_path / "m.pth"), steps=3, exact=exact)
    with pytest.raises(DpbenchError, match=r"atom \d+ \((O|H)\): has \d+ (O|H) within"):
        start_run(settings, tmp_path / "a")
    report = start_run(replace(settings, sel_overflow="deepmd"), tmp_path / "b")
    assert report.record["status"] == "completed"
    assert report.record["config"]["sel_overflow"] == "deepmd"


def test_a_folder_with_a_run_is_refused(md_files, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/observables.csv").write_text("mine")
    with pytest.raises(SimulationError, match="holds a run already"):
        start_run(config(md_files), tmp_path / "run")
    assert (tmp_path / "run/observables.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"structure": "nowhere.xyz"}, "is no file"),
        ({"structure": "{}/m.pth"}, "cannot be read by ASE"),
        ({"structure": "{}/s.extxyz@7"}, "cannot be read by ASE"),
        ({"structure": "{}/s.extxyz@x"}, "is no frame index"),
        ({"velocities": "file"}, "has no velocities"),
    ],
)
def test_bad_structures_are_told(md_files, tmp_path, options, words):
    options = {k: v.format(md_files) for k, v in options.items()}
    with pytest.raises(SimulationError, match=words):
        start_run(config(md_files, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_structures_that_do_not_fit_are_told(md_files, tmp_path):
    path = tmp_path / "s.extxyz"
    cases = [
        (Atoms("Si2", [[0, 0, 0], [2, 0, 0]]), {}, "element Si"),
        (Atoms("OH", [[0, 0, 0], [1, 0, 0]]), {"baths": {"ensemble": "npt"}}, "volume"),
        (
            Atoms("OH", [[0, 0, 0], [1, 0, 0]]),
            {"repeat": (2, 1, 1)},
            "no cell vector a",
        ),
    ]
    for atoms, options, words in cases:
        ase.io.write(path, atoms)
        with pytest.raises(DpbenchError, match=words):
            start_run(config(md_files, structure=str(path), **options), tmp_path / "r")


def test_molecules_without_a_cell_have_no_pressure(md_files, tmp_path):
    path = tmp_path / "s.extxyz"
    ase.io.write(path, Atoms("OHH", [[0, 0, 0], [1, 0, 0], [0, 1, 0.2]]))
    report = start_run(
        config(md_files, structure=str(path), log_format="csv"), tmp_path / "run"
    )
    row = rows(tmp_path / "run/observables.csv")[-1]
    assert row["pressure_bar"] == row["volume_ang3"] == ""
    assert float(row["temperature_k"]) > 0
    assert report.record["summary"]["pressure"]["mean"] is None
    assert not ase.io.read(tmp_path / "run/trajectory.extxyz").pbc.any()


def test_velocities_of_a_trajectory_go_on_where_it_ended(md_files, tmp_path):
    settings = config(md_files, traj_fields=("coord", "velocity"))
    start_run(settings, tmp_path / "a")
    middle = f"{tmp_path}/a/trajectory.extxyz@2"
    onward = replace(settings, structure=middle, velocities="file", steps=20)
    start_run(onward, tmp_path / "b")
    whole, rest = (rows(tmp_path / x / "observables.csv") for x in "ab")
    for one, other in zip(whole[4:], rest, strict=True):
        # Files have eight decimals.
        assert float(other["potential_ev"]) == pytest.approx(
            float(one["potential_ev"]), abs=1e-5
        )
