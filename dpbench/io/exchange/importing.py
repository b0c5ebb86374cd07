"""Import: what ``dpbench dataset export`` wrote, back into a dataset.

Sources keep their names, hashes and levels of theory, so that splits by trajectory work
as before. Every file must be the one that was exported, and every frame passes the gate
again. Where the format holds everything, the digest is the one that was exported.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.config import canonical_json
from dpbench.errors import SourceError
from dpbench.frames import Frames
from dpbench.io.dataset_cards import cards_of, give_card
from dpbench.io.exchange.content import cut
from dpbench.io.exchange.opening import FrameReader, open_export
from dpbench.io.exchange.sidecar import (
    Sidecar,
    SourceEntry,
    check_files,
    read_frames_table,
    read_sidecar,
)
from dpbench.io.gate import judge
from dpbench.store.digests import frame_digests, version_digest
from dpbench.store.references import check_name, name_from
from dpbench.store.segment.write import SegmentData, write_segment
from dpbench.store.staging import staging_folder
from dpbench.store.theory.levels import ASIDE
from dpbench.store.versions import NewContent, Outcome, commit_version
from dpbench.store.workspace import Workspace

SEGMENT_ATOMS = 1_000_000
"""Atoms of the sources that are put into one segment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import came to."""

    sidecar: Sidecar
    """What lay beside the data."""
    digest: str
    """Digest of the frames as they were read back."""
    outcome: Outcome
    """What committing came to."""
    quarantined: dict[str, int]
    """Frames that did not pass the gate, by reason."""

    @property
    def is_same(self) -> bool:
        """Whether every frame is the one that was exported, to the last bit."""
        return self.digest == self.sidecar.digest

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        version = self.outcome.version
        return {
            "exported": self.sidecar.dataset,
            "part": self.sidecar.part,
            "format": self.sidecar.format,
            "label": version.label if version else None,
            "digest": version.digest if version else None,
            "is_new": self.outcome.is_new,
            "n_added": self.outcome.n_added,
            "n_repeated": self.outcome.n_repeated,
            "quarantined": self.quarantined,
            "exported_digest": self.sidecar.digest,
            "read_digest": self.digest,
            "is_same": self.is_same,
            "not_held": list(self.sidecar.not_held),
        }


def default_name(sidecar: Sidecar) -> str:
    """Return the dataset that an export goes to when none is named."""
    name = sidecar.dataset.rpartition("-v")[0] or sidecar.dataset
    return name_from(name if sidecar.part is None else f"{name}-{sidecar.part}")


def import_dataset(
    workspace: Workspace,
    folder: Path,
    *,
    dataset: str | None = None,
    allow_mixed_theory: bool = False,
) -> ImportReport:
    """Read an export back into the next version of a dataset.

    Args:
        workspace: Where to.
        folder: The export.
        dataset: Name of the dataset; None = the one that was exported.
        allow_mixed_theory: As for an ingest.

    Returns:
        What came of it.

    Raises:
        ConfigError: If the dataset's name cannot be used.
        SourceError: If it is no export, or a file is missing, damaged or changed.
        DatasetError: If levels of theory would mix.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    sidecar = read_sidecar(folder)
    name = check_name(default_name(sidecar) if dataset is None else dataset)
    check_files(folder, sidecar)
    table = read_frames_table(folder, sidecar)
    loaded = _Loaded(sidecar)
    with staging_folder(workspace) as staging:
        with open_export(folder, sidecar) as reader:
            for chosen in _bundles(reader, table):
                loaded.take(staging, reader, table, chosen)
        if sidecar.is_lossless and loaded.digest != sidecar.digest:
            raise SourceError(
                f"{folder}: reads as content {loaded.digest[:17]}; expected "
                f"{sidecar.digest[:17]} as it was exported. Nothing was committed. "
                "Export again with this dpbench."
            )
        outcome = commit_version(
            workspace,
            name,
            loaded.content(staging),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            note=f"imported from {sidecar.dataset}, {sidecar.format}",
            allow_mixed_theory=allow_mixed_theory,
        )
    _keep_cards(outcome, sidecar)
    return ImportReport(
        sidecar=sidecar,
        digest=loaded.digest,
        outcome=outcome,
        quarantined=dict(sorted(loaded.reasons.items())),
    )


