"""dpbench's kernels inside LAMMPS, beside DeePMD-kit's plugin for the same model."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import dpbench.md.lammps
from dpbench.errors import SimulationError
from dpbench.md.lammps import LammpsRun, moving_structure, run_lammps
from dpbench.models.checkpoint import save_model
from dpbench.models.compressed import compress
from dpbench.models.compressed_file import save_compressed
from dpbench.models.deepmd_file import write_deepmd
from tests.conftest import REPOSITORY
from tests.md.test_lammps import TABLE, model, start_velocity, structure, write_data

PLUGINS = ("savedmodel", "pth", "pb")
"""Of JAX, PyTorch and TensorFlow, in the order in which one process can write them."""

CONVERT = """
import sys
from deepmd.entrypoints.convert_backend import convert_backend
for suffix in sys.argv[1:]:
    convert_backend(INPUT="m.dp", OUTPUT="m." + suffix)
"""

INPUT = """units metal
atom_style atomic
atom_modify map array
boundary p p p
read_data start.data
{setup}
{potential}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.0005
compute each all pe/atom
compute sum all reduce sum c_each
thermo_style custom step pe ke press pxx pyy pzz pxy pxz pyz vol c_sum
thermo_modify format float %.16g norm no flush no
thermo 10
dump places all custom 10 {dump} id xu yu zu fx fy fz c_each
dump_modify places sort id format float %.16g
{fixes}
run {steps}
"""

OURS = "pair_style none\nfix dpbench all external pf/callback 1 1"

QUIET = {
    "OMP_NUM_THREADS": "1",
    "DP_INTRA_OP_PARALLELISM_THREADS": "1",
    "DP_INTER_OP_PARALLELISM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Place:
    """A folder with start.data and the model in all formats, and who runs it."""

    folder: Path
    python: Path
    site: Path

    def environment(self):
        """What DeePMD-kit's plugin needs; its own script would import frameworks."""
        parts = ("tensorflow", "torch/lib", "deepmd/lib", "nvidia/cuda_runtime/lib")
        libraries = [str(self.site / part) for part in parts]
        libraries.append(str(self.python.parent.parent / "lib"))
        return {
            **os.environ,
            **QUIET,
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "LAMMPS_PLUGIN_PATH": str(self.site / "deepmd" / "lib"),
        }

    def write(self, name, potential, fixes, steps):
        setup, _, fixes = fixes.rpartition("--")  # what must precede dumps
        text = INPUT.format(
            setup=setup,
            potential=potential,
            fixes=fixes,
            steps=steps,
            dump=f"{name}.dump",
        )
        (self.folder / f"{name}.lmp").write_text(text)

    def plugin(self, suffix, *, fixes="fix 1 all nve", steps=100, name=None):
        """Run the plugin; return thermo and dump."""
        name = name or suffix
        potential = f"pair_style deepmd m.{suffix}\npair_coeff * * O H"
        self.write(name, potential, fixes, steps)
        run_program(
            [str(self.site / "lammps" / "lmp"), "-in", f"{name}.lmp", "-log", name],
            self.folder,
            self.environment(),
        )
        return thermo(self.folder / name), dumped(self.folder / f"{name}.dump")

    def ours(self, name, *, fixes="fix 1 all nve", steps=100, ranks=1, is_exact=True):
        """Run dpbench's kernels; return thermo, dump and report."""
        self.write(name, OURS, fixes, steps)
        run = LammpsRun(
            input=self.folder / f"{name}.lmp",
            python=self.python,
            types=("O", "H"),
            ranks=ranks,
            arguments=("-log", name, "-screen", "none"),
        )
        file = "m.pth.ours" if is_exact else "m.pth.tables"
        moving = moving_structure(self.folder / file, is_exact=is_exact)
        report = run_lammps(run, moving)
        found = thermo(self.folder / name), dumped(self.folder / f"{name}.dump")
        return (*found, report)


def run_program(words, folder, environment):
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def thermo(path):
    """The table of a log, (row, column)."""
    rows, is_table = [], False
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            is_table = True
        elif line.startswith("Loop time"):
            is_table = False
        elif is_table and not line.startswith("WARNING"):
            rows.append([float(word) for word in words])
    return np.array(rows)


def dumped(path):
    """Positions, forces and energies of a dump, (step, atom, 7), by id."""
    tables, rows = [], []
    for line in path.read_text().splitlines():
        if line.startswith("ITEM: TIMESTEP"):
            tables.append(rows := [])
        elif len(line.split()) == 8 and not line.startswith("ITEM"):
            rows.append([float(word) for word in line.split()])
    found = np.array(tables)
    assert (found[:, :, 0] == 1 + np.arange(found.shape[1])).all()
    return found[:, :, 1:]


