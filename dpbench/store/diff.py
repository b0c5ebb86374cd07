"""In which frames two versions differ: added, removed, relabelled.

Versions share segments, so most frames need no look: the rows of a segment that both
list are the same frames. Of the other rows the digests are compared, which lie in the
segments' facts. Frames that only one side has are read, to tell whether their structure
is on the other side with another label, level of theory or quarantine state.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import as_keys, structure_digests
from dpbench.store.gather.runs import read_runs
from dpbench.store.masks import from_ranges
from dpbench.store.segment.read import Segment
from dpbench.store.workspace import Workspace

ROLES = ("data", "quarantine")

BLOCK_ATOMS = 1_000_000
"""Atoms read at once."""

LABELS = ("energy", "force", "virial", "aparam")
"""What frames of one structure may have otherwise; the last is no label, but like one
it belongs to a structure."""

TOLD = ("theory", "quarantine")
"""What a frame's record tells and may differ, too."""

Deltas = dict[str, float | None]
Electrons = dict[str, tuple[float | None, float | None]]

Index = NDArray[np.int64]
Payload = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRecord:
    """One frame, as users find it again."""

    path: str
    """Path of its source: a hint."""
    step: int
    """Position in the source."""
    natoms: int
    """Number of atoms."""
    formula: str
    """Hill formula."""
    quarantine: str
    """Why it is kept out; "" = it is not."""
    theory: str
    """Fingerprint of its level of theory."""
    digest: str
    """Digest of the frame, hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relabelled:
    """One structure that both versions have, otherwise labelled."""

    before: FrameRecord
    after: FrameRecord
    changed: tuple[str, ...]
    """What differs: energy, force, virial, aparam, theory, quarantine, charge,
    multiplicity."""
    largest: Deltas
    """The largest |Δ| of each label that differs: energy in eV/atom, force in eV/Å,
    virial in eV; None where only one version has the label, or more numbers."""
    electrons: Electrons
    """Charge (e) and multiplicity before and after, if other; None = unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """The frames in which version B differs from version A."""

    added: tuple[FrameRecord, ...]
    """In B alone."""
    removed: tuple[FrameRecord, ...]
    """In A alone."""
    relabelled: tuple[Relabelled, ...]
    """In both, otherwise labelled."""
    n_common: int
    """In both, quarantined ones counted."""

    @property
    def largest(self) -> Deltas:
        """The largest |Δ| of each label over all relabelled frames, as of a frame."""
        found: Deltas = {}
        for name in LABELS:
            told = [p.largest[name] for p in self.relabelled if name in p.largest]
            if told:
                found[name] = max((d for d in told if d is not None), default=None)
        return found

    @property
    def counts(self) -> dict[str, int]:
        """Number of frames of each kind."""
        return {
            "added": len(self.added),
            "removed": len(self.removed),
            "relabelled": len(self.relabelled),
            "common": self.n_common,
        }


def diff(a: DatasetVersion, b: DatasetVersion) -> Diff:
    """Compare version B with version A, quarantine too.

    Raises:
        DatasetError: If a file that it needs is missing or damaged.
    """
    lost, gained = _sides(a.workspace, a.payload, b.payload)
    n_common = _n_frames(a.payload) - len(lost)
    pairs = _pairs(lost, gained)
    both = [
        _relabelled(before, after, deltas, electrons)
        for before, after, deltas, electrons in zip(
            lost.records(pairs[:, 0]),
            gained.records(pairs[:, 1]),
            _deltas(lost, gained, pairs),
            _electrons(lost, gained, pairs),
            strict=True,
        )
    ]
    return Diff(
        added=tuple(gained.records(_others(len(gained), pairs[:, 1]))),
        removed=tuple(lost.records(_others(len(lost), pairs[:, 0]))),
        relabelled=tuple(both),
        n_common=n_common,
    )


def count_changes(workspace: Workspace, a: Payload, b: Payload) -> dict[str, int]:
    """Count frames added, removed and relabelled between the payloads of two versions.

    Raises:
        DatasetError: If a file that it needs is missing or damaged.
    """
    if a["digest"] == b["digest"]:
        return {"added": 0, "removed": 0, "relabelled": 0}
    lost, gained = _moved(a, b)
    counts = [sum(len(rows) for _, _, rows in places) for places in (lost, gained)]
    n_pairs = 0
    if all(counts):
        sides = _sides(workspace, a, b)
        n_pairs = len(_pairs(*sides))
        counts = [len(side) for side in sides]
    return {
        "added": counts[1] - n_pairs,
        "removed": counts[0] - n_pairs,
        "relabelled": n_pairs,
    }


