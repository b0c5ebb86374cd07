"""Calculations by pw.x at the level of theory of a training set.

Everything that decides the numbers is read from an input file of the training set:
cut-off, smearing, pseudopotentials, k-points of its cell. A supercell gets the very
k-points that those of the small cell fold onto, so that N copies of a cell have N times
its energy, and a model is never asked to bridge two meshes.
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.frames import Frames
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers import READERS

FORCE_LIMIT = 1e-4
"""Ry/bohr (2.6 meV/Å), largest component at the end of a relaxation."""


class Budget(Exception):  # noqa: N818 -- says what happened
    """The time given to this turn is over; what is done stays done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """K-points of one cell."""

    divisions: tuple[int, int, int]
    shift: tuple[int, int, int]

    def points(self) -> NDArray[np.float64]:
        """(point, 3), in vectors of the reciprocal lattice."""
        axes = [
            (np.arange(n) + s / 2) / n
            for n, s in zip(self.divisions, self.shift, strict=True)
        ]
        return np.array(list(product(*axes)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Theory:
    """What a training set's inputs choose."""

    system: str
    """Lines of &system after the number of types."""
    electrons: str
    """Lines of &electrons."""
    species: dict[str, str]
    """Element -> its line of ATOMIC_SPECIES."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calculation:
    """One run of pw.x."""

    name: str
    frame: Frames
    """One periodic frame."""
    mesh: Mesh
    """Of the cell that the frame is made of."""
    matrix: tuple[tuple[int, int, int], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    """The frame's cell in vectors of that one."""
    relax: bool = False
    """Whether the atoms move to their minimum."""


def read_theory(path: Path) -> Theory:
    """Read the level of theory of an input that has all the elements."""
    text = path.read_text()
    block = re.search(r"ATOMIC_SPECIES\n(.*?)\nK_POINTS", text, re.S)
    system = re.search(r"ntyp=\d+\n(.*?)\n/", text, re.S)
    electrons = re.search(r"&electrons\n(.*?)\n/", text, re.S)
    if not (block and system and electrons):
        raise SystemExit(f"{path}: is no input of the training set.")
    species = {line.split()[0]: line for line in block[1].splitlines()}
    return Theory(system=system[1], electrons=electrons[1], species=species)


def input_text(calculation: Calculation, theory: Theory, pseudo: Path) -> str:
    """Write the input of one run."""
    frame = calculation.frame
    symbols = symbols_of(frame.z.tolist())
    kinds = sorted(set(symbols))
    kind = "relax" if calculation.relax else "scf"
    control = f" forc_conv_thr={FORCE_LIMIT}\n etot_conv_thr=1d-7\n nstep=60\n"
    lines = [
        f"&control\n calculation='{kind}'\n prefix='run'\n outdir='./tmp'",
        f" pseudo_dir='{pseudo}'\n tprnfor=.true.\n tstress=.true.\n disk_io='none'",
        (control if calculation.relax else "") + "/",
        f"&system\n ibrav=0\n nat={len(symbols)}\n ntyp={len(kinds)}",
        theory.system + "\n/",
        f"&electrons\n{theory.electrons}\n/",
        *(["&ions\n/"] if calculation.relax else []),
        "ATOMIC_SPECIES",
        *(theory.species[symbol] for symbol in kinds),
        *_k_points(calculation),
        "CELL_PARAMETERS angstrom",
        *(" ".join(f"{x:.8f}" for x in row) for row in frame.box[0]),
        "ATOMIC_POSITIONS angstrom",
        *(
            f"{symbol} " + " ".join(f"{x:.8f}" for x in row)
            for symbol, row in zip(symbols, frame.coord, strict=True)
        ),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def run(
    calculation: Calculation, theory: Theory, *, folder: Path, pseudo: Path, end: float
) -> Frames:
    """Run pw.x unless it is done; return the last frame with its labels.

    Args:
        calculation: What to do.
        theory: How.
        folder: Where inputs and outputs are kept; what lies there is not done again.
        pseudo: Folder of the UPF files.
        end: Time (``time.monotonic``) after which no run is begun.
    """
    source = folder / f"{calculation.name}.in"
    output = folder / f"{calculation.name}.out"
    text = input_text(calculation, theory, pseudo)
    known = source.exists() and source.read_text() == text and output.exists()
    if not (known and "JOB DONE" in output.read_text()):
        if time.monotonic() > end:
            raise Budget(calculation.name)
        source.write_text(text)
        begin = time.monotonic()
        with output.open("w") as sink:
            subprocess.run(
                ["pw.x", "-in", source.name],
                cwd=folder,
                stdout=sink,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        print(f"{calculation.name}: {time.monotonic() - begin:.1f} s", flush=True)
    return last_frame(source, output, len(calculation.frame.z))


def last_frame(source: Path, output: Path, natoms: int) -> Frames:
    """Read the last frame of one run by the reader that read the training set."""
    parsed = READERS["qe"].read(SourceFiles(format="qe", paths=(output, source)))
    frame = parsed.frames.select([parsed.frames.nframes - 1])
    good = parsed.quarantine[-1] == Quarantine.NONE and parsed.complete
    if not (good and len(frame.z) == natoms and frame.has_virial.all()):
        raise SystemExit(f"{output}: {parsed.quarantine[-1] or 'is not whole'}")
    return frame


def _k_points(calculation: Calculation) -> list[str]:
    """The points that those of the small cell fold onto: automatic where it can be."""
    matrix, mesh = np.array(calculation.matrix), calculation.mesh
    if (matrix == np.diag(np.diag(matrix))).all():
        times = np.diag(matrix)
        if not (np.array(mesh.divisions) % times).any():
            divisions = np.array(mesh.divisions) // times
            return [
                "K_POINTS automatic",
                " ".join(map(str, [*divisions, *mesh.shift])),
            ]
    weights: dict[tuple[float, ...], int] = {}
    for point in mesh.points():
        here = _folded(matrix @ point)
        mirror = _folded(-(matrix @ point))  # time reversal: the same bands
        key = min(here, mirror)
        weights[key] = weights.get(key, 0) + 1
    rows = [
        " ".join(f"{x:.8f}" for x in point) + f" {weight}"
        for point, weight in sorted(weights.items())
    ]
    return ["K_POINTS crystal", str(len(rows)), *rows]


def _folded(point: NDArray[np.float64]) -> tuple[float, ...]:
    inside = np.round(point - np.floor(point + 1e-9), 8) + 0.0
    return tuple(float(x) for x in inside)
