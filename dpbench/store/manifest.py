"""A segment's manifest: what it holds, from which sources, and its files' hashes."""

import json
from pathlib import Path
from typing import Any

from dpbench.errors import DatasetError
from dpbench.store.workspace import Workspace

NAME = "segment.json"
"""File name of the manifest in a segment's folder."""


def segment_folder(workspace: Workspace, segment_id: str) -> Path:
    """Return the folder of a sealed segment."""
    return workspace.stores / segment_id


def read_manifest(workspace: Workspace, segment_id: str) -> dict[str, Any]:
    """Read the manifest of a sealed segment.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    return read_manifest_in(segment_folder(workspace, segment_id))


def read_manifest_in(folder: Path) -> dict[str, Any]:
    """Read the manifest in a segment's folder.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    path = folder / NAME
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); expected the manifest of a "
            "segment. Restore it from a copy, or ingest its sources again."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"{path}: is not JSON; expected the manifest of a segment. "
            "Restore it from a copy, or ingest its sources again."
        ) from error
    return manifest
