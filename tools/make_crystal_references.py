"""Make the reference values of crystals with pw.x: inputs, runs, outputs, JSON.

``python tools/make_crystal_references.py si-lda --work FOLDER`` needs ``pw.x`` (Debian:
``quantum-espresso`` and ``quantum-espresso-data``) and takes about ten minutes on one
core. What lies in FOLDER is not done again, so it can be stopped and gone on with;
``--seconds`` ends a turn by itself. docs/crystal-tasks.md says what is made.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from crystal_cells import CELLS, Cell, rattled, remove_atom, repeated
from crystal_pw import Budget, Calculation, Theory, read_theory, run

from dpbench.eval.crystals.prototypes import scaled, strained, volume_per_atom
from dpbench.eval.crystals.references import FORMAT, Case, References, structure_of
from dpbench.eval.tasks.phonons import displaced_supercells
from dpbench.frames import Frames, concatenate, uniform
from dpbench.metrics.elasticity import strain_matrix
from dpbench.metrics.equation_of_state import fit_equation_of_state

ROOT = Path(__file__).resolve().parent.parent

FCC_2 = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
"""2x2x2 of the primitive cell of fcc, in vectors of the cube."""

BCC_4 = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
"""Four cubes whose images lie on a bcc lattice: the roundest cell of that size."""

PHONON_STEP = 0.02
"""Å."""

EOS_VOLUMES = np.linspace(0.92, 1.08, 9)

STRAINS = (
    *((e, 0, 0, 0, 0, 0) for e in (-0.01, -0.005, 0.005, 0.01)),
    *((0, 0, 0, e, 0, 0) for e in (-0.02, -0.01, 0.01, 0.02)),
)
"""Voigt; shears are engineering strains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """What is made for one suite."""

    theory: str
    """In words."""
    eos: tuple[str, ...]
    """Names of ``CELLS``."""
    elastic: tuple[str, ...]
    phonons: tuple[str, ...]
    vacancy: dict[str, tuple[tuple[int, int, int], ...]]
    """Cell -> supercell."""
    relaxation: tuple[tuple[str, tuple[float, ...], float], ...]
    """Cell, strain, standard deviation of the displacements (Å)."""
    sizes: tuple[tuple[str, tuple[int, int, int], tuple[float, ...]], ...]
    """Cell, copies, displacements of each frame (Å)."""


SUITES = {
    "si-lda": Suite(
        theory="Quantum ESPRESSO 6.7 pw.x, LDA (Perdew-Zunger), 18 Ry, k-points of "
        "2x2x2 (shifted) in the cube",
        eos=("Si-diamond",),
        elastic=("Si-diamond",),
        phonons=("Si-diamond",),
        vacancy={"Si-diamond": BCC_4},
        relaxation=(
            ("Si-diamond", (0.02, -0.02, 0, 0.03, 0, 0), 0.1),
            ("Si-diamond", (-0.02, -0.01, 0.02, 0, 0.03, 0.03), 0.2),
        ),
        sizes=(
            ("Si-diamond", (1, 1, 1), (0.08, 0.08, 0.16, 0.16)),
            ("Si-diamond", (2, 1, 1), (0.08, 0.16)),
        ),
    ),
    "almg-lda": Suite(
        theory="Quantum ESPRESSO 6.7 pw.x, LDA (Perdew-Zunger), 15 Ry, k-points of "
        "4x4x4 (shifted) in the cube; 5x3x3 in the orthorhombic cell of hcp",
        eos=("Al-fcc", "Mg-fcc", "Mg-hcp", "Al3Mg-L12", "AlMg-L10", "AlMg3-L12"),
        elastic=("Al-fcc", "Al3Mg-L12", "AlMg3-L12"),
        phonons=("Al-fcc",),
        vacancy={"Al-fcc": BCC_4},
        relaxation=(
            ("Al3Mg-L12", (0.02, -0.02, 0, 0.03, 0, 0), 0.15),
            ("AlMg3-L12", (-0.02, -0.01, 0.02, 0, 0.03, 0.03), 0.15),
        ),
        sizes=(
            ("Al3Mg-L12", (1, 1, 1), (0.08, 0.16)),
            ("AlMg3-L12", (1, 1, 1), (0.08, 0.16)),
            ("Al3Mg-L12", (2, 2, 1), (0.08, 0.16)),
            ("AlMg3-L12", (2, 2, 1), (0.08, 0.16)),
            ("Al3Mg-L12", (2, 2, 2), (0.12,)),
        ),
    ),
}


