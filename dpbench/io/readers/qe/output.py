"""Text output of Quantum ESPRESSO pw.x: scf, md, relax and vc-relax.

pw.x prints the positions of the *next* geometry at the end of a step: the labels of
step k belong to the positions that were printed after step k - 1, and those of the
first step to the header. The output is therefore cut at the geometries, not at the
SCF cycles, and everything between two geometries belongs to the former.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.dynamics import temperature
from dpbench.io.readers.snapshots import Snapshot
from dpbench.io.readers.tables import (
    are_even,
    cell_volume,
    find_all,
    from_fractional,
    next_line,
    number_columns,
    to_float,
    whole_lines,
)
from dpbench.units import BOHR, KBAR, RYDBERG

BANNER = "Program PWSCF"
END_MARKER = "JOB DONE"

UNEVEN_STRESS = 0.05
"""kbar; printed to 0.01, a stress is symmetric to that."""

_SCF = "Self-consistent Calculation"
_SITES = "positions (alat units)"
_ENERGY = re.compile(r"!+ +total energy +=\s*(\S+) Ry")
_CONVERGED = re.compile(r"onvergence has been achieved in\s+(\d+) iterations")
_UNCONVERGED = re.compile(r"onvergence NOT achieved after\s+(\d+) iterations")
_STEPS = {
    "Entering Dynamics:": re.compile(r"Entering Dynamics:\s+iteration =\s*(\d+)\n"),
    "number of scf cycles": re.compile(r"number of scf cycles\s+=\s*(\d+)\n"),
    "bfgs converged in": re.compile(r"bfgs converged in\s+(\d+) scf cycles"),
}
"""Where md, and where relax and vc-relax, print the number of the step just done."""
_MOST_WORDS = 3
"""Behind a table of positions: nothing, or ``End final coordinates``."""
_ITERATION = "     iteration #"
_CELLDM = re.compile(r"celldm\(1\)=\s*(\S+)")
_AXIS = re.compile(r"a\(([123])\) = \(\s*(\S+)\s+(\S+)\s+(\S+)\s*\)")
_SITE = re.compile(r"\s*(\d+)\s+(\S+)\s+tau\([^)]*\) = \(([^)]*)\)")
_NATOMS = re.compile(r"number of atoms/cell\s+=\s*(\d+)")
_ALAT = re.compile(r"alat\s*=\s*([\d.]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What pw.x prints before the first SCF."""

    labels: tuple[str, ...]
    """(atom), labels of the species, e.g. ``Fe1``."""
    alat: float
    """Lattice parameter, Å."""
    coord: NDArray[np.float64]
    """(atom, 3), Å; seven decimals of ``alat``."""
    box: NDArray[np.float64]
    """(3, 3), Å; six decimals of ``alat``."""
    end: int
    """Offset behind the table of positions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """A geometry, and the offset from which the output speaks of it."""

    start: int
    coord: NDArray[np.float64]
    box: NDArray[np.float64]


def split_runs(text: str) -> list[str]:
    """Cut a file into the outputs of single pw.x runs (restarts are appended)."""
    starts = find_all(text, BANNER)
    if len(starts) == 1:
        return [text]  # no copy: an output may be as large as memory allows
    ends = [*starts[1:], len(text)]
    return [text[a:b] for a, b in zip(starts, ends, strict=True)]


def read_header(run: str, *, where: str) -> Header:
    """Read species, cell and positions from the header of a run.

    Raises:
        SourceError: If the header lacks them, or ends inside them.
    """
    natoms, celldm = _NATOMS.search(run), _CELLDM.search(run)
    scf = run.find(_SCF)
    # a table behind the first SCF belongs to the last one of a vc-relax
    site = run.find(_SITES, 0, scf if scf >= 0 else len(run))
    axes = _AXIS.findall(run[: max(site, 0)])
    if natoms is None or celldm is None or len(axes) < 3:
        raise SourceError(
            f"{where}: the header of pw.x lacks cell or positions; expected 'crystal "
            "axes' and 'site n.' tables. Give the whole output."
        )
    alat = to_float(celldm[1]) * BOHR
    start = next_line(run, site)
    lines = whole_lines(run, start, count=int(natoms[1])) or []
    rows = [_SITE.match(line) for line in lines]
    sites = [row for row in rows if row is not None]
    fraction = number_columns([row[3] for row in sites], first=0, after="")
    in_order = [int(row[1]) for row in sites] == list(range(1, int(natoms[1]) + 1))
    if not sites or not in_order or not are_even(lines, first=0) or fraction is None:
        raise SourceError(
            f"{where}: the table of positions ends after {len(sites)} of "
            f"{natoms[1]} atoms; expected one line each. Give the whole output."
        )
    behind = whole_lines(run, start, count=len(sites) + 1) or [""]
    if _SITE.match(behind[-1]) and len(behind) > len(sites):
        raise SourceError(
            f"{where}: the table of positions goes on after the {natoms[1]} atoms that "
            "are told; the header is damaged. Give the whole output."
        )
    return Header(
        labels=tuple(row[2] for row in sites),
        alat=alat,
        coord=fraction * alat,
        box=np.array([[to_float(x) for x in axis[1:]] for axis in axes[:3]]) * alat,
        end=start,
    )


def geometries(run: str, header: Header, *, first: Geometry) -> list[Geometry]:
    """Find every geometry of a run in order, ``first`` being that of the header."""
    found = [first]
    cells = find_all(run, "\nCELL_PARAMETERS", start=first.start)
    alat, box, used = header.alat, first.box, 0
    # Where the cell varies, pw.x prints it with all positions.
    varies = bool(cells) or run.find("new unit-cell volume") >= 0
    for at in find_all(run, "\nATOMIC_POSITIONS", start=first.start):
        is_fresh = False
        while used < len(cells) and cells[used] < at:
            alat, box = _cell_card(run, cells[used], alat=alat)
            used += 1
            is_fresh = True
        if varies and not is_fresh:
            box = np.full((3, 3), np.nan)  # its card is lost
        coord = _position_card(run, at, labels=header.labels, alat=alat, box=box)
        if coord is None:
            # What follows belongs to it all the same, not to the geometry before.
            coord = np.full_like(header.coord, np.nan)
        found.append(Geometry(start=next_line(run, at + 1), coord=coord, box=box))
    return found


def _cell_card(run: str, at: int, *, alat: float) -> tuple[float, NDArray[np.float64]]:
    """Read CELL_PARAMETERS; a card that was cut, or lost lines, gives NaN."""
    title = run[at + 1 : next_line(run, at + 1)].lower()
    lines = whole_lines(run, next_line(run, at + 1), count=3)
    values = None if lines is None else number_columns(lines, first=0, after="")
    if lines is None or values is None or not _is_square(lines):
        return alat, np.full((3, 3), np.nan)
    if "angstrom" in title:
        return alat, values
    if "bohr" in title:
        return alat, values * BOHR
    printed = _ALAT.search(title)
    # alat stands in the card with eight decimals, in the header with six
    scale = alat if printed is None else to_float(printed[1]) * BOHR
    return scale, values * scale


def _is_square(lines: Sequence[str]) -> bool:
    """Whether three rows of three numbers stand there, and nothing else."""
    return are_even(lines, first=0) and len({len(line) for line in lines}) == 1


def _position_card(
    run: str,
    at: int,
    *,
    labels: Sequence[str],
    alat: float,
    box: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Read ATOMIC_POSITIONS, Å; None if the card was cut, or lost or gained a line."""
    start = next_line(run, at + 1)
    title = run[at + 1 : start].lower()
    lines = whole_lines(run, start, count=len(labels))
    values = None if lines is None else number_columns(lines, first=1)
    if lines is None or values is None or not are_even(lines, first=1):
        return None
    if tuple(line.split(maxsplit=1)[0] for line in lines) != labels:
        return None
    behind = start + sum(len(line) + 1 for line in lines)
    if len(run[behind : next_line(run, behind)].split()) > _MOST_WORDS:
        return None
    if "angstrom" in title:
        return values
    if "crystal" in title:
        return from_fractional(values, box)
    return values * (BOHR if "bohr" in title else alat)


