"""What frames are compared by: digests of structure and labels, and fingerprints.

They follow from a frame's content, so a frame's digest finds them again: they are kept
in ``derived/leakage/`` of the workspace, and may be deleted at any time.
"""

import io
import itertools
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.frames import Frames
from dpbench.io.quality.fingerprint import (
    SCHEME,
    Fingerprints,
    invariant_fingerprints,
    join,
)
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import as_keys, frame_digests, structure_digests
from dpbench.store.files import write_atomically

BLOCK_ATOMS = 200_000
"""Atoms in memory at a time."""

MOST_KEPT = 300_000
"""Frames of a version above which its prints (about 450 bytes each) are not kept."""

FORMAT = 1
"""Version of the file of kept prints."""

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prints:
    """What frames are compared by, in the order of the frames."""

    structure: NDArray[np.uint8]
    """(frame, 32), digest of the structure as it is written, labels left out."""
    content: NDArray[np.uint8]
    """(frame, 32), digest of structure and labels, level of theory left out."""
    invariant: Fingerprints | None
    """Fingerprints that no turn, shift, order or choice of cell changes; None = they
    were too many to be made."""

    def select(self, index: Index) -> "Prints":
        """Return the prints at ``index``, in that order."""
        return Prints(
            structure=self.structure[index],
            content=self.content[index],
            invariant=self.invariant and self.invariant.select(index),
        )


def prints_of(
    version: DatasetVersion, frames: Index, *, most: int | None = None
) -> Prints:
    """Return the prints of frames, reading those that are not kept yet.

    Args:
        version: The version.
        frames: Frame indices in version order.
        most: Frames to fingerprint, about 1 ms each, for which the caller has time;
            of more, digests alone are made, and nothing is kept. None = any number.

    Raises:
        DatasetError: If a frame cannot be read, or has no fingerprint.
    """
    wanted = version.frame_digests[frames]
    known, kept = _load(version)
    place = _find(known, wanted)
    missing = np.flatnonzero(place < 0)
    if most is not None and len(missing) > most:
        return _read(version, frames, with_fingerprints=False)
    if len(missing):
        new = _read(version, frames[missing])
        place[missing] = len(known) + np.arange(len(missing))
        known = np.concatenate([known, wanted[missing]])
        kept = _chained([kept, new])
        _keep(version, known, kept)
    return kept.select(place)


def _read(
    version: DatasetVersion, frames: Index, *, with_fingerprints: bool = True
) -> Prints:
    parts = []
    for block in _blocks(version.natoms[frames]):
        read = version.read(frames[block])
        invariant = None
        if with_fingerprints:
            invariant = _fingerprints(version, frames[block], read)
        parts.append(
            Prints(
                structure=structure_digests(read),
                content=frame_digests(read, theory="", quarantine=[""] * read.nframes),
                invariant=invariant,
            )
        )
    return _chained(parts)


def _fingerprints(version: DatasetVersion, index: Index, read: Frames) -> Fingerprints:
    try:
        return invariant_fingerprints(read)
    except ValueError as error:
        raise DatasetError(
            f"{version.label}: a frame among {int(index[0])} to {int(index[-1])} has "
            f"no fingerprint ({error}); expected finite coordinates and a cell with a "
            "volume. Look at it with 'dpbench dataset quality "
            f"{version.label}'."
        ) from error


def _blocks(natoms: NDArray[np.int64]) -> list[slice]:
    """Cut frames into runs of about ``BLOCK_ATOMS`` atoms."""
    number = np.cumsum(natoms) // BLOCK_ATOMS
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(natoms)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _chained(parts: list[Prints]) -> Prints:
    none = np.zeros((0, 32), dtype=np.uint8)
    found = [p.invariant for p in parts if p.invariant is not None]
    return Prints(
        structure=np.concatenate([none, *(p.structure for p in parts)]),
        content=np.concatenate([none, *(p.content for p in parts)]),
        invariant=join(found) if len(found) == len(parts) else None,
    )


def _find(known: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> Index:
    """(wanted), where each digest stands in ``known``; -1 = nowhere."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    keys, asked = as_keys(known), as_keys(wanted)
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], asked), len(keys) - 1)
    place: Index = np.where(keys[order[at]] == asked, order[at], -1).astype(np.int64)
    return place


def _load(version: DatasetVersion) -> tuple[NDArray[np.uint8], Prints]:
    """Read what is kept of this version, else of the ones before it."""
    for name in (version.object_id, version.payload["parent"]):
        path = version.workspace.root / "derived" / "leakage" / f"{name}.npz"
        try:
            data = io.BytesIO(path.read_bytes())
            with np.load(data, allow_pickle=False) as found:
                if tuple(found["scheme"]) == (FORMAT, SCHEME):
                    return _unpacked(found)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue  # a damaged file of derived numbers: they are made again
    return np.zeros((0, 32), dtype=np.uint8), _chained([])


def _unpacked(found: Any) -> tuple[NDArray[np.uint8], Prints]:
    names = ("frame", "structure", "content", "vectors", "keys")
    frame, structure, content, vectors, keys = (found[name] for name in names)
    if len({len(array) for array in (frame, structure, content, vectors, keys)}) > 1:
        raise ValueError("arrays of different lengths")
    invariant = Fingerprints(vectors=vectors, keys=keys)
    return frame, Prints(structure=structure, content=content, invariant=invariant)


def _keep(version: DatasetVersion, known: NDArray[np.uint8], prints: Prints) -> None:
    """Keep prints beside the data; a disk that cannot be written keeps none."""
    if len(known) > MOST_KEPT or prints.invariant is None:
        return
    buffer = io.BytesIO()
    np.savez(
        buffer,
        scheme=np.array([FORMAT, SCHEME]),
        frame=known,
        structure=prints.structure,
        content=prints.content,
        vectors=prints.invariant.vectors,
        keys=prints.invariant.keys,
    )
    folder = version.workspace.root / "derived" / "leakage"
    try:
        write_atomically(folder / f"{version.object_id}.npz", buffer.getvalue())
    except OSError:
        return
