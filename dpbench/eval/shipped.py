"""Result records that ship with dpbench, beside those of a workspace."""

import hashlib
from pathlib import Path

from dpbench.config import canonical_json
from dpbench.errors import EvaluationError
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.strict_json import strict_loads
from dpbench.registry_files import registry_folder


def shipped_records(folder: Path | None = None) -> dict[str, Record]:
    """Read the records of ``registry/results``: digest -> record.

    Args:
        folder: Where they lie; None: where they ship.

    Raises:
        EvaluationError: If one is no valid record, or there is none.
    """
    folder = registry_folder() / "results" if folder is None else folder
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")):
        payload = strict_loads(path.read_bytes(), where=str(path))
        record = record_from_payload(payload, where=str(path))
        found[hashlib.sha256(canonical_json(payload)).hexdigest()] = record
    if not found:
        raise EvaluationError(
            f"{folder}: holds no result record; expected those that ship with dpbench. "
            "Install dpbench again, or leave --shipped out."
        )
    return found
