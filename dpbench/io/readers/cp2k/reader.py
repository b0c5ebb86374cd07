"""Reader of CP2K: the log, with the trajectory files beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.cp2k.geometry import sharpened
from dpbench.io.readers.cp2k.input import is_input
from dpbench.io.readers.cp2k.log import Block, Log
from dpbench.io.readers.cp2k.old import read_old
from dpbench.io.readers.cp2k.theory import (
    code_version,
    refuse_changed_settings,
    theory_of_log,
    with_electrons,
)
from dpbench.io.readers.cp2k.trajectory import (
    XyzFile,
    XyzFrame,
    is_cell,
    is_xyz,
    occurrences,
    read_cells,
    read_xyz,
)
from dpbench.io.readers.dynamics import temperature, temperatures_of, time_step
from dpbench.io.readers.snapshots import Snapshot, frames_of, n_scf_of, steps_of
from dpbench.io.readers.tables import cell_volume, element_of
from dpbench.io.text import read_text
from dpbench.units import BOHR, HARTREE

FIRST_NATIVE = 8
"""Major version from which logs are read here; older ones go through dpdata."""

_NOT_DFT = ("FIST", "EIP", "NNP", "IPI")
"""Force evaluations by a force field, a learned potential or a foreign code."""

_SAME_ENERGY = 2e-9
"""Hartree; trajectories print ten decimals, the log fifteen."""
_SAME_FORCE = 2e-7
"""Hartree/bohr; the log prints eight decimals."""
_SAME_PLACE = 2e-5
"""Å; the log prints six decimals of the first positions, old logs five."""


@dataclass(kw_only=True, slots=True)
class _Texts:
    """The files of a calculation by what they hold; filled once by ``_sort``."""

    logs: list[tuple[Path, str]] = field(default_factory=list)
    positions: list[XyzFile] = field(default_factory=list)
    forces: list[XyzFile] = field(default_factory=list)
    cells: list[tuple[int, NDArray[np.float64]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    input: str | None = None


def read(files: SourceFiles) -> ParsedSource:
    """Read one CP2K calculation: a single point, an MD run or an optimisation.

    Coordinates and forces come from the trajectory files, which print more digits,
    else from the log; energies, verdicts and stress from the log. The configurational
    virial stands in the log alone: ``*.stress`` holds the kinetic part too.

    Args:
        files: Log, positions, forces and cells of one calculation.

    Returns:
        All frames, in file order.

    Raises:
        SourceError: If there is no log, or no frame has coordinates.
    """
    texts = _sort(files.paths)
    if not texts.logs:
        raise SourceError(
            f"{files.main}: no log of CP2K among the files; expected one with 'PROGRAM "
            "STARTED AT'. Convergence stands in the log alone: put it beside."
        )
    path = texts.logs[0][0]
    refuse_changed_settings(texts.logs)
    text = "\n".join(text for _, text in texts.logs)
    version = code_version(text)
    log = Log(text)
    if version is not None and _major(version) < FIRST_NATIVE:
        theory = theory_of_log(text, input_text=texts.input)
        source = read_old(files, log=log, path=path, theory=theory)
        return with_electrons(source, text, input_text=texts.input)
    if not log.blocks:
        raise SourceError(
            f"{path}: holds no energy; expected 'ENERGY| Total FORCE_EVAL'. The run "
            "ended before its first SCF."
        )
    elements, found = _snapshots(log, texts, path)
    z = atomic_numbers(map(element_of, elements), where=str(path))
    frames, reasons = frames_of(z, found, where=str(path))
    source = ParsedSource(
        code="cp2k",
        code_version=version,
        format="cp2k/log",
        frames=_with_periodicity(frames, log.periodicity),
        step=steps_of(found),
        n_scf=n_scf_of(found),
        quarantine=reasons,
        theory=theory_of_log(text, input_text=texts.input),
        complete=log.is_complete,
        notes=tuple(texts.notes),
        temperature=temperatures_of(found),
        time_step=time_step("cp2k", log.head),
    )
    return with_electrons(source, text, input_text=texts.input)


def _major(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else FIRST_NATIVE


def _sort(paths: Sequence[Path]) -> _Texts:
    """Tell the files of a calculation apart by what they hold."""
    texts = _Texts()
    for path in paths:
        name = path.name.lower()
        if name.endswith((".restart", ".ener")) or "-vel-" in name:
            continue
        text = read_text(path)
        if is_xyz(text):
            kind = texts.forces if "frc" in name or "force" in name else texts.positions
            kind.append(read_xyz(text, path))
        elif is_cell(text):
            texts.cells.extend(read_cells(text))
            texts.notes.append(f"{path.name}: gave the cells.")
        elif "PROGRAM STARTED AT" in text or "CP2K|" in text:
            texts.logs.append((path, text))
        elif is_input(text):
            texts.input = texts.input or text
        elif "xx [bar]" in text[:600]:
            texts.notes.append(f"{path.name}: not used; it holds the kinetic part too.")
        else:
            texts.notes.append(f"{path.name}: no log, trajectory or cells; not read.")
    return texts


def _snapshots(
    log: Log, texts: _Texts, path: Path
) -> tuple[tuple[str, ...], list[Snapshot]]:
    """Join log and trajectories; without positions only the first frame is known."""
    start = log.atoms()
    frames = [frame for file in texts.positions for frame in file.frames]
    if frames:
        labels = next((f.labels for f in texts.positions if f.labels), ())
        if start is not None and _is_in_bohr(frames[0], start[1]):
            texts.notes.append("The positions are in bohr; converted.")
            frames = [replace(f, values=f.values * BOHR) for f in frames]
        joined = _Joiner(log, texts, start).join(frames)
        return labels or (start[0] if start else ()), joined
    if start is None:
        raise SourceError(
            f"{path}: holds no positions, and no '*-pos-*.xyz' lies beside; expected "
            "'ATOMIC COORDINATES' (print level MEDIUM) or a trajectory. Add it."
        )
    if len(log.blocks) > 1:
        texts.notes.append(
            f"{path.name}: {len(log.blocks) - 1} later steps have no positions; "
            "no '*-pos-*.xyz' was read."
        )
    block = log.blocks[0]
    box = log.cell(block) if log.periodicity != "NONE" else None
    coord, box = sharpened(*start, box, input_text=texts.input)
    return start[0], [_labelled(log, block, coord=coord, box=box, force=None)]


def _is_in_bohr(frame: XyzFrame, first: NDArray[np.float64]) -> bool:
    """Whether a trajectory is in bohr: its first frame tells, beside the log's."""
    if frame.values.shape != first.shape:
        return False
    return bool(np.abs(frame.values * BOHR - first).max() < _SAME_PLACE) and bool(
        np.abs(frame.values - first).max() > _SAME_PLACE
    )


