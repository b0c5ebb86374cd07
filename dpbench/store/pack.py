"""Packing: the same frames in fewer, larger segments, compressed if asked for.

Ingest writes a segment a task. Many small ones mean many small files; packing copies
them into large ones and makes the next version of the dataset, whose content digest is
the same. Older versions go on using the old segments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion
from dpbench.store.masks import kept_rows
from dpbench.store.segment.manifest import read_manifest, segment_folder
from dpbench.store.segment.write import Encoding, SegmentData, write_segment
from dpbench.store.staging import staging_folder
from dpbench.store.versions import NewContent, newest_version, replace_segments
from dpbench.store.workspace import Workspace

TARGET_BYTES = 128_000_000
"""Segments are put together up to this size: some shards of coordinates, and small
enough that packing needs less than a gigabyte of memory."""

ARCHIVE_CHUNK_ROWS = 16_384
"""Rows of a chunk in compressed segments: what one frame costs to read."""

ATOM_BYTES = 2 * 3 * 8 + 1
FRAME_BYTES = 2 * 9 * 8 + 8 + 3

Codec = Literal["zstd", "lz4"]
"""Codecs that there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackReport:
    """What packing came to."""

    label: str
    """The newest version."""
    digest: str
    """Its content, which packing does not change."""
    is_new: bool
    """Whether a version was made; False = there was nothing to pack."""
    segments: tuple[int, int]
    """Number of segments before and after."""
    n_bytes: tuple[int, int]
    """Bytes of their files before and after."""

    def summary(self) -> str:
        """Word it for a person."""
        segments, n_bytes = self.segments, self.n_bytes
        if not self.is_new:
            return f"{self.label}: nothing to pack, {segments[0]} segments"
        return (
            f"{self.label}: {segments[0]} segments, {n_bytes[0] / 1e6:.1f} MB -> "
            f"{segments[1]} segments, {n_bytes[1] / 1e6:.1f} MB; content "
            f"{self.digest[:17]} as before"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "label": self.label,
            "digest": self.digest,
            "is_new": self.is_new,
            "segments": list(self.segments),
            "bytes": list(self.n_bytes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Old:
    """A segment of the version that is packed."""

    number: int
    """Its place in the version."""
    manifest: dict[str, Any]
    first: int
    """Its first frame in version order."""
    nframes: int
    """Frames of the version that it holds."""

    n_bytes: int
    """Their size in memory, in double precision: the same however they are encoded."""


def pack(
    workspace: Workspace,
    name: str,
    *,
    compress: Codec | None = None,
    chunk_rows: int | None = None,
    created_at: str,
) -> PackReport:
    """Put the newest version's frames into fewer, larger segments.

    Segments that are large already, hold no masked row and are encoded as asked for
    are shared with the version before.

    Args:
        workspace: Where the dataset is.
        name: The dataset.
        compress: Codec of the new segments; None = plain bytes, which are mapped.
        chunk_rows: Rows of their chunks; None = 16 384 with a codec, else 65 536.
        created_at: Time, ISO 8601.

    Raises:
        DatasetError: If there is no such dataset, or it is damaged.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    head = newest_version(workspace, name)
    if head is None:
        raise DatasetError(
            f"{name}: there is no such dataset in {workspace.root}; expected one to "
            "pack. See 'dpbench dataset list'."
        )
    if compress is not None and chunk_rows is None:
        chunk_rows = ARCHIVE_CHUNK_ROWS
    encoding = Encoding(compress=compress, chunk_rows=chunk_rows)
    groups = list(_groups(head, encoding))
    before = [segment.manifest for segment in head.segments]
    if all(_is_ready(head, group, encoding) for group in groups):
        return _report(head, before, before, is_new=False)
    with staging_folder(workspace) as staging:
        ids = [_write(head, group, staging, encoding) for group in groups]
        content = NewContent(
            staging=staging, data=tuple(ids), quarantine=(), theories=()
        )
        version = replace_segments(
            workspace, head, content, created_at=created_at, note=_note(encoding)
        )
    after = [read_manifest(workspace, segment) for segment in ids]
    return _report(version, before, after, is_new=True)


def _groups(head: DatasetVersion, encoding: Encoding) -> Iterator[list[_Old]]:
    """Put neighbours together: frames keep their order, and so splits their indices."""
    group: list[_Old] = []
    first = 0
    entries = zip(head.segments, head.payload["data"], strict=True)
    for number, (segment, entry) in enumerate(entries):
        count = len(kept_rows(segment.nframes, entry["excluded"]))
        natoms = int(head.natoms[first : first + count].sum())
        old = _Old(
            number=number,
            manifest=segment.manifest,
            first=first,
            nframes=count,
            n_bytes=natoms * ATOM_BYTES + count * FRAME_BYTES,
        )
        first += count
        filled = sum(item.n_bytes for item in group)
        if filled and filled + old.n_bytes > TARGET_BYTES:
            yield group
            group = []
        group.append(old)
    yield group


def _is_ready(head: DatasetVersion, group: Sequence[_Old], encoding: Encoding) -> bool:
    """Tell whether a group is one segment that can be shared as it is."""
    if len(group) > 1:
        return False
    old = group[0]
    is_masked = any(head.payload["data"][old.number]["excluded"].values())
    packed = old.manifest.get("packed") or {}
    same = (packed.get("compress"), packed.get("chunk_rows")) == (
        encoding.compress,
        encoding.chunk_rows,
    )
    return same and not is_masked


def _write(
    head: DatasetVersion, group: Sequence[_Old], staging: Path, encoding: Encoding
) -> str:
    """Write the segment of a group, or point to the one that is there."""
    if _is_ready(head, group, encoding):
        segment_id: str = group[0].manifest["id"]
        target = segment_folder(head.workspace, segment_id)
        (staging / segment_id).symlink_to(target.absolute())
        return segment_id
    start, stop = group[0].first, group[-1].first + group[-1].nframes
    facts = head.facts[start:stop]
    counts = [len(old.manifest["sources"]) for old in group]
    shift = np.repeat(np.cumsum([0, *counts[:-1]]), [old.nframes for old in group])
    data = SegmentData(
        role="data",
        frames=head.read(np.arange(start, stop)),
        source_id=(facts["source_id"] + shift).astype(np.int32),
        step=facts["step"],
        n_scf=facts["n_scf"],
        digests=np.ascontiguousarray(facts["hash"]),
        reasons=[""] * len(facts),
        # All of them, also those of which no frame is left: a source that is known is
        # not ingested again.
        sources=[source for old in group for source in old.manifest["sources"]],
        charge=facts["charge"],
        multiplicity=facts["multiplicity"],
        temperature=facts["temperature"],
    )
    return write_segment(staging, data, encoding=encoding)


def _note(encoding: Encoding) -> str:
    return "packed" if encoding.compress is None else f"packed, {encoding.compress}"


def _report(
    version: DatasetVersion,
    before: Sequence[dict[str, Any]],
    after: Sequence[dict[str, Any]],
    *,
    is_new: bool,
) -> PackReport:
    return PackReport(
        label=version.label,
        digest=version.digest,
        is_new=is_new,
        segments=(len(before), len(after)),
        n_bytes=(sum(m["bytes"] for m in before), sum(m["bytes"] for m in after)),
    )
