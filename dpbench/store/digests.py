"""Digests that name frames and versions by content alone.

A frame digest is sha256 over ``dpb1:``, the fingerprint of its level of theory, its
quarantine state, and natoms, z, coord, box, pbc, energy, force and virial as
little-endian float64, with one NaN and one zero. Charge and multiplicity follow for a
frame that is known to be charged or no singlet; all others digest as if they were not
told, so that a format that cannot hold them loses nothing for a neutral singlet. The
numbers of atoms that a model takes (aparam) follow for a frame that has some. A
version digest is sha256 over the
sorted multiset of its frames' digests. Neither knows of files, chunks or workers.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import ATOM_FIELDS, Frames

SCHEME = "dpb1"
"""Version of the way digests are made; it starts every digest that is written."""

DIGEST_SIZE = 32
"""Bytes of a frame digest."""

PER_FRAME = 1 + 9 + 3 + 1 + 9
"""Numbers of a frame that do not depend on natoms: natoms, box, pbc, energy, virial."""

PER_ATOM = 1 + 3 + 3
"""Numbers of an atom: z, coord, force."""

STRUCTURE = ("z", "coord", "box", "pbc")
"""What makes a structure, in the order in which it is digested."""

CONTENT = (*STRUCTURE, "energy", "force", "virial")
"""What makes a frame, in the order in which it is digested."""


def frame_digests(
    frames: Frames,
    *,
    theory: str,
    quarantine: Sequence[str],
    charge: NDArray[np.float64] | None = None,
    multiplicity: NDArray[np.integer] | None = None,
) -> NDArray[np.uint8]:
    """Digest every frame.

    Args:
        frames: The frames; float32 values count as the float64 of equal value.
        theory: Fingerprint of the level of theory that all of them share.
        quarantine: (frame), reason of each frame, "" for a good one.
        charge: (frame), e; NaN unknown. None = unknown for all.
        multiplicity: (frame), 2S + 1; -1 unknown. None = unknown for all.

    Returns:
        (frame, 32) bytes.
    """
    digests = np.empty((frames.nframes, DIGEST_SIZE), dtype=np.uint8)
    states = np.asarray(quarantine, dtype=np.str_)
    natoms = frames.natoms
    for state in np.unique(states):
        prefix = hashlib.sha256(f"{SCHEME}:{theory}:{state}\0".encode())
        of_state = np.flatnonzero(states == state)
        for count in np.unique(natoms[of_state]):
            group = of_state[natoms[of_state] == count]
            _digest_group(frames, group, prefix=prefix, fields=CONTENT, out=digests)
    _add_electrons(digests, charge, multiplicity)
    _add_atom_numbers(digests, frames)
    return digests


def structure_digests(frames: Frames) -> NDArray[np.uint8]:
    """Digest every frame without its labels: natoms, z, coord, box and pbc.

    Two frames of equal structure digest and other frame digest are one structure that
    was labelled twice, or at two levels of theory.

    Returns:
        (frame, 32) bytes.
    """
    digests = np.empty((frames.nframes, DIGEST_SIZE), dtype=np.uint8)
    prefix = hashlib.sha256(f"{SCHEME}:structure\0".encode())
    natoms = frames.natoms
    for count in np.unique(natoms):
        group = np.flatnonzero(natoms == count)
        _digest_group(frames, group, prefix=prefix, fields=STRUCTURE, out=digests)
    return digests


def version_digest(digests: NDArray[np.uint8]) -> str:
    """Digest a multiset of frame digests (frame, 32): ``dpb1:`` and 64 hex digits."""
    content = hashlib.sha256(f"{SCHEME}:version\0".encode())
    content.update(np.sort(as_keys(digests)).tobytes())
    return f"{SCHEME}:{content.hexdigest()}"


def as_keys(digests: NDArray[np.uint8]) -> NDArray[np.void]:
    """View digests (frame, 32) as (frame) values that sort and compare as a whole."""
    keys: NDArray[np.void] = np.ascontiguousarray(digests).view(f"V{DIGEST_SIZE}")[:, 0]
    return keys


def repeated(known: NDArray[np.uint8], new: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the frames of ``new`` that stand in ``known`` or earlier in ``new``.

    Args:
        known: (frame, 32) digests of the frames that are there.
        new: (frame, 32) digests of the frames that come.
    """
    keys = np.concatenate([as_keys(known), as_keys(new)])
    order = np.argsort(keys, kind="stable")
    is_repeat = np.zeros(len(keys), dtype=np.bool_)
    is_repeat[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return is_repeat[len(known) :]


def _add_electrons(
    digests: NDArray[np.uint8],
    charge: NDArray[np.float64] | None,
    multiplicity: NDArray[np.integer] | None,
) -> None:
    """Digest the frames again that are known to be charged, or no singlet."""
    nframes = len(digests)
    e = np.full(nframes, np.nan) if charge is None else charge
    spin = np.full(nframes, -1) if multiplicity is None else multiplicity
    e = np.where(np.isnan(e), 0.0, e).astype("<f8") + 0.0
    spin = np.where(spin < 1, 1, spin).astype("<f8")
    for i in np.flatnonzero((e != 0.0) | (spin != 1.0)):
        content = hashlib.sha256(f"{SCHEME}:electrons\0".encode())
        content.update(digests[i].tobytes())
        content.update(np.array([e[i], spin[i]], dtype="<f8").tobytes())
        digests[i] = np.frombuffer(content.digest(), dtype=np.uint8)


def _add_atom_numbers(digests: NDArray[np.uint8], frames: Frames) -> None:
    """Digest the frames again whose atoms have numbers of their own."""
    if frames.aparam is None:
        return
    counts = frames.numb_aparam
    for i in np.flatnonzero(counts).tolist():
        values = frames.aparam[frames.atoms_of(i), : counts[i]].astype("<f8") + 0.0
        values[np.isnan(values)] = np.nan
        content = hashlib.sha256(f"{SCHEME}:aparam\0".encode())
        content.update(digests[i].tobytes())
        content.update(np.array([counts[i]], dtype="<f8").tobytes())
        content.update(values.tobytes())
        digests[i] = np.frombuffer(content.digest(), dtype=np.uint8)


def _digest_group(
    frames: Frames,
    group: NDArray[np.intp],
    *,
    prefix: "hashlib._Hash",
    fields: Sequence[str],
    out: NDArray[np.uint8],
) -> None:
    """Digest frames of equal natoms: one row of numbers each, hashed row by row."""
    natoms = int(frames.natoms[group[0]])
    # Bounded blocks: a float64 copy of a whole trajectory would double its memory.
    block_size = max(1, 4_000_000 // (PER_FRAME + PER_ATOM * natoms))
    for start in range(0, len(group), block_size):
        index = group[start : start + block_size]
        rows = _number_rows(frames, index, natoms, fields)
        for frame_idx, row in zip(index, rows, strict=True):
            content = prefix.copy()
            content.update(row.data)
            out[frame_idx] = np.frombuffer(content.digest(), dtype=np.uint8)


def _number_rows(
    frames: Frames, index: NDArray[np.intp], natoms: int, fields: Sequence[str]
) -> NDArray[np.float64]:
    """Write frames of equal natoms as rows of canonical little-endian float64."""
    nframes = len(index)
    atoms = frames.atom_offset[index][:, None] + np.arange(natoms)
    columns = [np.full((nframes, 1), natoms, dtype="<f8")]
    for name in fields:
        picked = getattr(frames, name)[atoms if name in ATOM_FIELDS else index]
        columns.append(picked.reshape(nframes, -1).astype("<f8"))
    rows = np.concatenate(columns, axis=1)
    rows += 0.0  # -0.0 becomes 0.0
    rows[np.isnan(rows)] = np.nan  # every NaN becomes the same bits
    return rows
