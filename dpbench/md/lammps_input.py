"""Inputs that LAMMPS runs as they are: a structure, a model, a first run."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import ModelError, SimulationError
from dpbench.md.lammps import WANTED
from dpbench.md.state import Structure, masses_of
from dpbench.models.recognise import OWN_KINDS, recognise
from dpbench.units import AMU

PLUGIN = (
    "deepmd-pb",
    "deepmd-pth",
    "deepmd-savedmodel",
    "deepmd-savedmodeltf",
    "deepmd-pt2",
)
"""Kinds that DeePMD-kit's plugin for LAMMPS opens."""

MARGIN = 10.0
"""Å between the outermost atoms and an open side, which moves with them."""

LARGEST_TILT = 0.5
"""Of the edge before, beyond which LAMMPS warns of a skewed box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstRun:
    """What the input does; to be changed by hand."""

    steps: int = 1000
    """Of molecular dynamics."""
    timestep: float = 0.5
    """fs."""
    temperature: float = 300.0
    """K, of the velocities that are drawn."""
    seed: int = 1
    """Of the velocities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LammpsBox:
    """A structure as LAMMPS takes it: cell lower triangular, periodic vectors first."""

    box: NDArray[np.float64]
    """(3, 3), Å, rows are cell vectors."""
    low: NDArray[np.float64]
    """(3), Å, its corner."""
    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    velocity: NDArray[np.float64] | None
    """(atom, 3), Å/ps."""
    boundary: str
    """Of the command ``boundary``."""
    turn: NDArray[np.float64]
    """(3, 3): our place @ turn is LAMMPS' place."""


def lammps_box(structure: Structure) -> LammpsBox:
    """Turn a structure so that LAMMPS takes its cell.

    Raises:
        SimulationError: If its periodic cell vectors span no volume.
    """
    vectors = np.asarray(structure.box, dtype=np.float64)[structure.pbc]
    count = len(vectors)
    # Of a matrix that is triangular already, QR would turn axes round and round.
    turn, upper = np.linalg.qr(vectors.T, mode="complete")
    sign = np.ones(3)
    sign[:count] = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    turn = turn * sign
    if np.array_equal(vectors, np.tril(vectors)):
        turn = np.where(np.abs(turn) > 0.5, np.sign(turn), 0.0)
    lower = np.tril(vectors @ turn)
    edges = np.diagonal(lower)
    if count and not edges.min() > 1e-6 * np.abs(lower).max():
        raise SimulationError(
            f"{structure.where}: its periodic cell vectors {vectors.tolist()} span no "
            "volume. Correct the cell."
        )
    coord = np.asarray(structure.coord) @ turn
    low = coord.min(axis=0) - MARGIN
    high = coord.max(axis=0) + MARGIN
    low[:count] = 0.0
    box = np.diag(high - low)
    box[:count] = _least_tilted(lower)
    return LammpsBox(
        box=box,
        low=low,
        coord=coord,
        velocity=None if structure.velocity is None else structure.velocity @ turn,
        boundary=" ".join("p" * count + "m" * (3 - count)),
        turn=turn,
    )


