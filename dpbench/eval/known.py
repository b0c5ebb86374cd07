"""What is known of the making of a model: its file tells, or the workspace does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.store.workspace import Workspace
from dpbench.trainers.filed import provenance_of


def known_provenance(
    workspace: Workspace, path: Path, told: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return what is known of a model file.

    Args:
        workspace: Remembers what foreign trainers made here, by the file's sha256.
        path: The file.
        told: What the file says itself; it wins where it names its data.
    """
    told = told or {}
    if "dataset" in told:
        return told
    return {**told, **(provenance_of(workspace, path) or {})}
