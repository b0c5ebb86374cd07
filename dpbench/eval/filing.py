"""Result records in a workspace: read, find, verify."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.errors import EvaluationError
from dpbench.eval.record import Record, record_from_payload
from dpbench.store import objects
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.workspace import Workspace


def read_records(workspace: Workspace) -> dict[str, Record]:
    """Read all records of a workspace: digest -> record.

    Raises:
        EvaluationError: If one is no valid record.
        DatasetError: If one is damaged.
    """
    return {
        digest: record_from_payload(payload, where=f"result {digest[:12]}")
        for digest, payload in objects.all_of(workspace, "result").items()
    }


def find_record(workspace: Workspace, digest: str) -> tuple[str, dict[str, Any]]:
    """Find one record by its digest or the start of it.

    Raises:
        EvaluationError: If no record, or more than one, fits.
    """
    known = objects.digests(workspace, "result")
    fitting = [name for name in known if name.startswith(digest)]
    if len(fitting) != 1:
        found = f"{len(fitting)} records fit" if fitting else "there is no such record"
        raise EvaluationError(
            f"result {digest}: {found}; expected the digest of one, or its first "
            "digits. See 'dpbench results list'."
        )
    return fitting[0], objects.get(workspace, "result", fitting[0])


def write_record(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a record to a file of its own, as indented JSON.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    text = json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False)
    with disk_errors(path):
        write_atomically(path, (text + "\n").encode())
