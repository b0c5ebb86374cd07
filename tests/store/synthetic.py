"""Frames and versions with random content, for the tests of the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.frames import Frames, offsets
from dpbench.store.digests import frame_digests
from dpbench.store.segment.write import SegmentData, write_segment
from dpbench.store.staging import staging_folder
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import NewContent, Outcome, commit_version
from dpbench.store.workspace import Workspace

THEORY = {"code": "qe", "functional": "LDA-PZ", "cutoff": 400.0}


def random_frames(
    seed: int, natoms: Sequence[int], *, dtype: type = np.float64
) -> Frames:
    """Frames with all labels, a cell, and elements among H, C, O and Si."""
    rng = np.random.default_rng(seed)
    offset = offsets(list(natoms))
    n, total = len(natoms), int(offset[-1])
    return Frames(
        atom_offset=offset,
        z=rng.choice([1, 6, 8, 14], size=total).astype(np.uint8),
        coord=rng.normal(size=(total, 3)).astype(dtype),
        force=rng.normal(size=(total, 3)).astype(dtype),
        box=rng.normal(size=(n, 3, 3)),
        pbc=np.ones((n, 3), dtype=np.bool_),
        energy=rng.normal(size=n),
        virial=rng.normal(size=(n, 3, 3)),
    )


def source_entry(name: str, **values: Any) -> dict[str, Any]:
    """A source as manifests keep it."""
    return {
        "id": fingerprint({"source": name}),
        "sha256": fingerprint({"content": name}),
        "path": f"runs/{name}.out",
        "member": "",
        "format": "qe/pw",
        "reader_version": 1,
        "code": "qe",
        "code_version": "6.7",
        "theory": fingerprint(THEORY),
        "complete": True,
        "bytes": 1000,
        "n_read": 3,
        "n_kept": 3,
        "quarantined": {},
        "notes": [],
        **values,
    }


def segment_data(
    frames: Frames,
    sources: Sequence[dict[str, Any]],
    *,
    source_id: Sequence[int] | None = None,
    role: str = "data",
    reason: str = "",
) -> SegmentData:
    """Segment content; frames belong to the first source unless told otherwise."""
    n = frames.nframes
    ids = np.zeros(n) if source_id is None else np.asarray(source_id)
    return SegmentData(
        role=role,
        frames=frames,
        source_id=ids.astype(np.int32),
        step=np.arange(n, dtype=np.int32),
        n_scf=np.full(n, 7, dtype=np.int16),
        digests=frame_digests(
            frames, theory=sources[0]["theory"], quarantine=[reason] * n
        ),
        reasons=[reason] * n,
        sources=sources,
    )


def commit(
    workspace: Workspace,
    name: str,
    *segments: SegmentData,
    theories: Sequence[dict[str, Any]] = (THEORY,),
    **options: Any,
) -> Outcome:
    """Write the segments and commit them as the next version."""
    with staging_folder(workspace) as staging:
        ids = {"data": [], "quarantine": []}
        for segment in segments:
            ids[segment.role].append(write_segment(staging, segment))
        content = NewContent(
            staging=staging,
            data=tuple(ids["data"]),
            quarantine=tuple(ids["quarantine"]),
            theories=tuple(theories),
        )
        return commit_version(
            workspace, name, content, created_at="2026-01-01T00:00:00+00:00", **options
        )


def new_workspace(folder: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.find(folder / "ws", create=True)


def trajectories(
    workspace: Workspace, name: str, lengths: Sequence[int], *, natoms: int = 4
) -> Outcome:
    """A dataset of one segment a trajectory, named run0, run1 ..."""
    segments = [
        segment_data(
            random_frames(i, [natoms] * length),
            [source_entry(f"{name}-run{i}", n_read=length)],
        )
        for i, length in enumerate(lengths)
    ]
    return commit(workspace, name, *segments)
