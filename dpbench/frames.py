"""Frames: the one in-memory form of labelled structures.

Frames of any composition lie behind each other in CSR form, as they do in a store:
``atom_offset[i] : atom_offset[i + 1]`` are the rows of frame ``i`` in the per-atom
arrays. A missing label is NaN, never zero; a missing cell is a NaN box and pbc false.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of

ATOM_FIELDS: dict[str, tuple[int, ...]] = {"z": (), "coord": (3,), "force": (3,)}
"""Arrays with one row per atom, and the shape of a row."""

FRAME_FIELDS: dict[str, tuple[int, ...]] = {
    "box": (3, 3),
    "pbc": (3,),
    "energy": (),
    "virial": (3, 3),
}
"""Arrays with one row per frame, and the shape of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """Labelled structures in CSR form.

    Raises:
        ValueError: If an array does not fit ``atom_offset``.
    """

    atom_offset: NDArray[np.int64]
    """(frame + 1), first row of each frame in the per-atom arrays."""
    z: NDArray[np.uint8]
    """(atom), atomic number."""
    coord: NDArray[np.floating]
    """(atom, 3), Å; not wrapped into the cell."""
    force: NDArray[np.floating]
    """(atom, 3), eV/Å, force = -dE/dcoord; NaN where there is no label."""
    box: NDArray[np.float64]
    """(frame, 3, 3), Å, rows are cell vectors; NaN where there is no cell."""
    pbc: NDArray[np.bool_]
    """(frame, 3), periodic along each cell vector."""
    energy: NDArray[np.float64]
    """(frame), eV, the energy whose derivative the forces are; NaN = no label."""
    virial: NDArray[np.float64]
    """(frame, 3, 3), eV, -dE/dstrain = -V * stress; NaN = no label."""
    aparam: NDArray[np.float64] | None = None
    """(atom, number), what a model takes of each atom beside its element and place
    (DeePMD-kit's aparam); NaN where a frame has fewer than others. None = nowhere."""

    def __post_init__(self) -> None:
        """Check every array against the offsets."""
        offset = self.atom_offset
        if offset.ndim != 1 or len(offset) < 1 or offset[0] != 0:
            raise ValueError("atom_offset must be 1-d and start with 0")
        for table, rows in (
            (ATOM_FIELDS, int(offset[-1])),
            (FRAME_FIELDS, self.nframes),
        ):
            for name, row in table.items():
                shape = getattr(self, name).shape
                if shape != (rows, *row):
                    raise ValueError(
                        f"{name}: shape {shape} does not fit; expected {(rows, *row)}"
                    )
        if self.aparam is not None and self.aparam.shape[:-1] != (offset[-1],):
            raise ValueError(
                f"aparam: shape {self.aparam.shape} does not fit; expected "
                f"({offset[-1]}, numbers of an atom)"
            )

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.atom_offset) - 1

    @property
    def natoms(self) -> NDArray[np.int64]:
        """(frame), number of atoms of each frame."""
        return np.diff(self.atom_offset)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Elements that occur, by atomic number."""
        return symbols_of(np.unique(self.z).tolist())

    @property
    def has_energy(self) -> NDArray[np.bool_]:
        """(frame), whether the energy is labelled."""
        return np.logical_not(np.isnan(self.energy))

    @property
    def has_force(self) -> NDArray[np.bool_]:
        """(frame), whether every force of the frame is labelled."""
        missing = np.isnan(self.force).any(axis=1)
        return np.logical_not(self.any_atom(missing))

    @property
    def has_virial(self) -> NDArray[np.bool_]:
        """(frame), whether the virial is labelled."""
        return np.logical_not(np.isnan(self.virial).any(axis=(1, 2)))

    @property
    def numb_aparam(self) -> NDArray[np.int64]:
        """(frame), how many numbers of each atom ``aparam`` has; 0 where it has none.

        Columns that are NaN throughout a frame stand for nothing if none follows.
        """
        found = np.zeros(self.nframes, dtype=np.int64)
        if self.aparam is not None:
            for column, values in enumerate(self.aparam.T):
                found[self.any_atom(np.logical_not(np.isnan(values)))] = column + 1
        return found

    def aparam_of(self, frame_idx: int) -> NDArray[np.float64] | None:
        """(atom, number), the numbers of one frame's atoms; None if it has none."""
        if self.aparam is None:
            return None
        values = self.aparam[self.atoms_of(frame_idx)]
        filled = np.flatnonzero(np.logical_not(np.isnan(values).all(axis=0)))
        return values[:, : int(filled[-1]) + 1] if len(filled) else None

    def any_atom(self, flag: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(frame), whether ``flag`` (atom) is set for any atom of each frame."""
        total = np.concatenate([[0], np.cumsum(flag)])
        counts = total[self.atom_offset[1:]] - total[self.atom_offset[:-1]]
        flagged: NDArray[np.bool_] = counts > 0
        return flagged

    def atoms_of(self, frame_idx: int) -> slice:
        """Rows of one frame in the per-atom arrays."""
        return slice(
            int(self.atom_offset[frame_idx]), int(self.atom_offset[frame_idx + 1])
        )

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> "Frames":
        """Return the frames at ``indices``, in that order."""
        index = np.asarray(indices, dtype=np.int64)
        natoms = self.natoms[index]
        offset = offsets(natoms)
        starts = np.repeat(self.atom_offset[index] - offset[:-1], natoms)
        rows = starts + np.arange(offset[-1])
        atom_arrays = {name: getattr(self, name)[rows] for name in ATOM_FIELDS}
        frame_arrays = {name: getattr(self, name)[index] for name in FRAME_FIELDS}
        aparam = None if self.aparam is None else self.aparam[rows]
        return Frames(atom_offset=offset, **atom_arrays, **frame_arrays, aparam=aparam)


def offsets(counts: NDArray[np.integer] | Sequence[int]) -> NDArray[np.int64]:
    """Turn per-frame counts (frame) into CSR offsets (frame + 1)."""
    out = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=out[1:])
    return out


def concatenate(blocks: Sequence[Frames]) -> Frames:
    """Put blocks of frames behind each other; an empty sequence gives no frames."""
    if not blocks:
        return empty()
    arrays = {
        field.name: np.concatenate([getattr(block, field.name) for block in blocks])
        for field in fields(Frames)
        if field.name not in ("atom_offset", "aparam")
    }
    counts = np.concatenate([block.natoms for block in blocks])
    aparam = join_aparam(
        [block.aparam for block in blocks], [len(block.z) for block in blocks]
    )
    return Frames(atom_offset=offsets(counts), **arrays, aparam=aparam)


def join_aparam(
    parts: Sequence[NDArray[np.float64] | None], natoms: Sequence[int]
) -> NDArray[np.float64] | None:
    """Put the numbers of atoms behind each other, NaN where a part has fewer.

    Args:
        parts: (atom, number) of each part; None where it has none.
        natoms: Atoms of each part.

    Returns:
        (atom, number); None where no part has any.
    """
    width = max((0 if part is None else part.shape[1] for part in parts), default=0)
    if not width:
        return None
    edges = offsets(natoms)
    out = np.full((int(edges[-1]), width), np.nan)
    for first, last, part in zip(edges[:-1], edges[1:], parts, strict=True):
        if part is not None:
            out[first:last, : part.shape[1]] = part
    return out


def empty() -> Frames:
    """Return zero frames."""
    return Frames(
        atom_offset=np.zeros(1, dtype=np.int64),
        z=np.zeros(0, dtype=np.uint8),
        coord=np.zeros((0, 3)),
        force=np.zeros((0, 3)),
        box=np.zeros((0, 3, 3)),
        pbc=np.zeros((0, 3), dtype=np.bool_),
        energy=np.zeros(0),
        virial=np.zeros((0, 3, 3)),
    )


def uniform(
    *,
    z: NDArray[np.integer] | Sequence[int],
    coord: NDArray[np.floating],
    box: NDArray[np.floating] | None = None,
    energy: NDArray[np.floating] | None = None,
    force: NDArray[np.floating] | None = None,
    virial: NDArray[np.floating] | None = None,
    aparam: NDArray[np.floating] | None = None,
) -> Frames:
    """Build frames that share one composition.

    Args:
        z: Atomic numbers, (atom).
        coord: Å, (frame, atom, 3).
        box: Å, (frame, 3, 3), rows are cell vectors; None for no cell.
        energy: eV, (frame); None for no label.
        force: eV/Å, (frame, atom, 3); None for no label.
        virial: eV, (frame, 3, 3); None for no label.
        aparam: Numbers of each atom, (frame, atom, number); None for none.

    Returns:
        The frames; periodic along all cell vectors if ``box`` is given.
    """
    nframes, natoms = coord.shape[:2]
    nan = np.nan
    return Frames(
        atom_offset=np.arange(nframes + 1, dtype=np.int64) * natoms,
        z=np.tile(np.asarray(z, dtype=np.uint8), nframes),
        coord=coord.reshape(-1, 3),
        force=_or_nan(force, (nframes, natoms, 3)).reshape(-1, 3),
        box=np.full((nframes, 3, 3), nan) if box is None else box.astype(np.float64),
        pbc=np.full((nframes, 3), box is not None),
        energy=_or_nan(energy, (nframes,)).astype(np.float64),
        virial=_or_nan(virial, (nframes, 3, 3)).astype(np.float64),
        aparam=None
        if aparam is None
        else aparam.reshape(nframes * natoms, -1).astype(np.float64),
    )


def _or_nan(
    array: NDArray[np.floating] | None, shape: tuple[int, ...]
) -> NDArray[np.floating]:
    if array is None:
        return np.full(shape, np.nan)
    return array.reshape(shape)