def _least_tilted(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return another basis of the same lattice, with tilts that LAMMPS takes."""
    rows = lower.copy()
    for i in range(1, len(rows)):
        for j in range(i - 1, -1, -1):
            if abs(rows[i, j]) > LARGEST_TILT * rows[j, j]:
                rows[i] -= np.round(rows[i, j] / rows[j, j]) * rows[j]
    return rows


def elements_of(structure: Structure) -> tuple[str, ...]:
    """Name the elements in the order of their atomic numbers."""
    return tuple(SYMBOLS[z] for z in sorted(set(structure.z.tolist())))


def data_text(
    structure: Structure,
    masses: NDArray[np.float64],
    *,
    elements: tuple[str, ...] = (),
) -> str:
    """Write a data file, ``atom_style atomic``, with type labels and masses.

    Args:
        structure: The atoms.
        masses: (atom), eV ps^2/Å^2.
        elements: Of the types, in order; none: the structure's own, in the order of
            atomic numbers.

    Raises:
        SimulationError: If its periodic cell vectors span no volume.
    """
    turned = lammps_box(structure)
    elements = elements or elements_of(structure)
    kind = [elements.index(SYMBOLS[z]) + 1 for z in structure.z.tolist()]
    sides = np.stack([turned.low, turned.low + np.diagonal(turned.box)], axis=1)
    tilts = [turned.box[i, j] for i, j in ((1, 0), (2, 0), (2, 1))]
    lines = [f"{structure.where}, written by dpbench", ""]
    lines += [f"{structure.natoms} atoms", f"{len(elements)} atom types", ""]
    for axis, (low, high) in zip("xyz", sides.tolist(), strict=True):
        lines.append(f"{low!r} {high!r} {axis}lo {axis}hi")
    if any(tilts):
        lines.append(" ".join(repr(float(t)) for t in tilts) + " xy xz yz")
    lines += ["", "Atom Type Labels", ""]
    lines += [f"{i} {name}" for i, name in enumerate(elements, 1)]
    lines += ["", "Masses", ""]
    standard = masses_of(np.array([SYMBOLS.index(name) for name in elements]))
    mass = dict(enumerate((standard / AMU).tolist(), 1))
    mass |= dict(zip(kind, (masses / AMU).tolist(), strict=True))
    lines += [f"{i} {mass[i]!r}" for i in sorted(mass)]
    lines += ["", "Atoms # atomic", ""]
    for i, (k, place) in enumerate(zip(kind, turned.coord.tolist(), strict=True), 1):
        lines.append(f"{i} {k} " + " ".join(map(repr, place)))
    if turned.velocity is not None:
        lines += ["", "Velocities", ""]
        for i, row in enumerate(turned.velocity.tolist(), 1):
            lines.append(f"{i} " + " ".join(map(repr, row)))
    return "\n".join(lines) + "\n"


def pair_lines(model: Path, elements: tuple[str, ...]) -> list[str]:
    """Word the potential: dpbench's kernels, or DeePMD-kit's plugin.

    Raises:
        ModelError: If neither opens the file.
    """
    kind = recognise(model).kind
    if kind in OWN_KINDS:
        return ["pair_style none", WANTED]
    if kind in PLUGIN:
        return [
            f"pair_style deepmd {shlex.quote(str(model.resolve()))}",
            f"pair_coeff * * {' '.join(elements)}",
        ]
    known = ", ".join(OWN_KINDS + PLUGIN)
    raise ModelError(
        f"{model}: is of the kind {kind}, which neither dpbench nor DeePMD-kit's "
        f"plugin runs in LAMMPS; expected one of {known}. Turn it "
        "into another with 'dpbench convert'."
    )


def input_text(
    structure: Structure, model: Path, run: FirstRun, *, data: str = "start.data"
) -> str:
    """Write an input: constant energy, from velocities of the data file or drawn.

    Raises:
        ModelError: If no program runs the model in LAMMPS.
        SimulationError: If the cell has no volume.
    """
    elements = elements_of(structure)
    draw = (
        f"velocity all create {run.temperature!r} {run.seed} mom yes rot no dist "
        "gaussian loop all"
    )
    lines = [
        f"# {structure.where}, written by dpbench; docs/lammps.md tells of the model.",
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        f"boundary {lammps_box(structure).boundary}",
        f"read_data {data}",
        *pair_lines(model, elements),
        "neighbor 1.0 bin",
        "neigh_modify every 1 delay 0 check yes",
        *([draw] if structure.velocity is None else []),
        f"timestep {run.timestep / 1000!r}",
        "thermo_style custom step temp pe ke etotal press vol",
        "thermo 20",
        "dump places all custom 200 places.dump id type xu yu zu",
        "dump_modify places sort id format float %.10g",
        "fix move all nve",
        f"run {run.steps}",
    ]
    return "\n".join(lines) + "\n"


def command_text(model: Path, python: Path | None) -> str:
    """Write the script that runs the input beside it.

    Raises:
        ModelError: If no program runs the model in LAMMPS.
    """
    own = recognise(model).kind in OWN_KINDS
    where = shlex.quote(str(python)) if python is not None else "python"
    if own:
        words = f"dpbench lammps run in.lmp --model {shlex.quote(str(model.resolve()))}"
        words += "" if python is None else f" --lammps-python {where}"
        return f'#!/bin/sh\ncd "$(dirname "$0")" && exec {words} "$@"\n'
    return f"""#!/bin/sh
cd "$(dirname "$0")" || exit 1
# Threads that spin cost more than they gain.
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-1}}"
export DP_INTRA_OP_PARALLELISM_THREADS="${{DP_INTRA_OP_PARALLELISM_THREADS:-1}}"
export DP_INTER_OP_PARALLELISM_THREADS="${{DP_INTER_OP_PARALLELISM_THREADS:-1}}"
python={where}
# Without CUDA on the machine, DeePMD-kit's library for PyTorch finds it in a wheel.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
export LD_LIBRARY_PATH="$site/nvidia/cuda_runtime/lib:$LD_LIBRARY_PATH"
exec "$(dirname "$(command -v "$python")")/lmp" -in in.lmp "$@"
"""


def write_inputs(
    folder: Path,
    structure: Structure,
    model: Path,
    run: FirstRun,
    *,
    python: Path | None = None,
    force: bool = False,
) -> None:
    """Write in.lmp, start.data and run.sh.

    Args:
        folder: Where to; made if it is not there.
        structure: The atoms.
        model: A model file of dpbench or DeePMD-kit.
        run: What the input does.
        python: Python of LAMMPS' environment, for run.sh.
        force: Whether to replace files of these names.

    Raises:
        ModelError: If no program runs the model in LAMMPS.
        SimulationError: If the cell has no volume, or a file is there already.
    """
    files = {
        "in.lmp": input_text(structure, model, run),
        "start.data": data_text(structure, masses_of(structure.z)),
        "run.sh": command_text(model, python),
    }
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise SimulationError(
            f"{folder}: has {', '.join(there)} already; expected a new or empty "
            "folder. Name another, or give --force."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
