"""One task of an ingest: parse a bundle of sources and write their segments.

It runs in a worker process, writes to disk itself and returns a small summary. Running
it again does nothing new: segments are named by what they are made of.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DpbenchError, SourceError, WorkspaceError
from dpbench.frames import concatenate
from dpbench.io.ingest_plan import Bundle, PlannedSource, ReaderTable, read_source
from dpbench.io.parsed import ParsedSource, Quarantine
from dpbench.io.theory_file import TheoryContradictionError, declared
from dpbench.store.digests import frame_digests
from dpbench.store.segment import layout
from dpbench.store.segment.write import SegmentData, write_segment
from dpbench.store.theory.kpoints import reciprocal_lengths
from dpbench.store.theory.levels import ASIDE
from dpbench.store.theory.mixture import fingerprint, is_undeclared


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceResult:
    """What came of one source."""

    path: str
    """The path that names it."""
    n_files: int
    """Number of its files."""
    n_bytes: int
    """Their size."""
    n_kept: int = 0
    """Good frames, repeated ones counted."""
    quarantined: dict[str, int]
    """Frames kept out, by reason; ``repeated`` among them."""
    error: str | None = None
    """Why nothing was read; None if something was."""
    notes: tuple[str, ...] = ()
    """What the reader had to say."""
    is_undeclared: bool = False
    """Whether it tells nothing of its level of theory."""
    is_contradiction: bool = False
    """Whether it failed because it contradicts the level declared for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What came of one task."""

    sources: tuple[SourceResult, ...]
    """One for each source, in order."""
    data: str | None
    """Id of the segment of good frames; None if there are none."""
    quarantine: str | None
    """Id of the segment of frames kept out; None if there are none."""
    theories: tuple[dict[str, Any], ...]
    """Levels of theory of the sources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parsed:
    """One parsed source and its judgement."""

    planned: PlannedSource
    parsed: ParsedSource
    digests: NDArray[np.uint8]
    is_good: NDArray[np.bool_]


def run_task(bundle: Bundle, staging: Path, readers: ReaderTable | None) -> TaskResult:
    """Parse the sources of a bundle and write one segment a role below ``staging``.

    A source that cannot be read is reported, and the others go on.

    Raises:
        WorkspaceError: If the disk is full or cannot be written.
    """
    results: list[SourceResult] = []
    read: list[_Parsed] = []
    for planned in bundle.sources:
        try:
            parsed = _parse(planned, readers)
        except WorkspaceError:
            raise
        except TheoryContradictionError as error:
            result = failure(planned, str(error))
            results.append(replace(result, is_contradiction=True))
        except DpbenchError as error:
            results.append(failure(planned, str(error)))
        # A reader that trips over one file must not end an ingest of thousands: the
        # source is named as failed, with the kind of its error.
        except Exception as error:
            reason = (
                f"{planned.path}: the reader failed, {type(error).__name__}: {error}"
            )
            results.append(failure(planned, reason))
        else:
            read.append(parsed)
            results.append(_result(parsed))
    return TaskResult(
        sources=tuple(results),
        data=_write(staging, read, role="data"),
        quarantine=_write(staging, read, role="quarantine"),
        theories=tuple(item.parsed.theory for item in read),
    )


def failure(planned: PlannedSource, reason: str) -> SourceResult:
    """Say that nothing came of a source."""
    return SourceResult(
        path=planned.path,
        n_files=planned.n_files,
        n_bytes=planned.n_bytes,
        quarantined={},
        error=reason,
    )


def _parse(planned: PlannedSource, readers: ReaderTable | None) -> _Parsed:
    parsed = read_source(planned.files, readers)
    parsed = declared(parsed, planned.theory, where=planned.path)
    if parsed.frames.nframes == 0:
        raise SourceError(
            f"{planned.path}: holds no frame; expected at least one with energy and "
            "forces. Check that the calculation has run."
        )
    digests = frame_digests(
        parsed.frames,
        theory=fingerprint(parsed.theory),
        quarantine=[str(reason) for reason in parsed.quarantine],
        charge=parsed.charge,
        multiplicity=parsed.multiplicity,
    )
    is_good = np.array([reason == Quarantine.NONE for reason in parsed.quarantine])
    return _Parsed(planned=planned, parsed=parsed, digests=digests, is_good=is_good)


