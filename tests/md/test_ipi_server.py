"""The client against i-PI itself: beads of water, quantum and classical."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.ipi_wire import PREFIX
from dpbench.models.checkpoint import load_model
from dpbench.models.deepmd_file import write_deepmd
from dpbench.units import BOHR, HARTREE
from tests.conftest import REPOSITORY, absent
from tests.md.foreign import python_of
from tests.md.test_ipi import free_port

pytestmark = [pytest.mark.backends, pytest.mark.slow]

DATA = REPOSITORY / "tests" / "data"

INPUT = """<simulation verbosity="low">
 <output prefix="run">
  <properties filename="out" stride="1">
   [ step, conserved, temperature, kinetic_cv, potential, virial_cv ]
  </properties>
  <trajectory filename="force" stride="1" format="xyz"> forces </trajectory>
  <trajectory filename="place" stride="1" format="xyz"> positions </trajectory>
 </output>
 <total_steps> {steps} </total_steps>
 <prng> <seed> 7 </seed> </prng>
 <ffsocket mode="{mode}" name="dp" pbc="False">
  <address> {address} </address> <port> {port} </port>
  <latency> 1e-4 </latency> {batch}
 </ffsocket>
 <system>
  <initialize nbeads="{beads}">
   <file mode="xyz"> start.xyz </file>
   <velocities mode="thermal" units="kelvin"> 350 </velocities>
  </initialize>
  <forces> <force forcefield="dp"/> </forces>
  <ensemble> <temperature units="kelvin"> 350 </temperature> </ensemble>
  <motion mode="dynamics">
   <dynamics mode="{ensemble}">
    <timestep units="femtosecond"> {timestep} </timestep>
    <thermostat mode="pile_g"> <tau units="femtosecond"> 20 </tau> </thermostat>
   </dynamics>
  </motion>
 </system>
