"""Other engines inside the loop: frames with labels come out at the other end."""

import pytest

from dpbench.explore.journal import iterations_of
from dpbench.explore.loop import run
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import plain_config, small_config

pytestmark = pytest.mark.slow


def explored(base, **engine):
    workspace = Workspace.find(base / "workspace", create=True)
    given = plain_config(base)["explore"] | engine
    config = small_config(base, stop={"iterations": 1}, explore=given)
    run(workspace, config, base=base)
    first, _ = iterations_of(base / "workspace" / "explorations" / "cu")
    version = open_dataset(workspace, "cu-v2")
    return first, version.read(range(version.nframes))


def check(first, frames, engine):
    assert {one.engine for one in first.explore.walks} == {engine}
    assert {one.outcome for one in first.explore.walks} == {"done"}
    assert first.ingest.new == 2
    assert frames.nframes == 6
    assert frames.has_force.all()


def test_ase_serves_the_loop(tmp_path):
    emt = {"calculator": "ase.calculators.emt:EMT"}
    check(*explored(tmp_path, engine="ase", ase=emt), "ase")


def test_lammps_serves_the_loop(deepmd_python, tmp_path):
    lammps = {"python": deepmd_python}
    check(*explored(tmp_path, engine="lammps", lammps=lammps), "lammps")
