"""Which units a workspace holds records of.

``suites/KEY.json`` names the record that a unit gave. It is written after the record,
so that a process that is killed between the two measures once more and loses nothing.
"""

import json
from pathlib import Path
from typing import Any

from dpbench.config import canonical_json
from dpbench.errors import DatasetError, EvaluationError
from dpbench.eval.record import record_from_payload
from dpbench.eval.session import Filed
from dpbench.store import objects
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.workspace import Workspace

FORMAT = 1
"""Of the files."""


def find_unit(workspace: Workspace, key: str) -> Filed | None:
    """Find the record of a unit; None where there is none that can be read."""
    try:
        told = json.loads(_path(workspace, key).read_text(encoding="utf-8"))
        digest = str(told["result"])
        if told["format"] != FORMAT:
            return None
        payload = objects.get(workspace, "result", digest)
        record = record_from_payload(payload, where=f"result {digest[:12]}")
    except (OSError, ValueError, KeyError, TypeError, DatasetError, EvaluationError):
        return None  # it is measured again
    return Filed(digest=digest, record=record)


def note_unit(
    workspace: Workspace, key: str, result: str, params: dict[str, Any]
) -> None:
    """Note which record a unit gave.

    Args:
        workspace: Holds the record.
        key: Of the unit on this hardware.
        result: Digest of the record.
        params: What the key is made of, for people who ask why it changed.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    told = {"format": FORMAT, "result": result, "of": params}
    path = _path(workspace, key)
    with disk_errors(path):
        write_atomically(path, canonical_json(told) + b"\n")


def _path(workspace: Workspace, key: str) -> Path:
    return workspace.root / "suites" / f"{key}.json"
