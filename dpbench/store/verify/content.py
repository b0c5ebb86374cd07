"""Verifying what a segment holds: its digests, made again from the arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.frames import Frames
from dpbench.store.digests import frame_digests
from dpbench.store.gather.runs import read_runs
from dpbench.store.segment import layout
from dpbench.store.segment.read import Segment
from dpbench.store.segment.write import compositions, label_bits
from dpbench.store.shelf import FolderShelf
from dpbench.store.verify.findings import Finding, Findings, some
from dpbench.store.workspace import Workspace

BLOCK_ATOMS = 1_000_000
"""Atoms read at once."""

COPIED = ("source_id", "step", "n_scf", "labels", "hash")
"""Facts that stand in an array of the same name too."""

Digests = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a segment turned out to hold."""

    segment: Segment
    """The segment."""
    digests: Digests
    """(frame, 32), made of the arrays."""

    @property
    def differing(self) -> NDArray[np.int64]:
        """The frames whose digest is not the one that was kept."""
        differs = (self.digests != self.segment.facts["hash"]).any(axis=1)
        return np.flatnonzero(differs)


def verify_content(
    workspace: Workspace, segment_id: str, findings: Findings
) -> Content | None:
    """Make the digests of a segment's frames again and compare all that says the same.

    Returns:
        What it holds; None if that cannot be read.
    """
    where = FolderShelf(workspace).where(f"stores/{segment_id}")
    try:
        segment = Segment(workspace, segment_id)
        check = _Check(segment, where, findings)
        check.copies()
        digests = check.digests()
    # A damaged manifest or array may hold anything where a number was expected.
    except (DatasetError, ValueError, KeyError, IndexError, TypeError) as error:
        if not any(place.startswith(where) for place in findings.places):
            text = str(error) if isinstance(error, DatasetError) else repr(error)
            findings.add(where, f"cannot be read: {text}")
        return None
    findings.n_frames += len(digests)
    return Content(segment=segment, digests=digests)


