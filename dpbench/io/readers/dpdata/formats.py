"""Reader of every labelled format of dpdata, behind a gate of our own.

dpdata parses; it looks for convergence in few codes and for the end of a file in none.

Source: dpdata 1.1 documentation, https://docs.deepmodeling.com/projects/dpdata.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, uniform
from dpbench.io.gate import judge
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.dpdata.call import call_plugin
from dpbench.io.readers.dpdata.names import PREFIX, check_format
from dpbench.io.readers.dpdata.text import (
    Verdict,
    before_last_step,
    count_steps,
    gate_of,
    is_complete,
    judge_text,
)
from dpbench.io.readers.dpdata.theory import told
from dpbench.io.readers.told_theory import charges, multiplicities
from dpbench.io.text import read_text

_STEP_BY_STEP = re.compile(
    r"abacus/.*(md|relax)|siesta/aimd_output|gaussian/md|fhi_aims/(md|output)|openmx/md"
    r"|cp2k/aimd_output|(vasp/)?outcar|(pwmat/)?(movement|mlmd)|amber/md|qe/cp/traj"
)
"""Trajectories: a cut file has whole frames and one that is not."""

_OPPOSITE_STRESS = ("siesta/output", "siesta/aimd_output")
"""Formats whose virial dpdata 1.1 gives with the wrong sign: SIESTA prints stress with
tension positive (its pressure is minus a third of the trace), dpdata takes it as is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loaded:
    """What dpdata handed out."""

    frames: Frames
    reasons: list[Quarantine]
    """(frame), what its arrays tell."""
    energy_given: NDArray[np.bool_]
    force_given: NDArray[np.bool_]
    notes: list[str]
    text: str | None = None
    """The text read, if it was not the whole file."""


def read(files: SourceFiles) -> ParsedSource:
    """Read a file or folder through dpdata.

    Raises:
        SourceError: If the format is unknown, dpdata cannot read it, or there is no
            frame in it.
    """
    name = files.format.removeprefix(PREFIX)
    check_format(name)
    path = _entry(name, files.main)
    name = _fitting(name, path)
    loaded = _load(name, path)
    frames = loaded.frames
    if not frames.nframes:
        why = f" ({'; '.join(loaded.notes)})" if loaded.notes else ""
        raise SourceError(
            f"{files.main}: dpdata's {name} finds no frame{why}; expected at least one "
            "with energy and forces. Check that the calculation ended and converged."
        )
    text = _text_of(name, path, loaded)
    verdict = _text_verdict(name, text, frames.nframes)
    notes = [*loaded.notes, *([verdict.note] if verdict.note else [])]
    if not verdict.is_complete:
        notes.append(f"{path.name}: the end marker of the code is missing")
    if name in _OPPOSITE_STRESS:
        notes.append("virial: sign turned, dpdata takes SIESTA's stress as pressure")
    merged = [
        told if found is Quarantine.NONE else found
        for found, told in zip(loaded.reasons, verdict.reasons, strict=True)
    ]
    code = gate_of(name).code
    level = told(code, text or "", frames, version=verdict.code_version, path=path)
    return ParsedSource(
        code=code,
        code_version=verdict.code_version,
        format=f"{PREFIX}{name}",
        frames=frames,
        step=np.arange(frames.nframes, dtype=np.int32),
        n_scf=np.full(frames.nframes, -1, dtype=np.int16),
        quarantine=judge(
            frames,
            verdict=merged,
            energy_given=loaded.energy_given,
            force_given=loaded.force_given,
        ),
        theory=level.theory,
        complete=verdict.is_complete,
        notes=tuple(notes),
        charge=charges(frames.nframes, level.charge),
        multiplicity=multiplicities(frames.nframes, level.multiplicity),
    )