Places = list[tuple[str, str, Index]]
"""(role, segment, rows) of frames that one version lists and the other may not."""


@final
class _Side:
    """Frames of one version that the other one may lack."""

    def __init__(self, workspace: Workspace, places: Places) -> None:
        self.segments = [Segment(workspace, name) for _, name, _ in places]
        empty = np.zeros(0, dtype=np.int64)
        rows = [rows for _, _, rows in places]
        counts = [len(part) for part in rows]
        self.which: Index = np.repeat(np.arange(len(rows)), counts).astype(np.int64)
        self.rows: Index = np.concatenate([*rows, empty])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[Any]) -> None:
        """Keep these frames alone."""
        self.which, self.rows = self.which[index], self.rows[index]

    def facts(self, name: str) -> NDArray[Any]:
        """(frame), one of the facts."""
        values = [
            self.segments[number].facts[name][self.rows[self.which == number]]
            for number in np.unique(self.which).tolist()
        ]
        # Segments are in rising order in ``which``, so parts follow each other.
        return np.concatenate(values) if values else np.zeros(0)

    def hashes(self) -> NDArray[np.void]:
        """(frame), the digests as values that compare as a whole."""
        if not len(self):
            return np.zeros(0, dtype="V32")
        return as_keys(self.facts("hash"))

    def frames(self, index: Index) -> Frames:
        """Read frames, in the order of ``index``."""
        return read_runs(self.segments, self.which[index], self.rows[index])

    def blocks(self, index: Index) -> Iterator[Index]:
        """Cut ``index`` into pieces of bounded size."""
        natoms = self.facts("natoms")[index].astype(np.int64)
        block = np.cumsum(natoms) // BLOCK_ATOMS
        edges = np.flatnonzero(np.diff(block)) + 1
        yield from (part for part in np.split(index, edges) if len(part))

    def structures(self) -> NDArray[np.void]:
        """(frame), digests of the structures; reads the frames."""
        index = np.arange(len(self))
        parts = [structure_digests(self.frames(i)) for i in self.blocks(index)]
        return as_keys(np.concatenate(parts))

    def records(self, index: Index) -> list[FrameRecord]:
        """Describe frames."""
        return [self._record(i) for i in index.tolist()]

    def _record(self, i: int) -> FrameRecord:
        segment, row = self.segments[self.which[i]], int(self.rows[i])
        facts, manifest = segment.facts[row], segment.manifest
        source = manifest["sources"][int(facts["source_id"])]
        return FrameRecord(
            path=source["path"],
            step=int(facts["step"]),
            natoms=int(facts["natoms"]),
            formula=manifest["compositions"][int(facts["system_id"])],
            quarantine=["", *manifest["reasons"]][int(facts["reason"])],
            theory=source["theory"],
            digest=facts["hash"].tobytes().hex(),
        )


def _n_frames(payload: Payload) -> int:
    kept_out: int = sum(payload["quarantined"].values())
    return int(payload["n_frames"]) + kept_out


def _sides(workspace: Workspace, a: Payload, b: Payload) -> tuple[_Side, _Side]:
    """Find the frames that one version has and the other has not."""
    lost, gained = (_Side(workspace, places) for places in _moved(a, b))
    if len(lost) and len(gained):
        pairs = _matches(lost.hashes(), gained.hashes())
        lost.take(_others(len(lost), pairs[:, 0]))
        gained.take(_others(len(gained), pairs[:, 1]))
    return lost, gained


def _moved(a: Payload, b: Payload) -> tuple[Places, Places]:
    """List the rows that one payload lists and the other does not; reads nothing."""
    lost: Places = []
    gained: Places = []
    for role in ROLES:
        mine = {entry["id"]: entry for entry in a[role]}
        theirs = {entry["id"]: entry for entry in b[role]}
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            one, other = mine.get(name), theirs.get(name)
            if one == other:
                continue
            before, after = _rows(one), _rows(other)
            for places, rows in (
                (lost, np.setdiff1d(before, after, assume_unique=True)),
                (gained, np.setdiff1d(after, before, assume_unique=True)),
            ):
                if len(rows):
                    places.append((role, name, rows))
    return lost, gained


def _rows(entry: Mapping[str, Any] | None) -> Index:
    if entry is None:
        return np.zeros(0, dtype=np.int64)
    is_kept = np.ones(entry["n_frames"], dtype=np.bool_)
    for ranges in entry["excluded"].values():
        is_kept[from_ranges(ranges)] = False
    return np.flatnonzero(is_kept)


