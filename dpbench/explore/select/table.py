"""The deviation of models on explored frames, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import offsets
from dpbench.metrics.model_deviation import COLUMNS

Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviationTable:
    """Columns of ``model_devi.out``, one row a frame.

    Raises:
        ValueError: If the columns are not of one length.
    """

    step: NDArray[np.int64]
    """(frame), step of the walk."""
    max_devi_v: Column
    """(frame), eV/atom; NaN where a model gives no virial."""
    min_devi_v: Column
    """(frame), eV/atom."""
    avg_devi_v: Column
    """(frame), eV/atom."""
    max_devi_f: Column
    """(frame), eV/Å; without a unit where it is relative."""
    min_devi_f: Column
    """(frame), eV/Å."""
    avg_devi_f: Column
    """(frame), eV/Å."""
    devi_e: Column
    """(frame), eV/atom; NaN where a file does not tell."""
    atom_devi_f: Column
    """(atom), eV/Å, of all frames behind each other; empty where a file has none."""
    atom_offset: NDArray[np.int64]
    """(frame + 1), first row of each frame in ``atom_devi_f``."""
    walk: NDArray[np.int64]
    """(frame), number of the walk that it comes from: a task of DP-GEN."""
    structure: NDArray[np.str_]
    """(frame), name of the structure that the walk started from: a system of DP-GEN."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        for item in fields(self):
            expected = {"atom_devi_f": int(self.atom_offset[-1])}.get(
                item.name, self.nframes + (item.name == "atom_offset")
            )
            found = getattr(self, item.name).shape
            if found != (expected,):
                raise ValueError(
                    f"{item.name}: shape {found} does not fit; expected {(expected,)}"
                )

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.step)

    @property
    def has_atoms(self) -> bool:
        """Whether the deviation of every atom is told."""
        return bool((np.diff(self.atom_offset) > 0).all()) and self.nframes > 0

    def atoms_of(self, frame_idx: int) -> Column:
        """Return the deviations of one frame's atoms, eV/Å."""
        first, last = self.atom_offset[frame_idx : frame_idx + 2]
        return self.atom_devi_f[first:last]

    def relative_to_walks(self, force: NDArray[np.floating]) -> "DeviationTable":
        """Divide the force columns by the root mean square force of each walk.

        The deviations of single atoms stay as they are, as in DP-GEN. Atoms about
        which the model says nothing are no part of the mean.

        Args:
            force: eV/Å, (atom, 3), of all frames behind each other.
        """
        of_atom = np.repeat(self.walk, np.diff(self.atom_offset))
        scale = np.ones(self.nframes)
        for walk in np.unique(self.walk).tolist():
            rows = force[of_atom == walk].astype(np.float64)
            rows = rows[np.isfinite(rows).all(axis=1)]
            if not len(rows):
                continue
            mean = np.average(np.sum(np.square(rows), axis=1))
            scale[self.walk == walk] = np.sqrt(mean)
        names = ("max_devi_f", "min_devi_f", "avg_devi_f")
        with np.errstate(divide="ignore", invalid="ignore"):
            return replace(self, **{n: getattr(self, n) / scale for n in names})


def concatenate_tables(tables: Sequence[DeviationTable]) -> DeviationTable:
    """Put tables behind each other; none give an empty one."""
    if not tables:
        return table_of(np.zeros(0, np.int64), {}, [])
    joined = {
        item.name: np.concatenate([getattr(table, item.name) for table in tables])
        for item in fields(DeviationTable)
        if item.name != "atom_offset"
    }
    natoms = np.concatenate([np.diff(table.atom_offset) for table in tables])
    return DeviationTable(atom_offset=offsets(natoms), **joined)


def table_of(
    step: NDArray[np.int64],
    columns: dict[str, Column],
    atoms: Sequence[Column],
    *,
    walk: NDArray[np.int64] | None = None,
    structure: Sequence[str] | NDArray[np.str_] | None = None,
) -> DeviationTable:
    """Build a table; columns that are missing are NaN.

    Args:
        step: (frame).
        columns: By name, as in ``COLUMNS``, (frame).
        atoms: (frame) of (atom), eV/Å; empty where there is none.
        walk: (frame); None = all of one walk.
        structure: (frame); None = all of one structure without a name.
    """
    nframes = len(step)
    nan = np.full(nframes, np.nan)
    counts = [len(a) for a in atoms] if len(atoms) else np.zeros(nframes, np.int64)
    names = np.full(nframes, "") if structure is None else np.asarray(structure, "U")
    return DeviationTable(
        step=step,
        **{name: columns.get(name, nan) for name in COLUMNS},
        atom_devi_f=np.concatenate([np.zeros(0), *atoms]),
        atom_offset=offsets(counts),
        walk=np.zeros(nframes, np.int64) if walk is None else walk,
        structure=names.reshape(nframes),
    )