def _labelled(
    log: Log,
    block: Block,
    *,
    coord: NDArray[np.float64],
    box: NDArray[np.float64] | None,
    force: NDArray[np.float64] | None,
) -> Snapshot:
    """Make a frame of a block; ``force`` (eV/Å) has more digits than the log."""
    stress = log.stress(block)
    own = log.force(block, len(coord)) if force is None else force
    return Snapshot(
        coord=coord,
        box=box,
        energy=block.energy * HARTREE,
        force=own,
        virial=None if stress is None or box is None else stress * cell_volume(box),
        n_scf=block.n_scf,
        step=block.step,
        quarantine=_gate(log, block, has_force=own is not None),
        temperature=temperature("cp2k", log.text, start=block.start, stop=block.stop),
    )


def _gate(log: Log, block: Block, *, has_force: bool) -> Quarantine:
    """Judge the SCF of a block; classical force fields are no DFT."""
    if block.method in _NOT_DFT:
        return Quarantine.NOT_DFT
    if not block.has_converged:
        return Quarantine.UNCONVERGED
    is_last = block.stop == len(log.text) and not log.is_complete
    return Quarantine.TRUNCATED if is_last and not has_force else Quarantine.NONE


class _Joiner:
    """Joins the frames of the trajectories with the blocks of the log."""

    def __init__(
        self,
        log: Log,
        texts: _Texts,
        start: tuple[tuple[str, ...], NDArray[np.float64]] | None,
    ) -> None:
        self._log = log
        self._texts = texts
        self._start = start
        self._by_step: dict[int, list[Block]] = {}
        for block in log.blocks:
            self._by_step.setdefault(block.step, []).append(block)
        self._is_md = re.search(r"GLOBAL\| Run type\s+MD\b", log.head) is not None
        self._next = 0
        self._given = 0
        self._used: set[int] = set()
        forces = [frame for file in texts.forces for frame in file.frames]
        keys = occurrences([frame.step for frame in forces])
        self._forces = dict(zip(keys, forces, strict=True))
        whole = [frame.step for frame in forces if frame.is_whole]
        self._last_force = max(whole) if whole else np.inf
        keys = occurrences([step for step, _ in texts.cells])
        self._cells = dict(zip(keys, (cell for _, cell in texts.cells), strict=True))

    def join(self, frames: Sequence[XyzFrame]) -> list[Snapshot]:
        """Give every frame of the positions its cell and labels."""
        keys = occurrences([frame.step for frame in frames])
        found: list[Snapshot] = []
        by_step: dict[int, list[Snapshot]] = {}
        for frame, key in zip(frames, keys, strict=True):
            snapshot = self._one(frame, key)
            earlier = by_step.setdefault(snapshot.step, [])
            if any(_is_repeat(snapshot, other) for other in earlier):
                snapshot = replace(snapshot, quarantine=Quarantine.REPEATED)
            earlier.append(snapshot)
            found.append(snapshot)
        self._tell(found)
        return found

    def _tell(self, found: Sequence[Snapshot]) -> None:
        """Note what each trajectory gave, and whether it agrees with the log."""
        count = sum(s.quarantine is Quarantine.MISMATCH for s in found)
        verdict = "agree with" if not count else f"contradict in {count} frames"
        names = ", ".join(file.path.name for file in self._texts.positions)
        self._texts.notes.append(
            f"{names}: gave {len(found)} positions; energies {verdict} the log."
        )
        names = ", ".join(file.path.name for file in self._texts.forces)
        if names:
            self._texts.notes.append(
                f"{names}: gave the forces of {self._given} frames."
            )

    def _one(self, frame: XyzFrame, key: tuple[int, int]) -> Snapshot:
        block, agrees = self._block(frame)
        force, fits = self._force(frame, key)
        if block is None:
            # the log was cut or is of another run: no verdict, hence no label
            return Snapshot(
                coord=frame.values,
                box=self._cell(key, self._log.blocks[-1]),
                energy=frame.energy * HARTREE,
                force=force,
                step=frame.step,
                quarantine=Quarantine.TRUNCATED,
            )
        snapshot = _labelled(
            self._log,
            block,
            coord=frame.values,
            box=self._cell(key, block),
            force=force,
        )
        reason = snapshot.quarantine
        # forces may be written more rarely than positions: only behind the last
        # whole ones were they cut
        was_cut = snapshot.force is None and frame.step > self._last_force
        if not frame.is_whole or (was_cut and reason is Quarantine.NONE):
            reason = Quarantine.TRUNCATED
        elif not (agrees and fits and self._is_consistent(frame, block, force=force)):
            reason = Quarantine.MISMATCH
        return replace(snapshot, step=frame.step, quarantine=reason)

    def _block(self, frame: XyzFrame) -> tuple[Block | None, bool]:
        """Find the block of a frame: the step's own in MD, else by the energy."""
        named = self._by_step.get(frame.step, []) if self._is_md else []
        for block in named:
            if block.start not in self._used and _agree(block, frame):
                self._used.add(block.start)
                return block, True
        for block in named:
            if _agree(block, frame):
                return block, True
        for index in range(self._next, len(self._log.blocks)):
            block = self._log.blocks[index]
            if _agree(block, frame):
                self._next = index + 1
                return block, True
        return (named[-1], False) if named else (None, False)

    def _force(
        self, frame: XyzFrame, key: tuple[int, int]
    ) -> tuple[NDArray[np.float64] | None, bool]:
        """Return the forces of the trajectory, eV/Å, and whether they fit the frame.

        None if the trajectory lacks them or is cut there: the log may have them.
        """
        found = self._forces.get(key)
        if found is None or not found.is_whole:
            return None, True
        is_same = abs(found.energy - frame.energy) < _SAME_ENERGY
        if not is_same or found.values.shape != frame.values.shape:
            return None, False
        self._given += 1
        return found.values * (HARTREE / BOHR), True

    def _cell(self, key: tuple[int, int], block: Block) -> NDArray[np.float64] | None:
        if self._log.periodicity == "NONE":
            return None
        cell = self._cells.get(key, self._cells.get((key[0], 0)))
        return self._log.cell(block) if cell is None else cell

    def _is_consistent(
        self, frame: XyzFrame, block: Block, *, force: NDArray[np.float64] | None
    ) -> bool:
        """Cross-check forces, and the first positions, against the log."""
        printed = self._log.force(block, len(frame.values))
        if force is not None and printed is not None:
            limit = _SAME_FORCE * (HARTREE / BOHR)
            if np.abs(force - printed).max() > limit:
                return False
        if self._start is not None and block is self._log.blocks[0]:
            first = self._start[1]
            return first.shape == frame.values.shape and bool(
                np.abs(first - frame.values).max() < _SAME_PLACE
            )
        return True


def _agree(block: Block, frame: XyzFrame) -> bool:
    return abs(block.energy - frame.energy) < _SAME_ENERGY


def _is_repeat(snapshot: Snapshot, earlier: Snapshot) -> bool:
    """Whether two frames of one step are the same, labels and all."""
    if earlier.energy != snapshot.energy:
        return False
    pairs = (
        (earlier.coord, snapshot.coord),
        (earlier.force, snapshot.force),
        (earlier.box, snapshot.box),
    )
    return all(
        a is b or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in pairs
    )


def _with_periodicity(frames: Frames, directions: str) -> Frames:
    """Set the periodic directions of slabs and wires."""
    if directions in ("XYZ", "NONE"):
        return frames
    row = np.array([axis in directions for axis in "XYZ"])
    return replace(frames, pbc=np.tile(row, (frames.nframes, 1)))
