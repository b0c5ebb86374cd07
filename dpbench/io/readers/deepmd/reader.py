"""Reader of DeePMD-kit systems in a folder: npy sets, mixed type, raw text.

Source: DeePMD-kit documentation, "Formats of a system" (doc/data/system.md).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, offsets
from dpbench.io.gate import judge
from dpbench.io.grouping import natural_key
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.deepmd.parts import is_part, range_of
from dpbench.io.readers.deepmd.shaping import Array, atom_numbers, fit

_DAMAGE = (OSError, ValueError, EOFError, OverflowError, TypeError, TokenError)
"""What numpy raises on a damaged file; the last two come from its header's parser."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

Load = Callable[[str], NDArray[np.generic] | None]
"""Gives an array of a set by its name (``coord``), None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemParts:
    """A system as it lies on disk, whatever the container."""

    where: str
    """Name in messages, e.g. ``water/data_0``."""
    types: NDArray[np.int64]
    """(atom), index into ``type_map``."""
    type_map: tuple[str, ...]
    """Element names."""
    nopbc: bool
    """Whether the system has no cell."""
    sets: tuple[tuple[str, Load], ...]
    """(name, loader) of each set, in order."""
    ending: str
    """What follows an array's name on disk: ``.npy`` or ``.raw``."""


def read(files: SourceFiles) -> ParsedSource:
    """Read all frames of one system, or of one part of a large system.

    Raises:
        SourceError: If the types, the element names or the coordinates are missing or
            damaged.
    """
    return parse([_system_parts(files)], format_name=files.format)


def parse(systems: Sequence[SystemParts], *, format_name: str) -> ParsedSource:
    """Turn the parts of one or more systems into the frames of one source.

    Raises:
        SourceError: If coordinates or cells cannot be used, or there is no frame.
    """
    blocks: list[Frames] = []
    verdict: list[Quarantine] = []
    notes: list[str] = []
    for system in systems:
        for name, load in system.sets:
            frames, reasons, remarks = _read_set(system, name, load)
            blocks.append(frames)
            verdict += reasons
            notes += remarks
    frames = concatenate(blocks)
    if frames.nframes == 0:
        where = systems[0].where if systems else format_name
        raise SourceError(f"{where}: no frame in any set; expected coord with rows.")
    return ParsedSource(
        code="unknown",
        code_version=None,
        format=format_name,
        frames=frames,
        step=np.arange(frames.nframes, dtype=np.int32),
        n_scf=np.full(frames.nframes, -1, dtype=np.int16),
        quarantine=tuple(verdict),
        theory={},
        complete=True,
        notes=tuple(notes),
    )


def element_names(
    type_map: Sequence[str], types: NDArray[np.int64], where: str
) -> tuple[int, ...]:
    """Return the atomic number of each type that occurs (0 where it does not).

    DeePMD type maps may hold placeholder names for types without atoms.

    Raises:
        SourceError: If a type has no name, or its name is no element.
    """
    used = np.unique(types[types >= 0])
    if len(used) and used[-1] >= len(type_map):
        raise SourceError(
            f"{where}: atom type {used[-1]} has no name in type_map.raw, which holds "
            f"{len(type_map)}; expected one name a type. Correct type_map.raw."
        )
    numbers = [0] * len(type_map)
    for index in used.tolist():
        numbers[index] = atomic_numbers([type_map[index]], where=where)[0]
    return tuple(numbers)