@dataclass(slots=True)
class Turn:
    """One turn of work on one suite."""

    suite: Suite
    theory: Theory
    folder: Path
    pseudo: Path
    end: float
    minimum: dict[str, float] = field(default_factory=dict)
    """Cell -> part of its volume at the energy minimum."""
    runs: dict[str, list[str]] = field(default_factory=dict)
    """Output to ship -> the runs in it."""

    def label(
        self, group: str, cell: Cell, frames: Frames, **more: Any
    ) -> Iterator[Frames]:
        """Run pw.x on some frames of one cell; yield each with its labels."""
        for index in range(frames.nframes):
            count = len(self.runs.setdefault(group, []))
            calculation = Calculation(
                name=f"{group}-{count}",
                frame=frames.select([index]),
                mesh=cell.mesh,
                **more,
            )
            found = run(
                calculation,
                self.theory,
                folder=self.folder,
                pseudo=self.pseudo,
                end=self.end,
            )
            self.runs[group].append(calculation.name)
            yield found if calculation.relax else labelled(calculation.frame, found)

    def at_minimum(self, name: str) -> Frames:
        """Return a cell at its energy minimum, to be run after ``eos``."""
        return scaled(CELLS[name].frame, np.array([self.minimum[name]]))


def labelled(frame: Frames, found: Frames) -> Frames:
    """Put labels on the very coordinates that were written."""
    return uniform(
        z=frame.z,
        coord=np.round(frame.coord, 8)[None],
        box=np.round(frame.box, 8),
        energy=found.energy,
        force=found.force[None],
        virial=found.virial,
    )


def eos(turn: Turn) -> Iterator[Case]:
    """Each cell at nine volumes."""
    for name in turn.suite.eos:
        cell = CELLS[name]
        group = f"eos-{name}"
        frames = concatenate(
            [*turn.label(group, cell, scaled(cell.frame, EOS_VOLUMES))]
        )
        curve = fit_equation_of_state(
            volume_per_atom(frames), frames.energy / frames.natoms
        )
        if curve is None:
            raise SystemExit(f"{name}: no minimum among the volumes.")
        turn.minimum[name] = curve.volume / float(volume_per_atom(cell.frame)[0])
        yield case(name, group, frames)


def elastic(turn: Turn) -> Iterator[Case]:
    """The cell at its minimum, then strained, atoms relaxed where they can move."""
    for name in turn.suite.elastic:
        cell, start, group = CELLS[name], turn.at_minimum(name), f"elastic-{name}"
        strains = np.array(STRAINS, float)
        frames = [*turn.label(group, cell, start)]
        # Atoms of a Bravais lattice stay at their sites by symmetry.
        for one in strain_matrix(strains):
            frames += turn.label(
                group, cell, strained(start, one[None]), relax=not cell.is_bravais
            )
        yield case(name, group, concatenate(frames), strains=strains.tolist())


def phonons(turn: Turn) -> Iterator[Case]:
    """The primitive cell, then the displaced supercells."""
    for name in turn.suite.phonons:
        cell, cube, group = CELLS[name], turn.at_minimum(name), f"phonons-{name}"
        box = cube.box[0] @ (np.array(FCC_2) / 2)
        basis = list(cell.primitive)
        primitive = uniform(
            z=cube.z[basis], coord=cube.coord[basis][None], box=box[None]
        )
        matrix = 2 * np.eye(3, dtype=np.int64)
        frames = displaced_supercells(primitive, matrix, PHONON_STEP)
        done = [*turn.label(group, cell, frames, matrix=FCC_2)]
        facts = {"matrix": matrix.tolist(), "step_ang": PHONON_STEP}
        yield case(name, group, concatenate([primitive, *done]), **facts)


def vacancy(turn: Turn) -> Iterator[Case]:
    """The supercell, with an atom less, with the others shaken, and these relaxed."""
    for name, matrix in turn.suite.vacancy.items():
        cell, group = CELLS[name], f"vacancy-{name}"
        perfect = repeated(turn.at_minimum(name), matrix)
        empty = remove_atom(perfect)
        start = rattled(empty, 0.02, seed=1)
        more = {"matrix": matrix}
        frames = [*turn.label(group, cell, perfect, **more)]
        frames += turn.label(group, cell, concatenate([empty, start]), **more)
        frames += turn.label(group, cell, start, relax=True, **more)
        yield case(name, group, concatenate(frames))