def _pairs(lost: _Side, gained: _Side) -> Index:
    """(pair, 2), frames of equal structure on both sides; reads the frames."""
    if not len(lost) or not len(gained):
        return np.zeros((0, 2), dtype=np.int64)
    return _matches(lost.structures(), gained.structures())


def _matches(one: NDArray[np.void], other: NDArray[np.void]) -> Index:
    """(pair, 2), equal values of two multisets, each used once, in their order."""
    ranks = [_ranked(keys) for keys in (one, other)]
    _, at_one, at_other = np.intersect1d(ranks[0], ranks[1], return_indices=True)
    pairs = np.stack([at_one, at_other], axis=1).astype(np.int64)
    result: Index = pairs[np.argsort(pairs[:, 0], kind="stable")]
    return result


def _ranked(keys: NDArray[np.void]) -> NDArray[np.void]:
    """Make the values of a multiset distinct: each with how many came before it."""
    order = np.argsort(keys, kind="stable")
    is_new = np.ones(len(keys), dtype=np.bool_)
    is_new[1:] = keys[order[1:]] != keys[order[:-1]]
    start = np.maximum.accumulate(np.where(is_new, np.arange(len(keys)), 0))
    rank = np.empty(len(keys), dtype=">u8")  # bytes that sort as the number does
    rank[order] = np.arange(len(keys)) - start
    size = keys.dtype.itemsize
    joined = np.empty((len(keys), size + 8), dtype=np.uint8)
    joined[:, :size] = keys.view(np.uint8).reshape(len(keys), size)
    joined[:, size:] = rank.view(np.uint8).reshape(len(keys), 8)
    ranked: NDArray[np.void] = joined.view(f"V{size + 8}")[:, 0]
    return ranked


def _others(n: int, index: Index) -> Index:
    """Return the numbers below ``n`` that are not in ``index``."""
    is_other = np.ones(n, dtype=np.bool_)
    is_other[index] = False
    return np.flatnonzero(is_other)


def _relabelled(
    before: FrameRecord, after: FrameRecord, deltas: Deltas, electrons: Electrons
) -> Relabelled:
    told = [n for n in TOLD if getattr(before, n) != getattr(after, n)]
    return Relabelled(
        before=before,
        after=after,
        changed=(*deltas, *told, *electrons),
        largest=deltas,
        electrons=electrons,
    )


def _deltas(lost: _Side, gained: _Side, pairs: Index) -> list[Deltas]:
    """Say of every pair which labels differ, and by how much."""
    found: list[Deltas] = [{} for _ in pairs]
    if not len(pairs):
        return []
    at = {int(i): number for number, i in enumerate(pairs[:, 0])}
    for before in lost.blocks(pairs[:, 0]):
        numbers = [at[int(i)] for i in before]
        one, other = lost.frames(before), gained.frames(pairs[numbers, 1])
        for name in LABELS:
            for number, i in zip(numbers, range(len(before)), strict=True):
                old, new = _label(one, name, i), _label(other, name, i)
                if not np.array_equal(old, new, equal_nan=True):
                    is_alike = old.shape == new.shape
                    delta = float(np.abs(new - old).max()) if is_alike else np.nan
                    per = int(one.natoms[i]) if name == "energy" else 1
                    found[number][name] = delta / per if np.isfinite(delta) else None
    return found


def _electrons(lost: _Side, gained: _Side, pairs: Index) -> list[Electrons]:
    """Say of every pair which facts of its electrons differ, before and after."""
    found: list[Electrons] = [{} for _ in pairs]
    if not len(pairs):
        return []
    for name in ("charge", "multiplicity"):
        old = lost.facts(name)[pairs[:, 0]]
        new = gained.facts(name)[pairs[:, 1]]
        is_same = (old == new) | ((old != old) & (new != new))
        for number in np.flatnonzero(~is_same).tolist():
            found[number][name] = (_told(name, old[number]), _told(name, new[number]))
    return found


def _told(name: str, value: Any) -> float | None:
    """Return a fact; None if it is unknown."""
    is_unknown = np.isnan(value) if name == "charge" else value < 0
    return None if is_unknown else float(value)


def _label(frames: Frames, name: str, i: int) -> NDArray[Any]:
    if name == "aparam":
        numbers = frames.aparam_of(i)
        return np.zeros((0, 0)) if numbers is None else numbers
    values: Sequence[Any] = getattr(frames, name)
    index = frames.atoms_of(i) if name == "force" else slice(i, i + 1)
    label: NDArray[Any] = np.asarray(values[index], dtype=np.float64)
    return label