def _system_parts(files: SourceFiles) -> SystemParts:
    if is_part(files.main):
        folder = files.main.parent
        sets = [path for path in files.paths if path.is_dir()]
    else:
        folder = files.main
        found = (p for p in folder.glob("set.*") if (p / "coord.npy").is_file())
        sets = sorted(found, key=natural_key)
    types = _read_types(folder)
    loaders: tuple[tuple[str, Load], ...]
    if is_part(files.main) and files.member:
        rows = range_of(files.member)
        loaders = ((f"{sets[0]}#{files.member}", _range_loader(sets[0], rows)),)
    elif sets:
        loaders = tuple((str(path), _npy_loader(path)) for path in sets)
    else:
        loaders = ((str(folder), _raw_loader(folder)),)
    return SystemParts(
        where=str(files.main),
        types=types,
        type_map=_read_type_map(folder),
        nopbc=(folder / "nopbc").exists(),
        sets=loaders,
        ending=".npy" if sets else ".raw",
    )


def _read_types(folder: Path) -> NDArray[np.int64]:
    path = folder / "type.raw"
    try:
        types = np.array(path.read_text().split(), dtype=np.int64)
    except FileNotFoundError as error:
        raise SourceError(
            f"{path}: does not exist; expected one atom type a line. Copy it from "
            "where the system was made."
        ) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: {error}; expected one integer a line.") from error
    if not len(types):
        raise SourceError(f"{path}: is empty; expected one atom type a line.")
    return types


def _read_type_map(folder: Path) -> tuple[str, ...]:
    path = folder / "type_map.raw"
    try:
        return tuple(path.read_text().split())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path}: does not exist; expected the element of each type, one a line. "
            "Write it beside type.raw, e.g. 'O' and 'H' for type 0 = oxygen."
        ) from error


def _range_loader(folder: Path, rows: slice) -> Load:
    """Load a range of frames; an array of another length than ``coord`` whole."""
    load = _npy_loader(folder, mmap_mode="r")

    def load_range(name: str) -> NDArray[np.generic] | None:
        array, coord = load(name), load("coord")
        if array is None or coord is None or array.ndim == 0 or coord.ndim == 0:
            return array
        fits = len(array) == len(coord)
        return np.array(array[rows]) if fits else array

    return load_range


def _npy_loader(folder: Path, *, mmap_mode: Literal["r"] | None = None) -> Load:
    def load(name: str) -> NDArray[np.generic] | None:
        path = folder / f"{name}.npy"
        if not path.is_file():
            return None
        try:
            with warnings.catch_warnings():
                # numpy tells that it tries the header form of Python 2
                warnings.simplefilter("ignore", UserWarning)
                _check_size(path)
                array = np.load(path, allow_pickle=False, mmap_mode=mmap_mode)
        except _DAMAGE as error:
            raise SourceError(
                f"{path}: is damaged ({error}); expected a whole .npy file. Export "
                "the system again."
            ) from error
        if not isinstance(array, np.ndarray):
            raise SourceError(f"{path}: is an archive; expected one .npy array.")
        return array

    return load


def _check_size(path: Path) -> None:
    """Hold the shape that an npy file claims against its size, before it is allocated.

    Raises:
        ValueError: If the file is shorter or longer.
    """
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return
        file.seek(0)
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return
        shape, _, dtype = _HEADERS[version](file)
        wanted = file.tell() + math.prod(shape) * dtype.itemsize
        size = path.stat().st_size
        if wanted != size and not dtype.hasobject:
            raise ValueError(
                f"shape {shape} of {dtype} takes {wanted} bytes, the file has {size}"
            )


def _raw_loader(folder: Path) -> Load:
    def load(name: str) -> NDArray[np.generic] | None:
        path = folder / f"{name}.raw"
        if not path.is_file():
            return None
        try:
            return np.loadtxt(path, ndmin=2)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"{path}: {error}; expected one frame a line. Export it again."
            ) from error

    return load