@final
class _Check:
    """One segment that is being verified."""

    def __init__(self, segment: Segment, where: str, findings: Findings) -> None:
        self.segment = segment
        self.where = where
        self.findings = findings
        self.optional = [n for n in layout.OPTIONAL_FRAMES if self._has(n)]

    def copies(self) -> None:
        """Compare the facts with the arrays that say the same."""
        facts = self.segment.facts
        edges = self._rows("atom_offset", extra=1)
        self._compare("natoms", facts["natoms"], np.diff(edges), array="atom_offset")
        for name in (*COPIED, "system_id", *self.optional):
            self._compare(name, facts[name], self._rows(name), array=name)
        for name, unknown in layout.UNKNOWN.items():
            if name not in self.optional and name in (facts.dtype.names or ()):
                expected = np.full(len(facts), unknown, dtype=facts.dtype[name])
                self._compare(name, facts[name], expected, array=name)
        self._ranges(facts["source_id"])

    def digests(self) -> Digests:
        """Make the digests of all frames, and compare with those that are kept."""
        facts = self.segment.facts
        digests = np.empty((self.segment.nframes, 32), dtype=np.uint8)
        labels = np.empty(self.segment.nframes, dtype=np.uint8)
        wrong_names: list[int] = []
        for rows, frames in self._blocks():
            digests[rows] = self._digests_of(rows, frames)
            labels[rows] = label_bits(frames)
            systems, names = compositions(frames)
            known = self.segment.manifest["compositions"]
            wrong_names += [
                int(row)
                for row, i in zip(rows, systems.tolist(), strict=True)
                if known[facts["system_id"][row]] != names[i]
            ]
        self._tell(np.array(wrong_names, dtype=np.int64), "composition", "atoms/z")
        self._tell(np.flatnonzero(labels != facts["labels"]), "labels", "frames/labels")
        differs = (digests != facts["hash"]).any(axis=1)
        self._tell(np.flatnonzero(differs), "digest", None)
        return digests

    def _digests_of(self, rows: NDArray[np.int64], frames: Frames) -> Digests:
        """Digest frames by what the arrays and the manifest say of them."""
        facts, manifest = self.segment.facts[rows], self.segment.manifest
        theories = [source["theory"] for source in manifest["sources"]]
        theory = np.array([theories[i] for i in facts["source_id"]])
        names = np.array(["", *manifest["reasons"]])[facts["reason"]]
        digests = np.empty((len(rows), 32), dtype=np.uint8)
        for name in np.unique(theory):
            mine = np.flatnonzero(theory == name)
            digests[mine] = frame_digests(
                frames.select(mine),
                theory=str(name),
                quarantine=names[mine].tolist(),
                charge=facts["charge"][mine],
                multiplicity=facts["multiplicity"][mine],
            )
        return digests

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], Frames]]:
        """Read the frames, a bounded number of atoms at a time."""
        block = self.segment.atom_offset[1:] // BLOCK_ATOMS
        edges = np.flatnonzero(np.diff(block)) + 1
        for rows in np.split(np.arange(self.segment.nframes), edges):
            which = np.zeros(len(rows), dtype=np.int64)
            yield rows, read_runs([self.segment], which, rows)

    def _has(self, name: str) -> bool:
        prefix = f"{layout.GROUP}/frames/{name}/"
        return any(file.startswith(prefix) for file in self.segment.manifest["files"])

    def _rows(self, name: str, *, extra: int = 0) -> NDArray[Any]:
        """Read a whole array with one row per frame."""
        specs = layout.FRAMES | layout.OPTIONAL_FRAMES
        shape = specs[name].shape
        rows = self.segment.nframes + extra
        reader = self.segment.open_frames_array(name, rows=rows, shape=shape)
        values = np.empty((rows, *shape), dtype=reader.dtype)
        reader.copy(0, rows, values)
        return values

    def _compare(
        self, name: str, facts: NDArray[Any], values: NDArray[Any], *, array: str
    ) -> None:
        is_same = (facts == values) | ((facts != facts) & (values != values))
        while is_same.ndim > 1:
            is_same = is_same.all(axis=-1)
        self._tell(np.flatnonzero(~is_same), name, f"frames/{array}")

    def _ranges(self, source_id: NDArray[Any]) -> None:
        """Compare the ranges of frames in the manifest with the facts."""
        sources = self.segment.manifest["sources"]
        edges = np.searchsorted(source_id, np.arange(len(sources) + 1)).tolist()
        for i, source in enumerate(sources):
            told = (source["frame_start"], source["frame_stop"])
            if told != (edges[i], edges[i + 1]):
                self.findings.add(
                    f"{self.where}/segment.json",
                    f"says that source {i} has frames {told[0]} to {told[1]}; the "
                    f"facts say {edges[i]} to {edges[i + 1]}",
                )

    def _tell(self, rows: NDArray[np.int64], name: str, array: str | None) -> None:
        """Add a finding about frames whose arrays say other than their facts."""
        if not len(rows):
            return
        facts, sources = self.segment.facts, self.segment.manifest["sources"]
        first = facts[rows[0]]
        source = sources[min(int(first["source_id"]), len(sources) - 1)]
        self.findings.faults.append(
            Finding(
                where=f"{self.where}/{layout.FACTS}",
                found=f"the {name} of frame {some(rows.tolist())} does not fit the "
                f"arrays; the first is step {int(first['step'])} of {source['path']}",
                array=array,
                chunk=self._chunk(rows, array),
                frames=(int(rows[0]), int(rows[-1]) + 1),
            )
        )

    def _chunk(self, rows: NDArray[np.int64], array: str | None) -> int | None:
        """Return the chunk of the first of these frames, in an array of frames."""
        if array is None or not array.startswith("frames/"):
            return None
        return int(rows[0]) // min(layout.CHUNK_ROWS, self.segment.nframes)
