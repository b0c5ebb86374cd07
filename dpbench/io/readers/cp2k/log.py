"""The log of CP2K 8.1 and later: one block per energy, with verdict and labels.

A block reaches from one ``ENERGY|`` line to the next: the SCF that led to it stands
before the line, forces, stress and the MD step number stand behind it.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.io.readers.cp2k.cell import cell_from_lengths
from dpbench.io.readers.tables import (
    find_all,
    next_line,
    number_columns,
    to_float,
    whole_lines,
)
from dpbench.units import BAR, BOHR, GPA, HARTREE, KBAR

BANNER = "PROGRAM STARTED AT"
END_MARKER = "PROGRAM ENDED"

_PRESSURES = {
    "gpa": GPA,
    "kbar": KBAR,
    "bar": BAR,
    "mpa": GPA / 1_000,
    "kpa": GPA / 1_000_000,
    "pa": GPA / 1_000_000_000,
    "atm": BAR * 1.01325,
    "ev/angstrom^3": 1.0,
    "ev*angstrom^-3": 1.0,
}
"""eV/Å^3 in the unit that stands in brackets behind 'stress tensor'."""

_ENERGY = re.compile(
    r"ENERGY\| Total FORCE_EVAL \( *(\w+) *\) energy [\[(]\S+?[\])]:?\s+(\S+)\n"
)
_VERDICT = re.compile(
    r"SCF run (?P<good>converged) in\s+(?P<n>\d+) steps"
    r"|outer SCF loop (?P<outer>converged) in\s+\d+ iterations or\s+(?P<m>\d+) steps"
    r"|SCF run NOT converged(?: in\s+(?P<k>\d+) steps)?"
    r"|outer SCF loop FAILED|Leaving inner SCF loop after reaching\s+(?P<l>\d+) steps"
)
_MD_STEP = re.compile(r"(?:MD\| Step number| STEP NUMBER +=)\s+(\d+)")
_STRESS = re.compile(r"STRESS(?:\|| TENSOR)[^\[\n]*\[([^\]]+)\]")
_LENGTHS = re.compile(r"Cell lengths \[ang\]\s+(\S+)\s+(\S+)\s+(\S+)")
_ANGLES = re.compile(r"Cell angles \[deg\]\s+(\S+)\s+(\S+)\s+(\S+)")
_VECTOR = re.compile(
    r"CELL\| Vector [abc] \[angstrom\]?:?\s+(\S+)\s+(\S+)\s+(\S+)\s+\|[abc]\| =\s+(\S+)"
)
_ANGLE = re.compile(r"CELL\| Angle \([abc],[abc]\), \w+\s+\[degree\]:?\s+(\S+)")
_ATOM = re.compile(
    r"^\s*\d+\s+\d+\s+([A-Z][a-z]?)\s+\d+\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s",
    re.M,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One energy of the log."""

    step: int
    """MD step; in other runs the number of the block."""
    energy: float
    """Hartree, as printed; NaN for stars."""
    has_converged: bool | None
    """Verdict of the last SCF before the energy; None if the log tells none."""
    n_scf: int
    """Electronic iterations of that SCF; -1 if not told."""
    method: str
    """Name of the force evaluation: QS, FIST, MIXED ..."""
    start: int
    """Offset of the energy line."""
    stop: int
    """Offset of the next energy line, or the end."""