def prepared(python, folder):
    """A folder with a hot start and the model as dpbench writes it."""
    (site,) = Path(python).parent.parent.glob("lib/python3*/site-packages")
    start = structure()
    write_data(folder / "start.data", start, start_velocity(start, 300.0))
    write_deepmd(folder / "m.dp", model())
    save_model(folder / "m.pth.ours", model(), {})
    save_compressed(folder / "m.pth.tables", compress(model(), TABLE), {}, {})
    return Place(folder=folder, python=Path(python), site=site)


@pytest.fixture(scope="module")
def place(deepmd_python, tmp_path_factory):
    return prepared(deepmd_python, tmp_path_factory.mktemp("inside"))


@pytest.fixture(autouse=True)
def in_the_folder(place, monkeypatch):
    monkeypatch.chdir(place.folder)


@pytest.fixture(scope="module")
def converted(place):
    """The same, with the formats of DeePMD-kit's backends."""
    words = [str(place.python), "-c", CONVERT, *PLUGINS]
    run_program(words, place.folder, os.environ | QUIET)
    return place


@pytest.mark.slow
def test_constant_energy_by_four_ways_is_one_trajectory(converted, figures):
    """TensorFlow, PyTorch and JAX by DeePMD-kit's plugin; dpbench's own kernels."""
    _, known = converted.plugin("pb")
    assert len(known) == 11
    assert np.linalg.norm(known[-1] - known[0], axis=1).max() > 0.3
    others = {name: converted.plugin(name)[1] for name in PLUGINS[:2]}
    others["dpbench"] = converted.ours("exact")[1]
    for name, found in others.items():
        off = np.abs(found - known)
        figures(f"{name}: {off[..., :3].max():.0e} Å off TensorFlow in 100 steps")
        assert off[..., :3].max() < 1e-6
        assert off[..., 3:6].max() < 1e-6
        assert off[..., 6].max() < 1e-7
    *_, report = tabulated = converted.ours("table", is_exact=False)
    off = np.abs(tabulated[1] - known)[..., :3].max()
    figures(f"dpbench, {report.way}: {off:.0e} Å off TensorFlow in 100 steps")
    assert report.way == "tabulated embedding"
    assert off < 1e-6


@pytest.mark.slow
def test_pressure_drives_the_cell_as_it_does_with_the_plugin(converted):
    """All six sides of a triclinic cell move, so every part of the virial counts."""
    fixes = (
        "change_box all triclinic--fix 1 all npt temp 300 300 0.05 tri 2000 2000 0.1"
    )
    known, places = converted.plugin("pb", fixes=fixes, steps=60, name="npt-pb")
    table, found, _ = converted.ours("npt", fixes=fixes, steps=60)
    scale = np.abs(known).max(axis=0)
    assert np.ptp(known[:, 10]) > 1.0  # Å^3
    assert (np.ptp(known[:, 7:10], axis=0) > 50).all()  # bar
    np.testing.assert_allclose(table / scale, known / scale, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found, places, rtol=0, atol=1e-8)
    np.testing.assert_allclose(table[:, 11], table[:, 1], rtol=0, atol=1e-11)


@pytest.mark.slow
def test_ranks_do_not_change_a_run(place):
    one, places, _ = place.ours("one", steps=30)
    two, again, report = place.ours("two", steps=30, ranks=2)
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-8)
    np.testing.assert_allclose(again, places, rtol=0, atol=1e-10)
    assert report.work.evaluations == 31
    assert report.work.atoms == 31 * 12


def test_a_relaxation_goes_downhill(place):
    """By the energy of the fix, which minimize must be told to count."""
    fixes = "thermo 1\nmin_style cg\nminimize 0 0 15 60"
    table, _, _ = place.ours("relaxed", fixes=fixes, steps=0)
    energy = table[:16, 1]
    assert (np.diff(energy) <= 0).all()
    assert energy[-1] < energy[0] - 0.1