def _entry(name: str, path: Path) -> Path:
    """Return what dpdata wants: for ABACUS the folder of the calculation."""
    if not name.startswith("abacus/") or path.is_dir():
        return path
    if path.parent.name.startswith("OUT."):
        return path.parent.parent
    return path.parent


def _fitting(name: str, path: Path) -> str:
    """Return the format that fits the file: single points and trajectories differ.

    dpdata reads the one as the other with errors, or with labels of several steps.
    """
    code = name.partition("/")[0]
    if code not in ("siesta", "fhi_aims") or not path.is_file():
        return name
    has_steps = count_steps(gate_of(name), read_text(path)) > 1
    if code == "siesta":
        return "siesta/aimd_output" if has_steps else name
    return "fhi_aims/output" if has_steps else "fhi_aims/scf"


def _load(name: str, path: Path) -> _Loaded:
    """Let dpdata read, if need be up to the last step that the file holds whole."""
    try:
        loaded = _call(name, path)
    except SourceError:
        cut = _call_without_last_step(name, path)
        if cut is None:
            raise
        return cut
    if Quarantine.BAD_SHAPE in loaded.reasons:
        return _call_without_last_step(name, path) or loaded
    return loaded


def _call_without_last_step(name: str, path: Path) -> _Loaded | None:
    """Read a cut trajectory up to its last step; None if that is of no use."""
    gate = gate_of(name)
    if not path.is_file() or not _STEP_BY_STEP.fullmatch(name):
        return None
    text = read_text(path)
    shorter = None if is_complete(gate, text) else before_last_step(gate, text)
    if shorter is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, path.name)
        target.write_text(shorter, encoding="utf-8")
        try:
            loaded = _call(name, target)
        except SourceError:
            return None
    note = f"{path.name}: ends inside a step, which is left out"
    return replace(loaded, notes=[*loaded.notes, note], text=shorter)


def _call(name: str, path: Path) -> _Loaded:
    """Let dpdata read, and turn what it hands out into frames."""
    systems, notes = call_plugin(name, path)
    blocks = [_block(name, system, path) for system in systems if _count(system)]
    reasons = [reason for _, reasons in blocks for reason in reasons]
    return _Loaded(
        frames=concatenate([frames for frames, _ in blocks]),
        reasons=_worse(reasons, _told_unconverged(notes, len(reasons))),
        energy_given=_given(systems, "energies"),
        force_given=_given(systems, "forces"),
        notes=notes,
    )


def _told_unconverged(notes: Sequence[str], nframes: int) -> list[Quarantine]:
    """(frame), UNCONVERGED for the frames that dpdata names in a warning.

    It counts steps from 1, those without labels too: if it skipped any, it cannot be
    told which frames are meant, and all are.
    """
    text = "\n".join(notes)
    named = re.findall(r"unconverged: \[([\d, ]+)\]; but", text)
    steps = {int(word) for group in named for word in group.split(",")}
    if steps and (max(steps) > nframes or "cannot find labels" in text):
        return [Quarantine.UNCONVERGED] * nframes
    return [
        Quarantine.UNCONVERGED if index + 1 in steps else Quarantine.NONE
        for index in range(nframes)
    ]


def _array(system: dict[str, Any], key: str) -> NDArray[np.float64] | None:
    """Return an array of a system as float64; None where it is absent or ragged."""
    value = system.get(key)
    if value is None or len(value) == 0:
        return None
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.size else None


def _count(system: dict[str, Any]) -> int:
    return len(system.get("coords", ()))


def _given(systems: Sequence[dict[str, Any]], key: str) -> NDArray[np.bool_]:
    """(frame), whether the label stands in the system of the frame."""
    counts = [_count(system) for system in systems]
    return np.repeat([_array(system, key) is not None for system in systems], counts)


