"""What may be chosen from: candidate frames, or clusters around candidate atoms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.explore.select.clusters import cut_cluster
from dpbench.explore.select.diversity import is_describable
from dpbench.explore.select.judging import CANDIDATE, FAILED, Judged
from dpbench.explore.select.settings import SelectSettings
from dpbench.frames import Frames, concatenate

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """What may be chosen from, the largest deviation first."""

    frame: Index
    """(entry), the frame that it is or is cut from."""
    atom: Index
    """(entry), the atom in the middle of a cluster; -1 for a whole frame."""
    frames: Frames
    """(entry), the structures."""
    deviation: NDArray[np.float64]
    """(entry), largest force deviation of the frame, or that of the atom."""
    structure: NDArray[np.str_]
    """(entry), name of the structure that the walk started from."""
    is_rescued: bool = False
    """Whether these are failed frames, for want of candidates."""
    broken: Index
    """Frames left out: a coordinate is not finite, or the cell is flat."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.frame)

    def select(self, rows: Sequence[int] | Index) -> "Pool":
        """Return the entries at ``rows``."""
        index = np.asarray(rows, np.int64)
        return Pool(
            frame=self.frame[index],
            atom=self.atom[index],
            frames=self.frames.select(index),
            deviation=self.deviation[index],
            structure=self.structure[index],
            is_rescued=self.is_rescued,
            broken=self.broken,
        )


def make_pool(judged: Judged, frames: Frames, settings: SelectSettings) -> Pool:
    """Gather the candidates; where there is none, failed frames to be rescued."""
    table = judged.table
    rows = np.flatnonzero(judged.verdict == CANDIDATE)
    is_rescued = not len(rows) and settings.rescue > 0
    if is_rescued:
        rows = _least_failed(judged, settings.rescue)
    sound = is_describable(frames.select(rows))
    kept = rows[sound]
    if settings.cluster is None or is_rescued:
        atom = np.full(len(kept), -1, np.int64)
        structures = frames.select(kept)
        deviation = table.max_devi_f[kept]
    else:
        kept, atom = _candidate_atoms(judged, kept)
        structures = concatenate(
            [
                cut_cluster(
                    frames,
                    int(i),
                    int(a),
                    cutoff=settings.cluster,
                    hard=settings.cluster_hard,
                )
                for i, a in zip(kept, atom, strict=True)
            ]
        )
        deviation = table.atom_devi_f[table.atom_offset[kept] + atom]
    pool = Pool(
        frame=kept.astype(np.int64),
        atom=atom,
        frames=structures,
        deviation=deviation,
        structure=table.structure[kept],
        is_rescued=is_rescued,
        broken=rows[~sound].astype(np.int64),
    )
    return pool.select(np.lexsort((atom, kept, -deviation)).astype(np.int64))


def _least_failed(judged: Judged, count: int) -> Index:
    """Return the failed frames of the least deviation."""
    failed = np.flatnonzero((judged.verdict == FAILED) & ~judged.is_unknown)
    order = np.argsort(judged.table.max_devi_f[failed], kind="stable")
    return failed[order[:count]].astype(np.int64)


def _candidate_atoms(judged: Judged, rows: Index) -> tuple[Index, Index]:
    """Return frame and number of each candidate atom of some frames."""
    verdicts = judged.atoms
    offset = judged.table.atom_offset
    found = [
        np.flatnonzero(verdicts[offset[i] : offset[i + 1]] == CANDIDATE)
        for i in (rows.tolist() if verdicts is not None else [])
        if verdicts is not None
    ]
    none = np.zeros(0, np.int64)
    counts = [len(atoms) for atoms in found]
    return np.repeat(rows, counts), np.concatenate([none, *found]).astype(np.int64)