</simulation>
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a server is to do."""

    beads: int = 8
    steps: int = 10
    ensemble: str = "nve"
    timestep: float = 0.25
    batch: int = 1
    clients: int = 1
    kind: str = "unix"


def write_xyz(path: Path, atoms: Atoms) -> None:
    """A structure with its cell, as i-PI reads it."""
    cell = " ".join(map(repr, atoms.cell.cellpar().tolist()))
    lines = [
        str(len(atoms)),
        f"# CELL(abcABC): {cell} positions{{angstrom}} cell{{angstrom}}",
    ]
    for symbol, place in zip(atoms.symbols, atoms.positions.tolist(), strict=True):
        lines.append(symbol + " " + " ".join(map(repr, place)))
    path.write_text("\n".join(lines) + "\n")


def simulate(folder: Path, run: Run, driver=None) -> tuple[np.ndarray, list[str]]:
    """Start i-PI and clients; return the table of properties and what clients say."""
    program = python_of("ipi").with_name("i-pi")
    atoms = read(DATA / "water8.extxyz")
    write_xyz(folder / "start.xyz", atoms)
    name, port = f"dpbench-{os.getpid()}", free_port()
    batch = "" if run.batch == 1 else f"<batch_size> {run.batch} </batch_size>"
    (folder / "input.xml").write_text(
        INPUT.format(
            steps=run.steps,
            mode=run.kind,
            address=name if run.kind == "unix" else "localhost",
            port=port,
            batch=batch,
            beads=run.beads,
            ensemble=run.ensemble,
            timestep=run.timestep,
        )
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    where = ["--unix", name] if run.kind == "unix" else ["--port", str(port)]
    client = [sys.executable, "-m", "dpbench", "ipi", "--wait", "60", *where]
    client += ["--model", str(DATA / "water.pth")]
    client += ["--structure", str(DATA / "water8.extxyz")]
    if driver is not None:
        client = driver(folder, name)
    options = {"cwd": folder, "env": environment, "text": True}
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        server = stack.enter_context(
            subprocess.Popen([program, "input.xml"], stdout=log, stderr=log, **options)
        )
        stack.callback(server.kill)
        stack.callback(Path(PREFIX + name).unlink, missing_ok=True)
        clients = []
        for _ in range(run.clients):
            one = stack.enter_context(
                subprocess.Popen(
                    client,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    **options,
                )
            )
            stack.callback(one.kill)
            clients.append(one)
        said = [one.communicate(timeout=500)[0] for one in clients]
        told = "".join(said) + (folder / "log").read_text()[-3000:]
        # dp_ipi takes EXIT for an error.
        assert driver or all(one.returncode == 0 for one in clients), told
        server.wait(timeout=60)
    assert server.returncode == 0, told
    return np.loadtxt(folder / "run.out"), said


def test_forces_of_the_server_are_those_of_ase(tmp_path):
    """At the start, where positions are known to all digits; i-PI writes six."""
    simulate(tmp_path, Run(beads=2, steps=1))
    atoms = read(DATA / "water8.extxyz")
    atoms.calc = DPCalculator(DATA / "water.pth")
    ours = atoms.get_forces() * BOHR / HARTREE
    for bead in range(2):
        lines = (tmp_path / f"run.force_{bead}.xyz").read_text().splitlines()[2:26]
        theirs = np.array([line.split()[1:4] for line in lines], dtype=float)
        # i-PI has 0.52917721 Å for a Bohr.
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=3e-8)


def deepmd_driver(folder, name):
    """DeePMD-kit's own client; it starts only once the server listens."""
    python = Path(os.environ["DPBENCH_DEEPMD_PYTHON"])
    write_deepmd(folder / "m.dp", load_model(DATA / "water.pth")[0])
    command = [python.with_name("dp"), "convert-backend", "m.dp", "m.pb"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    settings = {
        "verbose": False,
        "use_unix": True,
        "port": 31415,
        "host": name,
        "graph_file": "m.pb",
        "coord_file": "start.xyz",
        "atom_type": {"H": 0, "O": 1},
    }
    (folder / "dp.json").write_text(json.dumps(settings))
    wait = f"while [ ! -S {PREFIX}{name} ]; do sleep 0.1; done"
    client = shlex.quote(str(python.with_name("dp_ipi")))
    return ["sh", "-c", f"{wait}; exec {client} dp.json"]


@pytest.mark.deepmd
def test_beads_move_as_with_the_client_of_deepmd_kit(tmp_path, figures):
    if "DPBENCH_DEEPMD_PYTHON" not in os.environ:
        absent("deepmd", "DPBENCH_DEEPMD_PYTHON is not set")
    tables = []
    for driver in (None, deepmd_driver):
        folder = tmp_path / str(driver is None)
        folder.mkdir()
        table, _ = simulate(folder, Run(steps=5), driver)
        tables.append(table)
    gap = np.abs(tables[0] - tables[1])[:, [1, 3, 4, 5]].max(axis=0)
    figures(f"dpbench ipi and dp_ipi, 5 steps, 8 beads: {gap} Hartree")
    # Conserved and potential are -1097 Hartree, written to nine digits.
    assert (gap < [1e-5, 1e-8, 1e-5, 1e-9]).all()


@pytest.mark.parametrize(
    "run",
    [
        Run(steps=40),
        Run(steps=10, clients=2),
        Run(steps=10, batch=8),
        Run(steps=10, kind="inet", beads=4),
    ],
    ids=["unix", "two clients", "batches", "inet"],
)
def test_a_ring_polymer_conserves_its_energy(tmp_path, run, figures):
    table, said = simulate(tmp_path, run)
    conserved = table[:, 1]
    atoms = len(read(DATA / "water8.extxyz"))
    swing = 1000 * HARTREE * np.ptp(conserved) / atoms
    moved = 1000 * HARTREE * np.ptp(table[:, 4]) / atoms
    figures(f"i-PI, {run}: {swing:.2g} of {moved:.3g} meV/atom; {said[0].strip()}")
    assert swing < 0.05 * moved
    counts = [int(text.split()[0]) for text in said]
    assert sum(counts) == run.beads * (run.steps + 1)
    if run.clients > 1:
        assert min(counts) > 0  # how they share depends on the machine


def test_the_quantum_kinetic_energy_of_water_is_above_the_classical(tmp_path, figures):
    """Protons at 350 K: the zero point counts for more than kT / 2 a direction."""
    means = {}
    for beads in (1, 8):
        folder = tmp_path / str(beads)
        folder.mkdir()
        run = Run(beads=beads, steps=400, ensemble="nvt", batch=beads)
        table, _ = simulate(folder, run)
        means[beads] = 1000 * HARTREE * table[len(table) // 2 :, 3].mean() / 24
    figures(f"kinetic energy, meV/atom: {means[1]:.3g} classical, {means[8]:.3g} of 8")
    assert means[1] == pytest.approx(1.5 * 0.0861733 * 350, rel=0.2)
    assert means[8] > 1.5 * means[1]