def relaxation(turn: Turn) -> Iterator[Case]:
    """Start and end: in a fixed cell by pw.x, in a free one the perfect crystal."""
    for number, (name, strain, amplitude) in enumerate(turn.suite.relaxation, 1):
        cell, group = CELLS[name], f"relaxation-{name}-{number}"
        perfect = turn.at_minimum(name)
        bent = strained(perfect, strain_matrix(np.array([strain], float)))
        start = rattled(bent, amplitude, seed=number)
        begun = [*turn.label(group, cell, start)]
        ended = [*turn.label(group, cell, start, relax=True)]
        whole = [*turn.label(group, cell, perfect)]
        fixed = concatenate([*begun, *ended])
        yield case(f"{name}-{number}-fixed-cell", group, fixed, free_cell=False)
        free = concatenate([*begun, *whole])
        yield case(f"{name}-{number}-free-cell", group, free, free_cell=True)


def size_transfer(turn: Turn) -> Iterator[Case]:
    """Shaken cells of the trained size, and larger ones."""
    seed = 100
    for name, copies, amplitudes in turn.suite.sizes:
        cell, frames = CELLS[name], []
        matrix = tuple(map(tuple, np.diag(copies).tolist()))
        whole = repeated(turn.at_minimum(name), matrix)
        group = f"size_transfer-{name}-{len(whole.z)}"
        for amplitude in amplitudes:
            seed += 1
            shaken = rattled(whole, amplitude, seed=seed)
            frames += turn.label(group, cell, shaken, matrix=matrix)
        role = "small" if copies == (1, 1, 1) else "large"
        yield case(f"{name}-{len(whole.z)}", group, concatenate(frames), role=role)


TASKS: dict[str, Callable[[Turn], Iterator[Case]]] = {
    "eos": eos,
    "elastic": elastic,
    "phonons": phonons,
    "size_transfer": size_transfer,
    "relaxation": relaxation,
    "vacancy": vacancy,
}


def case(name: str, group: str, frames: Frames, **facts: Any) -> Case:
    """Write one case down."""
    structures = tuple(structure_of(frames, i) for i in range(frames.nframes))
    return Case(name=name, facts=facts, structures=structures, output=f"{group}.out.gz")


def write(turn: Turn, name: str, task: str, cases: list[Case], *, out: Path) -> None:
    """Write the JSON of one task, with inputs and outputs beside it."""
    out.mkdir(parents=True, exist_ok=True)
    found = References(
        format=FORMAT,
        task=task,
        theory=turn.suite.theory,
        made_by=f"python tools/make_crystal_references.py {name} --work FOLDER",
        cases=tuple(cases),
    )
    plain = asdict(found)
    del plain["digest"]
    text = json.dumps(plain, separators=(",", ":"))
    (out / f"{task}.json").write_text(text.replace('{"name":', '\n{"name":') + "\n")
    for group in {one.output.removesuffix(".out.gz") for one in cases if one.output}:
        for kind in ("in", "out"):
            texts = [
                (turn.folder / f"{r}.{kind}").read_text() for r in turn.runs[group]
            ]
            # No time in the header: the same files give the same bytes.
            data = gzip.compress("".join(texts).encode(), 9, mtime=0)
            label = "inputs" if kind == "in" else "out"
            (out / f"{group}.{label}.gz").write_bytes(data)


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--work", type=Path, required=True, help="keeps the runs")
    pseudo = Path("/usr/share/espresso/pseudo")
    parser.add_argument("--pseudo", type=Path, default=pseudo, help="UPF files")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seconds", type=float, default=3600.0, help="of this turn")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    out = args.out or ROOT / "registry" / "suites" / args.suite / "references"
    folder = args.work / args.suite
    folder.mkdir(parents=True, exist_ok=True)
    turn = Turn(
        suite=SUITES[args.suite],
        theory=read_theory(out / "theory.in"),
        folder=folder.resolve(),
        pseudo=args.pseudo,
        end=time.monotonic() + args.seconds,
    )
    try:
        for task, make in TASKS.items():
            if task == "eos" or task in args.tasks.split(","):
                write(turn, args.suite, task, [*make(turn)], out=out)
                print(f"{task}: done", flush=True)
    except Budget as left:
        print(f"stopped before {left}; run the same command to go on")


if __name__ == "__main__":
    main()