class RunReader:
    """Finds the labels of each geometry of one run; marks are found once."""

    def __init__(self, run: str, natoms: int) -> None:
        """Find all marks of the run."""
        self._run = run
        self._natoms = natoms
        self._scf = find_all(run, _SCF)
        self._energies = find_all(run, "\n!")
        self._verdicts = find_all(run, "onvergence has been achieved")
        self._verdicts = sorted(
            [*self._verdicts, *find_all(run, "onvergence NOT achieved")]
        )
        self._forces = find_all(run, "Forces acting on atoms")
        self._stress = find_all(run, "total   stress")
        widths = Counter(next_line(run, at + 1) - at for at in self._energies)
        self._width = max(widths, key=lambda width: widths[width], default=0)
        self._is_md = "Entering Dynamics:" in run
        self._printed: int | None = None

    def snapshot(self, geometry: Geometry, *, stop: int, step: int) -> Snapshot | None:
        """Read the labels between ``geometry.start`` and ``stop``.

        Args:
            geometry: Coordinates and cell the labels belong to.
            stop: Offset where the next geometry begins, or the end of the run.
            step: Number of the step if the output prints none.

        Returns:
            The frame; None if no SCF was started for this geometry.
        """
        start = geometry.start
        if not _between(self._scf, start, stop):
            return None
        tables = _between(self._forces, start, stop)
        limit = tables[-1] if tables else stop
        verdicts = _between(self._verdicts, start, limit)
        converged, n_scf = self._verdict(verdicts)
        energy = self._energy(_between(self._energies, start, limit))
        force = self._force(tables[-1], stop) if tables else None
        virial = self._virial(_between(self._stress, start, stop), geometry.box)
        printed = self._step(limit, stop)
        gate = self._gate(converged, force is not None, start=start, stop=stop)
        if self._is_torn(verdicts, tables, n_scf, printed=printed, start=start):
            gate = Quarantine.TRUNCATED
        self._printed = self._printed if printed is None else printed
        return Snapshot(
            coord=geometry.coord,
            box=geometry.box,
            energy=energy,
            force=force,
            virial=virial,
            n_scf=n_scf,
            step=step if printed is None else printed,
            quarantine=gate,
            temperature=self._temperature(limit, stop),
        )

    def _is_torn(
        self,
        verdicts: list[int],
        tables: list[int],
        n_scf: int,
        *,
        printed: int | None,
        start: int,
    ) -> bool:
        """Whether lines of two steps ran together, or some of one are lost.

        A step has one table of forces, its number follows that of the step before, and
        the last iteration that it prints is the one after which it converged.
        """
        if len(tables) > 1:
            return True
        before = self._printed
        if before is None and not self._is_md:
            before = 0  # a restarted md goes on counting, a relaxation begins anew
        if printed is not None and before is not None and printed != before + 1:
            return True
        if not verdicts or n_scf < 0:
            return False
        at = self._run.rfind(_ITERATION, start, verdicts[-1])
        number = self._run[at + len(_ITERATION) :][:6].split() if at >= 0 else []
        return not number or number[0] != str(n_scf)

    def _temperature(self, start: int, stop: int) -> float:
        """Return the temperature, K: it stands before the next SCF."""
        next_scf = bisect_left(self._scf, stop)
        end = self._scf[next_scf] if next_scf < len(self._scf) else len(self._run)
        return temperature("qe", self._run, start=start, stop=end)

    def _step(self, start: int, stop: int) -> int | None:
        """Return the number of the step; None if the output prints none."""
        for mark, pattern in _STEPS.items():
            at = self._run.find(mark, start, stop)
            match = pattern.match(self._run, at) if at >= 0 else None
            if match is not None:
                return int(match[1])
        return None

    def _gate(
        self, converged: bool | None, has_force: bool, *, start: int, stop: int
    ) -> Quarantine:
        """Judge convergence and completeness of the last SCF of a geometry."""
        if converged is False:
            return Quarantine.UNCONVERGED
        if converged and has_force:
            return Quarantine.NONE
        is_over = self._run.find("Maximum CPU time exceeded", start, stop) >= 0
        if converged is None and is_over:
            return Quarantine.UNCONVERGED
        at_the_end = stop == len(self._run) and END_MARKER not in self._run[-2000:]
        if at_the_end:
            return Quarantine.TRUNCATED
        return Quarantine.UNCONVERGED if converged is None else Quarantine.NONE

    def _verdict(self, verdicts: list[int]) -> tuple[bool | None, int]:
        """Return (converged, iterations); (None, -1) if the SCF never ended."""
        if not verdicts:
            return None, -1
        good = _CONVERGED.match(self._run, verdicts[-1])
        if good is not None:
            return True, int(good[1])
        bad = _UNCONVERGED.match(self._run, verdicts[-1])
        return False, int(bad[1]) if bad is not None else -1

    def _energy(self, marks: list[int]) -> float | None:
        """Read the last '!' energy, eV; stars give NaN."""
        match = _ENERGY.match(self._run, marks[-1] + 1) if marks else None
        if match is None:
            return None
        if next_line(self._run, marks[-1] + 1) - marks[-1] != self._width:
            return float("nan")  # a digit was lost, or gained
        return to_float(match[1]) * RYDBERG

    def _force(self, table: int, stop: int) -> NDArray[np.float64] | None:
        """Read the table of total forces, eV/Å; None if it is not whole."""
        run = self._run
        row = run.find("atom ", next_line(run, table), stop)
        if row < 0:
            return None
        lines = whole_lines(run, run.rfind("\n", 0, row) + 1, count=self._natoms)
        if lines is None or not are_even(lines, first=6):
            return None
        heads = [line.partition("force =")[0].split() for line in lines]
        if [head[1:2] for head in heads] != [[str(i + 1)] for i in range(len(lines))]:
            return None
        values = number_columns(lines, first=6, after="force =")
        return None if values is None else values * (RYDBERG / BOHR)

    def _virial(
        self, marks: list[int], box: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Read the kbar columns of the stress, as virial = V * printed (eV).

        pw.x prints minus the derivative of the energy: positive under compression.
        """
        if not marks:
            return None
        lines = whole_lines(self._run, next_line(self._run, marks[-1]), count=3)
        if lines is None or not are_even(lines, first=3):
            return None
        values = number_columns(lines, first=3)
        # A row that stands twice, or is lost, leaves a table that is not symmetric.
        if values is None or (np.abs(values - values.T) > UNEVEN_STRESS).any():
            return None
        return values * (cell_volume(box) * KBAR)


def _between(marks: list[int], start: int, stop: int) -> list[int]:
    """Return the marks in [start, stop)."""
    return marks[bisect_left(marks, start) : bisect_left(marks, stop)]


def snapshots(run: str, header: Header, *, first: Geometry) -> list[Snapshot]:
    """Read all frames of one run, in file order."""
    reader = RunReader(run, len(header.labels))
    places = geometries(run, header, first=first)
    stops = [*(place.start for place in places[1:]), len(run)]
    found: list[Snapshot] = []
    for place, stop in zip(places, stops, strict=True):
        step = found[-1].step + 1 if found else 0
        snapshot = reader.snapshot(place, stop=stop, step=step)
        if snapshot is not None:
            found.append(snapshot)
    return found