def _block(
    name: str, system: dict[str, Any], path: Path
) -> tuple[Frames, list[Quarantine]]:
    """Turn one system into frames; counts that disagree are BAD_SHAPE."""
    kinds = np.asarray(system["atom_types"], dtype=np.int64)
    names = list(system["atom_names"])
    z = atomic_numbers([names[kind] for kind in kinds], where=str(path))
    coord = _array(system, "coords")
    if coord is None or coord.ndim != 3 or coord.shape[1:] != (len(z), 3):
        raise SourceError(
            f"{path}: dpdata's {name} gives coordinates that do not fit its {len(z)} "
            "atoms; expected (frame, atom, 3). Check that the output is whole."
        )
    nframes = len(coord)
    failed = system.get("unconverged", [False] * nframes)
    reasons = [Quarantine.UNCONVERGED if f else Quarantine.NONE for f in failed]
    rows: dict[str, tuple[int, ...]] = {
        "cells": (3, 3),
        "energies": (),
        "forces": (len(z), 3),
        "virials": (3, 3),
    }
    arrays = {}
    for key, row in rows.items():
        array = _array(system, key)
        has_labels = array is not None and key != "cells"
        if array is not None and array.shape != (nframes, *row):
            array, counted = _fitted(array, nframes, row)
            reasons = _worse(reasons, counted)
        arrays[key] = array
        if array is None and has_labels:
            reasons = [Quarantine.BAD_SHAPE] * nframes
    nopbc = bool(system.get("nopbc", False))
    virial = arrays["virials"]
    if virial is not None and name in _OPPOSITE_STRESS:
        virial = -virial
    frames = uniform(
        z=z,
        coord=coord,
        box=None if nopbc else arrays["cells"],
        energy=arrays["energies"],
        force=arrays["forces"],
        virial=None if nopbc else virial,
    )
    return frames, reasons


def _fitted(
    array: NDArray[np.float64], nframes: int, row: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, list[Quarantine]]:
    """Fit an array whose frame count differs; what is left over is quarantined.

    One frame short, the last frame was cut while it was written. Otherwise it cannot
    be told which label belongs to which frame.
    """
    size = int(np.prod(row, dtype=np.int64))
    if array.size == nframes * size:
        return array.reshape(nframes, *row), [Quarantine.NONE] * nframes
    if array.shape == (nframes - 1, *row):
        filler = np.full((1, *row), np.nan)
        cut = [Quarantine.NONE] * (nframes - 1) + [Quarantine.TRUNCATED]
        return np.concatenate([array, filler]), cut
    return None, [Quarantine.BAD_SHAPE] * nframes


def _worse(
    reasons: Sequence[Quarantine], others: Sequence[Quarantine]
) -> list[Quarantine]:
    return [
        other if reason is Quarantine.NONE else reason
        for reason, other in zip(reasons, others, strict=True)
    ]


def _text_of(name: str, path: Path, loaded: _Loaded) -> str | None:
    """Return the text that tells of convergence and theory; None if there is none."""
    log = _log_of(name, path)
    if log is None:
        return None
    try:
        return loaded.text or read_text(log)
    except SourceError:  # binary formats have no text to judge
        return None


def _text_verdict(name: str, text: str | None, nframes: int) -> Verdict:
    """Judge convergence and completeness by the text of the output."""
    if text is None:
        return Verdict(
            reasons=(Quarantine.NONE,) * nframes, is_complete=True, code_version=None
        )
    step_by_step = _STEP_BY_STEP.fullmatch(name) is not None
    return judge_text(gate_of(name), text, nframes, step_by_step=step_by_step)


def _log_of(name: str, path: Path) -> Path | None:
    """Return the text that tells of convergence; None if there is none."""
    if path.is_file():
        return path
    if name.startswith("abacus/"):
        found = sorted(path.glob("OUT.*/running_*.log"))
        word = name.rpartition("/")[2]
        wanted = [log for log in found if word in log.name] or found
        return wanted[0] if wanted else None
    if name == "cp2k/aimd_output":
        found = sorted(path.glob("*.log"))
        return found[0] if found else None
    return None
