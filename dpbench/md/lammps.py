"""dpbench's own kernels inside LAMMPS, by ``fix external``.

``run_lammps`` starts LAMMPS in its own environment and answers it from this process;
``attach`` serves a ``lammps`` object of this process. Both take ``units metal``, add
the model to whatever else the input has, and fill energy, virial and energies per atom.
"""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.elements import SYMBOLS
from dpbench.errors import ConfigError, ModelError, SimulationError
from dpbench.md import lammps_guest
from dpbench.md.lammps_server import ForceServer, Work, evaluated
from dpbench.md.model_source import Precision, open_model
from dpbench.md.moving import MovingStructure, way_of
from dpbench.md.skin import Geometry
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow

DEFAULT_SKIN = 1.0
"""Å, beyond the cutoff; the list is dpbench's own, LAMMPS needs none."""

FIX = re.compile(r"^\s*fix\s+(\S+)\s+(\S+)\s+external\s+pf/callback\s+(\S+)\s+(\S+)")

WANTED = "fix dpbench all external pf/callback 1 1"

RESPA = re.compile(r"^\s*run_style\s+respa\b")

LAST_WORDS = 2000
"""Bytes of what LAMMPS wrote to its standard error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LammpsRun:
    """How LAMMPS is started."""

    input: Path
    """Its input, with the line ``fix dpbench all external pf/callback 1 1``."""
    python: Path
    """Python of an environment with numpy and the ``lammps`` module."""
    types: tuple[str, ...] = ()
    """Elements in the order of LAMMPS' types; none: by its type labels."""
    ranks: int = 1
    """MPI processes, all on this machine."""
    mpiexec: str = ""
    """Starts them [default: mpiexec beside ``python``]."""
    arguments: tuple[str, ...] = ()
    """Of LAMMPS, such as ``-var t 300``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LammpsReport:
    """What a run took."""

    work: Work
    searches: int
    """Neighbour lists made."""
    total_s: float
    """Seconds from start to end of LAMMPS."""
    way: str
    """How the model was evaluated."""

    def summary(self) -> str:
        """Say it in a line."""
        work = self.work
        each = 1e6 * work.model_s / max(work.atoms, 1)
        return (
            f"{work.evaluations} evaluations, {self.searches} neighbour lists, "
            f"{each:.2f} us/atom in the model ({self.way}); "
            f"{self.total_s:.1f} s in all, {work.model_s:.1f} s of them in the model"
        )


def moving_structure(
    model: Potential | str | PathLike[str],
    *,
    skin: float = DEFAULT_SKIN,
    is_exact: bool = False,
    sel_overflow: SelOverflow | None = None,
    device: str = "cpu",
    precision: Precision | None = None,
) -> MovingStructure:
    """Open a model for a structure that moves.

    Args:
        model: A model, or a file that ``open_model`` reads.
        skin: Extra radius of the neighbour list, Å.
        is_exact: Evaluate the embedding nets, not tables of them.
        sel_overflow: What to do with more neighbours than ``sel``; None: what the
            model's training did.
        device: Where the model shall lie.
        precision: Of the nets; None keeps the model's.

    Raises:
        ModelError: If the model cannot be opened so.
    """
    potential, provenance = open_model(model, device=device, precision=precision)
    if is_exact and isinstance(potential, CompressedPotential):
        raise ModelError(
            "is_exact: the model is compressed, so there is no exact embedding; "
            "expected the m.pth it was made of. Leave exact out, or give that."
        )
    return MovingStructure(
        potential,
        skin=skin,
        is_exact=is_exact,
        sel_overflow=sel_overflow or trained_overflow(provenance),
    )


def attach(
    lmp: Any,
    model: Potential | str | PathLike[str] | MovingStructure,
    *,
    types: Sequence[str] = (),
    fix_id: str = "dpbench",
) -> lammps_guest.Attached:
    """Give a ``lammps`` object of this process a model's forces; one rank alone.

    Call it once the box and the atoms' types exist. It makes the fix; ``unfix`` it
    to let go. If an evaluation fails, LAMMPS ends the run with energies and forces NaN;
    what is returned keeps the error: call its ``check()`` behind each run.

    Args:
        lmp: A ``lammps.lammps``.
        model: A model, a file of one, or what ``moving_structure`` made.
        types: Elements in the order of LAMMPS' types; none: by its type labels.
        fix_id: Name of the fix.

    Raises:
        SimulationError: If LAMMPS runs in other units, on several ranks, or has types
            that the model does not know.
    """
    structure = model if isinstance(model, MovingStructure) else moving_structure(model)
    if int(lmp.extract_setting("world_size")) > 1:
        raise SimulationError(
            "attach: LAMMPS runs on several ranks; expected one. Use 'dpbench lammps "
            "--ranks', which serves all of them from one process."
        )
    try:
        lammps_guest.check(lmp)
        names = lammps_guest.types_of(lmp, types, structure.model.type_map)
    except lammps_guest.Failed as error:
        raise SimulationError(f"attach: {error}") from error
    numbers = np.array([0, *(SYMBOLS.index(name) for name in names)])
    work = Work()

    def ask(atoms: lammps_guest.Atoms) -> lammps_guest.Found:
        # By id, so that LAMMPS may sort its atoms without a new search.
        order = np.argsort(atoms.tag, kind="stable")
        geometry = Geometry(
            z=numbers[atoms.kind[order]],
            coord=np.ascontiguousarray(atoms.coord[order]),
            box=atoms.box,
            pbc=atoms.periodic,
        )
        energy, virial, force, each = evaluated(structure, geometry, work)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return lammps_guest.Found(
            energy=energy, virial=virial, force=force[back], atom_energy=each[back]
        )

    lmp.command(WANTED.replace("dpbench", fix_id, 1))
    return lammps_guest.Attached(lmp, fix_id, ask)


def split_input(path: Path) -> tuple[str, str, str]:
    """Split an input behind its ``fix external``; return both parts and the fix's id.

    Raises:
        ConfigError: If there is no such fix, or not for all atoms at every step.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no input of LAMMPS: {error}") from error
    for number, text in enumerate(lines, 1):
        if RESPA.match(text):
            raise ConfigError(
                f"{path}, line {number}: fix external gives no forces to run_style "
                "respa; expected verlet. Leave the line out."
            )
    for number, text in enumerate(lines, 1):
        found = FIX.match(text)
        if found is None:
            continue
        if found.groups()[1:] != ("all", "1", "1"):
            raise ConfigError(
                f"{path}, line {number}: {text.strip()}; expected all atoms at every "
                f"step, '{WANTED}'."
            )
        return "".join(lines[:number]), "".join(lines[number:]), found.group(1)
    raise ConfigError(
        f"{path}: has no line '{WANTED}'. Put it where pair_style would stand, behind "
        "what makes the atoms."
    )