def _bundles(reader: FrameReader, table: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """Yield positions of the frames of whole sources, in order, for one segment each.

    The atoms of a source are guessed from its first frame: reading all to count them
    would read all twice.
    """
    order = np.lexsort((table["frame"], table["source"]))
    sources, first, counts = np.unique(
        table["source"][order], return_index=True, return_counts=True
    )
    if not len(sources):
        return
    heads = np.concatenate(
        [
            reader.read(order[first[chunk]]).natoms
            for chunk in np.array_split(np.arange(len(first)), -(-len(first) // 1000))
        ]
    )
    ends = first + counts
    for run in cut(np.arange(len(sources)), heads * counts, size=SEGMENT_ATOMS):
        yield order[first[run[0]] : ends[run[-1]]]


class _Loaded:
    """What was read so far."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._data: list[str] = []
        self._quarantine: list[str] = []
        self._digests: list[NDArray[np.uint8]] = []
        self.reasons: Counter[str] = Counter()

    @property
    def digest(self) -> str:
        """Digest of all frames that were read, quarantine counted."""
        return version_digest(np.concatenate(self._digests))

    def content(self, staging: Path) -> NewContent:
        """Return what is to be committed."""
        return NewContent(
            staging=staging,
            data=tuple(self._data),
            quarantine=tuple(self._quarantine),
            theories=tuple(self._sidecar.theories.values()),
        )

    def take(
        self,
        staging: Path,
        reader: FrameReader,
        table: NDArray[Any],
        chosen: NDArray[np.int64],
    ) -> None:
        """Read frames of whole sources and write one segment a role."""
        facts = table[chosen]
        frames = _as_exported(reader.read(chosen), facts, self._sidecar)
        verdict = judge(
            frames, energy_given=frames.has_energy, force_given=frames.has_force
        )
        reasons = [str(reason) for reason in verdict]
        self.reasons.update(reason for reason in reasons if reason)
        digests = np.empty((len(facts), 32), dtype=np.uint8)
        for number in np.unique(facts["source"]).tolist():
            mine = np.flatnonzero(facts["source"] == number)
            digests[mine] = frame_digests(
                frames.select(mine),
                theory=self._sidecar.sources[number].theory,
                quarantine=[reasons[i] for i in mine],
                charge=facts["charge"][mine],
                multiplicity=facts["multiplicity"][mine],
            )
        self._digests.append(digests)
        is_good = np.array([not reason for reason in reasons])
        for role, ids, rows in (
            ("data", self._data, np.flatnonzero(is_good)),
            ("quarantine", self._quarantine, np.flatnonzero(~is_good)),
        ):
            if len(rows):
                data = self._segment(role, frames, facts, rows=rows, digests=digests)
                named = [reasons[i] for i in rows]
                ids.append(write_segment(staging, replace(data, reasons=named)))

    def _segment(
        self,
        role: str,
        frames: Frames,
        facts: NDArray[Any],
        *,
        rows: NDArray[np.intp],
        digests: NDArray[np.uint8],
    ) -> SegmentData:
        used, index = np.unique(facts["source"][rows], return_inverse=True)
        entries = [self._sidecar.sources[i] for i in used.tolist()]

        counts = np.bincount(index.reshape(-1), minlength=len(used)).tolist()
        return SegmentData(
            role=role,
            frames=frames.select(rows),
            source_id=index.reshape(-1).astype(np.int32),
            step=np.array(facts["step"][rows]),
            n_scf=np.array(facts["n_scf"][rows]),
            digests=digests[rows],
            reasons=[""] * len(rows),
            charge=np.array(facts["charge"][rows]),
            multiplicity=np.array(facts["multiplicity"][rows]),
            temperature=np.array(facts["temperature"][rows]),
            sources=[
                _manifest_entry(entry, self._sidecar, n_frames=n)
                for entry, n in zip(entries, counts, strict=True)
            ],
        )


def _as_exported(frames: Frames, facts: NDArray[Any], sidecar: Sidecar) -> Frames:
    """Restore periodicity and precision, which some formats do not hold."""
    single = np.dtype(sidecar.precision)
    return Frames(
        atom_offset=frames.atom_offset,
        z=frames.z,
        coord=frames.coord.astype(single, copy=False),
        force=frames.force.astype(single, copy=False),
        box=frames.box,
        pbc=facts["pbc"].astype(np.bool_),
        energy=frames.energy,
        virial=frames.virial,
        aparam=frames.aparam,
    )


def _manifest_entry(
    entry: SourceEntry, sidecar: Sidecar, *, n_frames: int
) -> Mapping[str, Any]:
    # not the source's own id: an import may hold some of its frames only, and an
    # ingest of the original file must not take it for known
    identity = {"export": sidecar.digest, "source": entry.id, "format": sidecar.format}
    return {
        "id": hashlib.sha256(canonical_json(identity)).hexdigest(),
        "sha256": entry.sha256,
        "path": entry.path,
        "member": entry.member,
        "format": entry.format,
        "reader_version": 0,
        "code": entry.code,
        "code_version": entry.code_version,
        "theory": entry.theory,
        ASIDE: entry.theory_aside,
        "complete": entry.complete,
        "bytes": 0,
        "n_read": entry.n_read,
        "n_kept": n_frames,
        "time_step": entry.time_step,
        "quarantined": {},
        "notes": [
            *entry.notes,
            f"imported from {sidecar.dataset}, {sidecar.format}, {sidecar.digest}",
        ],
    }


def _keep_cards(outcome: Outcome, sidecar: Sidecar) -> None:
    """Give the dataset the licences of what came in, beside its own."""
    version = outcome.version
    if version is None or not outcome.is_new:
        return
    known = cards_of(version)
    for card in sidecar.cards:
        if card not in known:
            give_card(version.workspace, version.name, card, added=True)
