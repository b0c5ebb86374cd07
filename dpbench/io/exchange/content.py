"""What an export holds: frames of a version, in order of their sources, by blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames, offsets
from dpbench.store.dataset import DatasetVersion, SourceRecord
from dpbench.store.digests import version_digest
from dpbench.store.splits.parts import Selected

BLOCK_ATOMS = 200_000
"""Atoms of the frames that are in memory at the same time: about 10 MB."""

KEY_SIZE = 16
"""Bytes of the key by which sequences of elements are told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What one pass over all frames tells of each."""

    pbc: NDArray[np.bool_]
    """(frame, 3), periodic along each cell vector."""
    has_box: NDArray[np.bool_]
    """(frame), whether there is a cell."""
    has_energy: NDArray[np.bool_]
    """(frame), whether the energy is labelled."""
    has_force: NDArray[np.bool_]
    """(frame), whether all forces are labelled."""
    has_virial: NDArray[np.bool_]
    """(frame), whether the virial is labelled."""
    numb_aparam: NDArray[np.int64]
    """(frame), numbers of each atom that models take (aparam); 0 = none."""
    sequence: NDArray[np.int64]
    """(frame), index into ``sequences``."""
    sequences: tuple[bytes, ...]
    """The distinct sequences of atomic numbers, one byte an atom."""


@final
class Content:
    """The frames of an export, counted from 0 in the order of their sources."""

    def __init__(self, selected: Selected) -> None:
        """Take frames of a version; nothing is read yet."""
        version = selected.version
        self.version: DatasetVersion = version
        self.label = selected.label
        self.part = None if selected.split is None else selected.part
        self.split = None if selected.split is None else selected.split.digest
        chosen = np.asarray(selected.frames, dtype=np.int64)
        order = np.argsort(version.source_of[chosen], kind="stable")
        self.frames: NDArray[np.int64] = chosen[order]
        self.nframes = len(chosen)

    @cached_property
    def natoms(self) -> NDArray[np.int64]:
        """(frame), number of atoms."""
        return self.version.natoms[self.frames]

    @cached_property
    def digest(self) -> str:
        """Digest of these frames, quarantine left out: what an import can reach."""
        return version_digest(self.version.frame_digests[self.frames])

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Elements that occur, by atomic number: the type map of all systems."""
        found = {z for sequence in self.survey.sequences for z in sequence}
        return tuple(SYMBOLS[z] for z in sorted(found))

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """(source), index of each source that has frames here, in order."""
        return np.unique(self.version.source_of[self.frames]).astype(np.int64)

    @cached_property
    def sources(self) -> tuple[SourceRecord, ...]:
        """The sources that have frames here."""
        records = self.version.sources
        return tuple(records[i] for i in self.used.tolist())

    @cached_property
    def source(self) -> NDArray[np.int64]:
        """(frame), index into ``sources``; rising."""
        where = np.searchsorted(self.used, self.version.source_of[self.frames])
        return where.astype(np.int64)

    @cached_property
    def step(self) -> NDArray[np.int32]:
        """(frame), position in the source."""
        return self.version.step[self.frames]

    def fact(self, name: str) -> NDArray[Any]:
        """(frame), a fact of each frame, named as in ``layout.FACTS_DTYPE``."""
        values: NDArray[Any] = self.version.facts[name][self.frames]
        return values

    @cached_property
    def electrons(self) -> dict[str, NDArray[Any]]:
        """Charge (e, NaN unknown), multiplicity (-1) and temperature (K, NaN)."""
        names = ("charge", "multiplicity", "temperature")
        return {name: self.fact(name) for name in names}

    def told(self, position: int) -> dict[str, float | int]:
        """Return what is known of the charge, spin and temperature of a frame."""
        values = {name: v[position].item() for name, v in self.electrons.items()}
        if values["multiplicity"] < 1:
            del values["multiplicity"]
        return {name: value for name, value in values.items() if value == value}

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """float32 if all coordinates and forces are, else float64."""
        first = np.searchsorted(self.source, np.arange(len(self.sources)))
        narrow = np.dtype(np.float32)
        for start in range(0, len(first), 1000):
            frames = self.version.read(self.frames[first[start : start + 1000]])
            if np.result_type(frames.coord, frames.force) != narrow:
                return np.dtype(np.float64)
        return narrow

    @cached_property
    def survey(self) -> Survey:
        """Read all frames once and say what they have."""
        known: dict[bytes, int] = {}
        parts: dict[str, list[NDArray[Any]]] = {
            name: []
            for name in ("pbc", "box", "energy", "force", "virial", "aparam", "seq")
        }
        for _, frames in self.blocks():
            z = frames.z.tobytes()
            cuts = zip(frames.atom_offset[:-1], frames.atom_offset[1:], strict=True)
            index = [known.setdefault(z[a:b], len(known)) for a, b in cuts]
            parts["pbc"].append(frames.pbc)
            parts["box"].append(is_given(frames.box))
            parts["energy"].append(frames.has_energy)
            parts["force"].append(frames.has_force)
            parts["virial"].append(frames.has_virial)
            parts["aparam"].append(frames.numb_aparam)
            parts["seq"].append(np.array(index, dtype=np.int64))
        joined = {name: np.concatenate(found) for name, found in parts.items()}
        return Survey(
            pbc=joined["pbc"],
            has_box=joined["box"],
            has_energy=joined["energy"],
            has_force=joined["force"],
            has_virial=joined["virial"],
            numb_aparam=joined["aparam"],
            sequence=joined["seq"],
            sequences=tuple(known),
        )

    def read(self, positions: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read the frames at these positions, in that order."""
        return self.version.read(self.frames[np.asarray(positions, dtype=np.int64)])

    def blocks(
        self, positions: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Frames]]:
        """Yield (positions, frames), about ``BLOCK_ATOMS`` atoms at a time."""
        if positions is None:
            positions = np.arange(self.nframes)
        for chunk in cut(positions, self.natoms[positions], size=BLOCK_ATOMS):
            yield chunk, self.read(chunk)


def is_given(array: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(frame), whether a tensor (frame, 3, 3) is there: NaN stands for none."""
    given: NDArray[np.bool_] = np.logical_not(np.isnan(array).any(axis=(1, 2)))
    return given


def cut(
    items: NDArray[np.int64], natoms: NDArray[np.int64], *, size: int
) -> Iterator[NDArray[np.int64]]:
    """Cut items into runs of about ``size`` atoms, one item at least."""
    edge = offsets(natoms)
    start = 0
    while start < len(items):
        stop = int(np.searchsorted(edge, edge[start] + size, side="right")) - 1
        stop = max(stop, start + 1)
        yield items[start:stop]
        start = stop