def test_lists_outlive_steps_and_wrapping(place):
    """LAMMPS wraps atoms into its box; a common drift must change nothing else."""
    drift = np.array([40.0, 30.0, 20.0])  # Å/ps
    fixes = f"velocity all set {drift[0]} {drift[1]} {drift[2]} sum yes units box\n"
    _, still, _ = place.ours("still", is_exact=False)
    _, found, report = place.ours(
        "moving", fixes=fixes + "fix 1 all nve", is_exact=False
    )
    time = 0.005 * np.arange(11)
    still[..., :3] += time[:, None, None] * drift
    np.testing.assert_allclose(found, still, rtol=0, atol=1e-9)
    box = 6.6
    assert (np.floor(found[-1, :, :3] / box) != np.floor(found[0, :, :3] / box)).any()
    # 1 Å of skin: a new list each time that an atom has moved by half of it.
    assert 2 < report.searches < 30


FAULTS = {
    "units": ("units metal", "units real", "runs in units real; expected metal"),
    "command": ("fix 1 all nve", "fix 1 all nvx", "Unrecognized fix style 'nvx'"),
    "respa": ("fix 1 all nve", "fix 1 all nve\nrun_style respa 1", "respa"),
    "lost": ("timestep 0.0005", "timestep 5.0", "dpbench|Lost atoms|not at finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_run_with_one_line(place, fault):
    old, new, says = FAULTS[fault]
    place.write(fault, OURS, "fix 1 all nve", 50)
    path = place.folder / f"{fault}.lmp"
    path.write_text(path.read_text().replace(old, new, 1))
    run = LammpsRun(
        input=path,
        python=place.python,
        types=("O", "H"),
        arguments=("-log", "none", "-screen", "none"),
    )
    moving = moving_structure(place.folder / "m.pth.ours", is_exact=True)
    with pytest.raises(Exception, match=says) as caught:
        run_lammps(run, moving)
    assert "\n" not in str(caught.value)


class Killing:
    """A model whose evaluation kills LAMMPS at the fifth step."""

    def __init__(self, moving, process):
        self.model, self.searches = moving.model, 0
        self._moving, self._process, self._left = moving, process, 5

    def evaluate(self, geometry):
        self._left -= 1
        if not self._left:
            self._process[0].kill()
            self._process[0].wait()
        return self._moving.evaluate(geometry)


def test_a_killed_lammps_is_told_of(place, monkeypatch):
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            started.append(self)

    monkeypatch.setattr(dpbench.md.lammps.subprocess, "Popen", Noted)
    place.write("killed", OURS, "fix 1 all nve", 50)
    moving = moving_structure(place.folder / "m.pth.ours", is_exact=True)
    run = LammpsRun(
        input=place.folder / "killed.lmp",
        python=place.python,
        types=("O", "H"),
        arguments=("-log", "none", "-screen", "none"),
    )
    with pytest.raises(SimulationError, match="ended with exit code -9"):
        run_lammps(run, Killing(moving, started))


IN_PROCESS = """
import sys
from pathlib import Path
from dpbench.errors import ModelError
from dpbench.md.lammps import attach
from dpbench.md.lammps_guest import import_lammps

lammps = import_lammps().lammps(cmdargs=["-log", "process", "-screen", "none"])
head, tail = Path("process.lmp").read_text().split("DPBENCH")
lammps.commands_string(head)
attached = attach(lammps, "m.pth.tables", types=("O", "H"))
lammps.commands_string(tail)
attached.check()
lammps.command("undump places")
scales = " ".join(f"{axis} scale 0.45" for axis in "xyz")
lammps.command(f"change_box all {scales} remap")
lammps.command("run 5 post no")
print("energy", lammps.get_thermo("pe"), "force", lammps.numpy.extract_atom("f")[0, 0])
try:
    attached.check()
except ModelError as error:
    print("raised", " ".join(str(error).split()))
lammps.close()
"""


@pytest.mark.slow
def test_a_lammps_of_this_process_is_served(place, tmp_path):
    """dpbench beside the module lammps, as an environment with both would have it."""
    place.write("process", "DPBENCH", "fix 1 all nve", 30)
    (tmp_path / "lammps").symlink_to(place.site / "lammps")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
        "LD_LIBRARY_PATH": str(place.python.parent.parent / "lib"),
        "OMP_NUM_THREADS": "1",
    }
    said = run_program([sys.executable, "-c", IN_PROCESS], place.folder, environment)
    assert "energy nan force nan" in said
    assert "raised atom 3 (O): has 85 H" in said
    found = thermo(place.folder / "process"), dumped(place.folder / "process.dump")
    known = place.ours("outside", steps=30, is_exact=False)
    np.testing.assert_allclose(found[0][:4], known[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found[1], known[1], rtol=0, atol=1e-10)