def _read_set(
    system: SystemParts, name: str, load: Load
) -> tuple[Frames, tuple[Quarantine, ...], list[str]]:
    """Read one set; a label that does not fit is NaN and quarantines the set."""
    ending = system.ending
    natoms = len(system.types)
    raw = load("coord")
    coord = None if raw is None else fit(raw, None, (natoms, 3))
    if coord is None:
        found = "is missing" if raw is None else f"shape {raw.shape}"
        raise SourceError(
            f"{name}/coord{ending}: {found}; expected (nframes, {natoms * 3}) for the "
            f"{natoms} atoms of type.raw. Export the system again."
        )
    nframes = len(coord)
    notes: list[str] = []
    labels: dict[str, Array | None] = {}
    for label, row in (("energy", ()), ("force", (natoms, 3)), ("virial", (3, 3))):
        array = load(label)
        labels[label] = None if array is None else fit(array, nframes, row)
        if array is not None and labels[label] is None:
            notes.append(
                f"{name}/{label}{ending}: shape {array.shape} does not fit natoms = "
                f"{natoms} from type.raw; expected {(nframes, *row)}. The system is "
                "quarantined as bad_shape; re-export it."
            )
    atoms = _numbers(system, name, load, nframes)
    aparam, verdict, remark = atom_numbers(
        load("aparam"), atoms[1], f"{name}/aparam{ending}"
    )
    box = _box(system, name, load, nframes)
    frames = _frames_of(system, atoms, box, coord=coord, labels=labels, aparam=aparam)
    bad = [Quarantine.BAD_SHAPE] * nframes if notes else verdict
    notes += remark
    reasons = judge(
        frames,
        verdict=bad,
        energy_given=labels["energy"] is not None,
        force_given=labels["force"] is not None,
    )
    return frames, reasons, notes


def _frames_of(
    system: SystemParts,
    atoms: tuple[NDArray[np.int64], NDArray[np.bool_]],
    box: NDArray[np.float64],
    *,
    coord: Array,
    labels: dict[str, Array | None],
    aparam: Array | None,
) -> Frames:
    nframes, natoms = coord.shape[:2]
    z, is_real = atoms
    energy, force, virial = labels["energy"], labels["force"], labels["virial"]
    if force is None:
        force = np.full((nframes, natoms, 3), np.nan, dtype=coord.dtype)
    return Frames(
        atom_offset=offsets(is_real.sum(axis=1)),
        z=z[is_real].astype(np.uint8),
        coord=coord[is_real],
        force=force[is_real],
        box=box,
        pbc=np.full((nframes, 3), not system.nopbc),
        energy=_float64(energy, (nframes,)),
        virial=_float64(virial, (nframes, 3, 3)),
        aparam=None if aparam is None else aparam[is_real].astype(np.float64),
    )


def _numbers(
    system: SystemParts, name: str, load: Load, nframes: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Atomic numbers (frame, atom) and which atoms are real, not padding."""
    natoms = len(system.types)
    real = load("real_atom_types")
    if real is None:
        types = np.broadcast_to(system.types, (nframes, natoms))
    elif real.shape != (nframes, natoms) or not np.issubdtype(real.dtype, np.integer):
        raise SourceError(
            f"{name}/real_atom_types{system.ending}: shape {real.shape} of "
            f"{real.dtype}; expected integers ({nframes}, {natoms}). Export it again."
        )
    else:
        types = real.astype(np.int64)
    numbers = np.array(element_names(system.type_map, types, system.where))
    is_real: NDArray[np.bool_] = types >= 0
    return numbers[np.where(is_real, types, 0)], is_real


def _box(
    system: SystemParts, name: str, load: Load, nframes: int
) -> NDArray[np.float64]:
    if system.nopbc:
        return np.full((nframes, 3, 3), np.nan)
    raw = load("box")
    box = None if raw is None else fit(raw, nframes, (3, 3))
    if box is None:
        found = "is missing" if raw is None else f"shape {raw.shape}"
        raise SourceError(
            f"{name}/box{system.ending}: {found}; expected ({nframes}, 9), or an empty "
            "file named nopbc beside type.raw for a system without a cell."
        )
    return box.astype(np.float64)


def _float64(array: Array | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.full(shape, np.nan) if array is None else array.astype(np.float64)
