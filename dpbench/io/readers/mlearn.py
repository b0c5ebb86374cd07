"""Reader of the JSON files of the mlearn set: VASP results of single elements.

A file is a list of entries, each a pymatgen structure with its energy (eV), forces
(eV/Å), ``virial_stress`` (kbar, compression positive, in VASP's order xx yy zz xy yz
zx), group and description. The entries of a file are calculations of many kinds, so
that each kind is a source of its own, a member of the file: a molecular-dynamics run
(``AIMD-NVT: AIMD NVT simulation at 300 K``), or a group of single calculations
(``Elastic``). The level of theory is not declared in the files.

Source:
    Zuo et al., J. Phys. Chem. A 124, 731 (2020); materialsvirtuallab/mlearn.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import SourceError
from dpbench.frames import concatenate, uniform
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.text import read_text
from dpbench.units import KBAR

RUN_MARK = ": "
"""Stands in the names of members that are molecular-dynamics runs."""

_SNAPSHOT = re.compile(r"\s*Snapshot (\d{1,9}) of \d+ of\s+(.+?)\s*", re.DOTALL)
_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}

_LARGEST_GAP = 1e-2
"""Å; Cartesian and fractional positions of a site may differ by their rounding."""

Entry = Mapping[str, Any]


def members_in(path: Path) -> tuple[str, ...]:
    """Return the kinds of calculation in a file, in the order in which they come.

    None if the file is damaged: reading it then says why.
    """
    try:
        entries = _entries(path)
    except SourceError:
        return ()
    return tuple(dict.fromkeys(_member(entry) for entry in entries))


def read(files: SourceFiles) -> ParsedSource:
    """Read the calculations of one kind, ``files.member``; all of them without one.

    Raises:
        SourceError: If the file is damaged, is no mlearn file, has no such member or
            names an unknown element.
    """
    where = str(files.main)
    numbered = [
        (number, entry)
        for number, entry in enumerate(_entries(files.main))
        if files.member in ("", _member(entry))
    ]
    if not numbered:
        raise SourceError(
            f"{where}#{files.member}: no such entries; expected one of "
            f"{', '.join(members_in(files.main)) or 'none'}."
        )
    blocks, verdicts = [], []
    for number, entry in numbered:
        arrays, verdict = _arrays(entry, where=f"{where}, entry {number}")
        blocks.append(uniform(**arrays))
        verdicts.append(verdict)
    frames = concatenate(blocks)
    is_run = RUN_MARK in files.member
    steps = [_step(entry) if is_run else number for number, entry in numbered]
    return ParsedSource(
        code="unknown",
        code_version=None,
        format="mlearn",
        frames=frames,
        step=np.array(steps, dtype=np.int32),
        n_scf=np.full(frames.nframes, -1, dtype=np.int16),
        quarantine=judge(
            frames,
            verdict=verdicts,
            energy_given=_given(numbered, "energy"),
            force_given=_given(numbered, "forces"),
        ),
        theory={},
        complete=True,
    )


def _entries(path: Path) -> list[Entry]:
    """Return the entries of a file.

    Raises:
        SourceError: If it is no whole JSON file, or no list of structures.
    """
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path}: is no whole JSON file ({error}); expected a list of structures "
            "with outputs. Copy it again."
        ) from error
    if not (
        isinstance(found, list)
        and found
        and all(
            isinstance(entry, dict)
            and isinstance(entry.get("structure"), dict)
            and isinstance(entry.get("outputs"), dict)
            for entry in found
        )
    ):
        raise SourceError(
            f"{path}: is no list of entries with 'structure' and 'outputs'; expected "
            "the training.json or test.json of an mlearn set."
        )
    return found


def _member(entry: Entry) -> str:
    """Name the kind of a calculation."""
    group = re.sub(r"[:/#\s]+", " ", str(entry.get("group") or "ungrouped"))
    found = _SNAPSHOT.fullmatch(str(entry.get("description") or ""))
    if found is None:
        return group
    return f"{group}{RUN_MARK}{re.sub('[/#]', ' ', found[2])}"


def _step(entry: Entry) -> int:
    """Return the number of a snapshot in its run."""
    found = _SNAPSHOT.fullmatch(str(entry.get("description") or ""))
    return int(found[1]) if found else 0


def _given(numbered: Iterable[tuple[int, Entry]], key: str) -> NDArray[np.bool_]:
    """(frame), whether a label is there."""
    return np.array([e["outputs"].get(key) is not None for _, e in numbered])


def _arrays(entry: Entry, *, where: str) -> tuple[dict[str, Any], Quarantine]:
    """Return the arrays of one frame, each with a leading axis of one.

    What has the wrong shape is left out, and the frame called BAD_SHAPE.

    Raises:
        SourceError: If cell or positions cannot be told at all.
    """
    structure, outputs = entry["structure"], entry["outputs"]
    lattice = structure.get("lattice")
    box = _numbers(lattice.get("matrix") if isinstance(lattice, dict) else None)
    sites = structure.get("sites")
    if not isinstance(sites, list) or not sites or box.shape != (3, 3):
        raise SourceError(
            f"{where}: has no sites, or no lattice matrix of nine numbers; expected a "
            "pymatgen structure. Export it again."
        )
    z = [_element(site, where=where) for site in sites]
    coord = _numbers([site.get("xyz") for site in sites])
    if coord.shape != (len(sites), 3):
        raise SourceError(
            f"{where}: the sites do not all have three coordinates 'xyz'. Export it "
            "again."
        )
    energy, force = _numbers(outputs.get("energy")), _numbers(outputs.get("forces"))
    stress = _numbers(outputs.get("virial_stress"))
    verdict = Quarantine.NONE
    # An empty array stands for no label at all.
    for label, shape in ((energy, ()), (force, coord.shape), (stress, (6,))):
        if label.size and label.shape != shape:
            verdict = Quarantine.BAD_SHAPE
    if verdict is Quarantine.NONE and _is_elsewhere(sites, coord, box):
        verdict = Quarantine.MISMATCH
    return {
        "z": z,
        "coord": coord[np.newaxis],
        "box": box[np.newaxis],
        "energy": energy[np.newaxis] if energy.shape == () else None,
        "force": force[np.newaxis] if force.shape == coord.shape else None,
        "virial": _virial(stress, box[np.newaxis]) if stress.shape == (6,) else None,
    }, verdict


def _element(site: Any, *, where: str) -> int:
    """Return the atomic number on a site that one element fills."""
    species = site.get("species") if isinstance(site, dict) else None
    if isinstance(species, list) and len(species) == 1 and isinstance(species[0], dict):
        symbol = species[0].get("element")
        number = _NUMBERS.get(symbol) if isinstance(symbol, str) else None
        if number is not None and species[0].get("occu") == 1:
            return number
    raise SourceError(
        f"{where}: the species of a site are {str(species)[:80]}; expected one known "
        "element of occupancy 1. Correct the source."
    )


def _numbers(value: Any) -> NDArray[np.float64]:
    """Return nested lists as an array; an empty one if there are none."""
    if value is None:
        return np.zeros(0)
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.full((1, 1, 1, 1), np.nan)  # a shape that nothing has


def _virial(stress: NDArray[np.float64], box: NDArray[np.float64]) -> Any:
    """Turn stress, kbar with compression positive, into virial (1, 3, 3), eV."""
    xx, yy, zz, xy, yz, zx = stress
    matrix = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
    return matrix[np.newaxis] * (volumes(box) * KBAR)[:, None, None]


def _is_elsewhere(
    sites: Sequence[Mapping[str, Any]],
    coord: NDArray[np.float64],
    box: NDArray[np.float64],
) -> bool:
    """Whether fractional positions, where there are any, contradict Cartesian ones."""
    share = _numbers([site.get("abc") for site in sites])
    if share.shape != coord.shape:
        return False
    there = share[:, :1] * box[0] + share[:, 1:2] * box[1] + share[:, 2:] * box[2]
    # Written so that NaN is left to the gate.
    return bool((np.abs(there - coord) > _LARGEST_GAP).any())
