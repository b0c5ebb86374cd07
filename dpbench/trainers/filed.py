"""What the workspace knows of a model that a foreign trainer made.

Such a file cannot say where it comes from, so its provenance lies in the registry under
the file's sha256: the same keys as inside an ``m.pth``.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dpbench.backends.trust import digest_of, note_made_here
from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.workspace import Workspace

FORMAT = 1
"""Of the payloads of runs and models."""


def file_models(
    workspace: Workspace, paths: Sequence[Path], provenance: Mapping[str, Any]
) -> str:
    """Register a run and each of its model files, and note that they were made here.

    Args:
        workspace: Takes the objects.
        paths: The files, the model first; others hold the same model in other formats.
        provenance: What is known of the run.

    Returns:
        Digest of the first: ``sha256:`` and that of the file.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    digests = [f"sha256:{note_made_here(workspace.root, path)}" for path in paths]
    filed = {
        "format": FORMAT,
        "created_at": created,
        "run_id": provenance["run_id"],
        "provenance": dict(provenance),
    }
    catalog.register_run(
        workspace, filed | {"kind": "train", "model_digest": digests[0]}
    )
    for path, digest in zip(paths, digests, strict=True):
        own = dict(provenance) | {"model_file": {"path": str(path), "sha256": digest}}
        catalog.register_model(
            workspace,
            filed | {"provenance": own, "digest": digest, "path": str(path)},
        )
    return digests[0]


def provenance_of(workspace: Workspace, path: Path) -> dict[str, Any] | None:
    """Return what the registry says of a model file, by its content; None if nothing.

    Args:
        workspace: Where to look.
        path: The file, or the folder of a SavedModel.

    Raises:
        ModelError: If it cannot be read.
    """
    digest = f"sha256:{digest_of(path)}"
    catalog.synchronise(workspace)
    model = tables.metadata.tables["model"]
    query = (
        select(model.c.payload)
        .where(model.c.digest == digest)
        .order_by(model.c.created_at.desc(), model.c.id)
    )
    with catalog.transaction(workspace, write=False) as connection:
        payloads = list(connection.scalars(query))
    for payload in payloads:
        provenance = payload.get("provenance")
        if isinstance(provenance, dict):
            return dict(provenance)
    return None