def _result(item: _Parsed) -> SourceResult:
    return SourceResult(
        path=item.planned.path,
        n_files=item.planned.n_files,
        n_bytes=item.planned.n_bytes,
        n_kept=int(item.is_good.sum()),
        quarantined=_reasons(item),
        notes=item.parsed.notes,
        is_undeclared=is_undeclared(item.parsed.theory),
    )


def _reasons(item: _Parsed) -> dict[str, int]:
    counts = Counter(str(reason) for reason in item.parsed.quarantine if reason)
    return dict(sorted(counts.items()))


def _write(staging: Path, read: list[_Parsed], *, role: str) -> str | None:
    """Write the segment of one role; None if no source has frames for it."""
    picked = [(item, np.flatnonzero(item.is_good == (role == "data"))) for item in read]
    picked = [(item, rows) for item, rows in picked if len(rows)]
    if not picked:
        return None
    data = SegmentData(
        role=role,
        frames=concatenate([item.parsed.frames.select(rows) for item, rows in picked]),
        source_id=np.repeat(
            np.arange(len(picked), dtype=np.int32), [len(rows) for _, rows in picked]
        ),
        step=np.concatenate([item.parsed.step[rows] for item, rows in picked]),
        n_scf=np.concatenate([item.parsed.n_scf[rows] for item, rows in picked]),
        digests=np.concatenate([item.digests[rows] for item, rows in picked]),
        reasons=[str(item.parsed.quarantine[i]) for item, rows in picked for i in rows],
        sources=[_manifest_entry(item) for item, _ in picked],
        charge=_optional("charge", picked),
        multiplicity=_optional("multiplicity", picked),
        temperature=_optional("temperature", picked),
    )
    return write_segment(staging, data)


def _optional(
    name: str, picked: list[tuple[_Parsed, NDArray[np.intp]]]
) -> NDArray[Any] | None:
    """(frame), an optional fact of the picked frames; None if none is told."""
    told = [getattr(item.parsed, name) for item, _ in picked]
    if all(values is None for values in told):
        return None
    parts = [
        np.full(len(rows), layout.UNKNOWN[name]) if values is None else values[rows]
        for values, (_, rows) in zip(told, picked, strict=True)
    ]
    return np.concatenate(parts).astype(layout.OPTIONAL_FRAMES[name].dtype)


def theory_aside(parsed: ParsedSource) -> dict[str, Any]:
    """Collect what is compared beside the level of theory; empty values left out."""
    aside: dict[str, Any] = {}
    kpoints = parsed.theory.get("kpoints") or {}
    if "mesh" in kpoints:
        # The mesh was made for the first cell, even where the cell changes later.
        frames = parsed.frames
        reciprocal = reciprocal_lengths(frames.box[0], frames.pbc[0])
        aside |= {} if reciprocal is None else {"reciprocal": reciprocal}
    if parsed.potential_hashes:
        aside["hashes"] = parsed.potential_hashes
    return aside


def _manifest_entry(item: _Parsed) -> dict[str, Any]:
    planned, parsed = item.planned, item.parsed
    entry = {
        "id": planned.id,
        "sha256": planned.sha256,
        "path": planned.path,
        "member": planned.files.member,
        "format": parsed.format,
        "reader_version": planned.reader_version,
        "code": parsed.code,
        "code_version": parsed.code_version,
        "theory": fingerprint(parsed.theory),
        ASIDE: theory_aside(parsed),
        "complete": parsed.complete,
        "time_step": parsed.time_step,
        "bytes": planned.n_bytes,
        "n_read": parsed.frames.nframes,
        "n_kept": int(item.is_good.sum()),
        "quarantined": _reasons(item),
        "notes": list(parsed.notes),
    }
    # Only where there is one: manifests of other sources stay as they always were.
    return entry | (
        {"origin": dict(planned.files.origin)} if planned.files.origin else {}
    )