class Log:
    """The text of one or several logs of a calculation, with its marks found once."""

    def __init__(self, text: str) -> None:
        """Find the energies, and what is said between them."""
        self.text = text
        self._forces = sorted(
            [*find_all(text, "ATOMIC FORCES in"), *find_all(text, "| Atomic forces [")]
        )
        self._stresses = sorted(
            [
                *find_all(text, "STRESS| Analytical stress tensor ["),
                *find_all(text, "STRESS| Numerical stress tensor ["),
                *find_all(text, " STRESS TENSOR ["),
            ]
        )
        self._cells = find_all(text, "\n CELL| Vector a")
        self._lengths = find_all(text, "MD| Cell lengths [ang]")
        self.blocks = self._find_blocks()
        """Energies in order."""
        self.head = text[: self.blocks[0].start if self.blocks else len(text)]
        """What the log says before the first energy."""
        match = re.search(r"CELL\| Periodicity\s+(\w+)", self.head)
        self.periodicity = match[1].upper() if match else "XYZ"
        """Periodic directions; all three are CP2K's default."""

    @property
    def is_complete(self) -> bool:
        """Whether the last program in the log came to its own end."""
        return self.text.rfind(END_MARKER) > self.text.rfind(BANNER)

    def _find_blocks(self) -> list[Block]:
        text = self.text
        energies = [
            match
            for at in find_all(text, "ENERGY| Total FORCE_EVAL")
            if (match := _ENERGY.match(text, at)) is not None
        ]
        if any(match[1] == "MIXED" for match in energies):
            energies = [match for match in energies if match[1] == "MIXED"]
        starts = [match.start() for match in energies]
        stops = [*starts[1:], len(text)][: len(starts)]
        steps = self._steps(starts)
        verdicts = self._verdicts()
        blocks = []
        before = 0
        for match, stop, step in zip(energies, stops, steps, strict=True):
            has_converged, n_scf = verdicts.last(before, match.start())
            blocks.append(
                Block(
                    step=step,
                    energy=to_float(match[2]),
                    has_converged=has_converged,
                    n_scf=n_scf,
                    method=match[1],
                    start=match.start(),
                    stop=stop,
                )
            )
            before = match.start()
        return blocks

    def _verdicts(self) -> "_Verdicts":
        places = sorted(
            place
            for needle in (
                "SCF run converged",
                "SCF run NOT converged",
                "outer SCF loop converged",
                "outer SCF loop FAILED",
                "Leaving inner SCF loop",
            )
            for place in find_all(self.text, needle)
        )
        return _Verdicts(self.text, places)

    def _steps(self, energies: list[int]) -> list[int]:
        """Give every energy its MD step; the number is printed behind its energy.

        The first energy of a run belongs to the step before the first number; energies
        whose step was not printed count on.
        """
        runs = find_all(self.text, BANNER)
        known: dict[int, int] = {}
        places = find_all(self.text, "MD| Step number")
        for at in places or find_all(self.text, " STEP NUMBER "):
            match = _MD_STEP.match(self.text, at)
            owner = bisect_left(energies, at) - 1
            if match is not None and owner >= 0:
                known[owner] = int(match[1])
        steps: list[int] = []
        for index, at in enumerate(energies):
            run = bisect_right(runs, at)
            is_new = not steps or bisect_right(runs, energies[index - 1]) != run
            if index in known:
                steps.append(known[index])
            elif is_new:
                ahead = next((i for i in known if i > index), index)
                same = bisect_right(runs, energies[ahead]) == run
                steps.append(
                    max(known[ahead] - ahead + index, 0)
                    if ahead > index and same
                    else 0
                )
            else:
                steps.append(steps[-1] + 1)
        return steps

    def atoms(self) -> tuple[tuple[str, ...], NDArray[np.float64]] | None:
        """Return elements and first positions (atom, 3), Å; six decimals."""
        start = re.search(r"ATOMIC COORDINATES IN ANGSTROM", self.head, re.I)
        if start is None:
            return None
        stop = self.head.find("SCF PARAMETERS", start.end())
        rows = _ATOM.findall(self.head, start.end(), max(stop, start.end()))
        if not rows:
            return None
        coord = np.array([[float(x) for x in row[1:]] for row in rows])
        return tuple(row[0] for row in rows), coord

    def cell(self, block: Block) -> NDArray[np.float64] | None:
        """Return the cell (3, 3) of a block, Å, from the best that the log prints."""
        index = bisect_right(self._cells, block.start) - 1
        if index < 0:
            index = min(0, len(self._cells) - 1)
        vectors = angles = None
        if index >= 0:
            at = self._cells[index]
            vectors = _VECTOR.findall(self.text, at, at + 600)[:3]
            angles = _ANGLE.findall(self.text, at, at + 1000)[:3]
        initial = self.text.find("MD_INI| Cell lengths [ang]")
        lengths = self._own_lengths(block)
        if lengths is None and initial >= 0:
            lengths = _numbers(_LENGTHS.search(self.text, initial))
        if lengths is None and vectors:
            lengths = [to_float(row[3]) for row in vectors]
        if lengths is None or len(lengths) != 3:
            return None
        printed = _numbers(_ANGLES.search(self.text, block.start, block.stop))
        if printed is None and initial >= 0:
            printed = _numbers(_ANGLES.search(self.text, initial, initial + 400))
        if printed is None and angles and len(angles) == 3:
            printed = [to_float(angle) for angle in angles]
        rows = None
        if vectors and len(vectors) == 3:
            rows = np.array([[to_float(x) for x in row[:3]] for row in vectors])
        return cell_from_lengths(lengths, printed, vectors=rows)

    def _own_lengths(self, block: Block) -> list[float] | None:
        """Return the cell lengths that an NPT step prints, Å."""
        index = bisect_left(self._lengths, block.start)
        if index == len(self._lengths) or self._lengths[index] > block.stop:
            return None
        return _numbers(_LENGTHS.search(self.text, self._lengths[index]))

    def force(self, block: Block, natoms: int) -> NDArray[np.float64] | None:
        """Return the forces (atom, 3) behind an energy, eV/Å; eight decimals of a.u."""
        index = bisect_left(self._forces, block.start)
        if index == len(self._forces) or self._forces[index] > block.stop:
            return None
        at = next_line(self.text, self._forces[index])
        is_new = self.text.startswith("FORCES|", self.text.rfind("\n", 0, at - 1) + 2)
        heading = self.text.find("Atom ", at, at + 300)
        if heading < 0:
            return None
        lines = whole_lines(self.text, next_line(self.text, heading), count=natoms)
        if lines is None:
            return None
        first = 2 if is_new else 3
        # the number of the last atom tells that the table is that of all atoms
        if str(natoms) not in lines[-1].split()[:2]:
            return None
        values = number_columns(lines, first=first)
        return None if values is None else values * (HARTREE / BOHR)

    def stress(self, block: Block) -> NDArray[np.float64] | None:
        """Return the stress tensor behind an energy, eV/Å^3, positive = compressed."""
        index = bisect_left(self._stresses, block.start)
        if index == len(self._stresses) or self._stresses[index] > block.stop:
            return None
        at = self._stresses[index]
        unit = _STRESS.search(self.text, at)
        scale = None if unit is None else _PRESSURES.get(unit[1].strip().lower())
        lines = whole_lines(self.text, next_line(self.text, at), count=4)
        if scale is None or lines is None:
            return None
        first = 2 if lines[1].lstrip().startswith("STRESS|") else 1
        values = number_columns(lines[1:], first=first)
        return None if values is None else values * scale


class _Verdicts:
    """The SCF verdicts of a log, in order."""

    def __init__(self, text: str, places: list[int]) -> None:
        self._text = text
        self._places = places

    def last(self, start: int, stop: int) -> tuple[bool | None, int]:
        """Return the last verdict in [start, stop) and its number of iterations."""
        index = bisect_left(self._places, stop) - 1
        if index < 0 or self._places[index] < start:
            return None, -1
        match = _VERDICT.match(self._text, self._places[index])
        if match is None:
            return False, -1
        found = match.groupdict()
        count = found["n"] or found["m"] or found["k"] or found["l"]
        is_good = found["good"] is not None or found["outer"] is not None
        return is_good, int(count) if count else -1


def _numbers(match: re.Match[str] | None) -> list[float] | None:
    return None if match is None else [to_float(word) for word in match.groups()]