def run_lammps(run: LammpsRun, structure: MovingStructure) -> LammpsReport:
    """Run LAMMPS with the forces of a model, and wait for its end.

    LAMMPS prints to this process's standard output, writes where the input says, and
    finds its files from the present folder.

    Args:
        run: How LAMMPS is started.
        structure: The model, as ``moving_structure`` opens it.

    Raises:
        ConfigError: If the input has no place for the model.
        SimulationError: If LAMMPS does not start, or ends with an error.
        ModelError: If the model refuses a structure.
    """
    head, tail, fix_id = split_input(run.input)
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="dpbench-lammps-") as name,
        closing(socket.socket(socket.AF_UNIX)) as listener,
    ):
        folder = Path(name)
        (folder / "head.lmp").write_text(head, encoding="utf-8")
        (folder / "tail.lmp").write_text(tail, encoding="utf-8")
        listener.bind(str(folder / "line"))
        listener.listen(run.ranks)
        command = _command(run, folder, fix_id, structure.model.type_map)
        with closing(ForceServer(structure, listener)) as server:
            _watch(command, run, server, folder / "stderr")
            work = server.work
    return LammpsReport(
        work=work,
        searches=structure.searches,
        total_s=time.perf_counter() - began,
        way=way_of(structure.model),
    )


def _command(
    run: LammpsRun, folder: Path, fix_id: str, elements: Sequence[str]
) -> list[str]:
    """Word the command that starts all ranks."""
    words = [str(run.python), "-I", lammps_guest.__file__]
    words += [str(folder / part) for part in ("line", "head.lmp", "tail.lmp")]
    words += [fix_id, ",".join(elements), ",".join(run.types), *run.arguments]
    if run.ranks == 1:
        return words
    beside = run.python.parent / "mpiexec"
    start = run.mpiexec or (str(beside) if beside.is_file() else "mpiexec")
    return [start, "-n", str(run.ranks), *words]


def _watch(
    command: list[str], run: LammpsRun, server: ForceServer, words: Path
) -> None:
    """Start LAMMPS, answer it, and word how it ended."""
    environment = {"OMP_NUM_THREADS": "1"} | dict(run.environment)
    with words.open("wb") as stderr:
        try:
            process = subprocess.Popen(
                command, stderr=stderr, env=os.environ | environment
            )
        except OSError as error:
            raise SimulationError(
                f"{command[0]}: does not start: {error.strerror}. Name a Python that "
                "has the lammps module (and mpiexec, for several ranks)."
            ) from error
        try:
            server.serve(lambda: process.poll() is None)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code:
        last = words.read_bytes()[-LAST_WORDS:].decode(errors="replace").split("\n")
        said = [line.strip() for line in last if line.strip()]
        raise SimulationError(
            f"{run.input}: LAMMPS ended with exit code {code}: "
            f"{' | '.join(said[-3:]) or 'it said nothing'}"
        )
