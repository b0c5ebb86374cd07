"""What rows and tables are called: by what they are about, never by their place."""

import hashlib

from dpbench.eval.record import Record
from dpbench.eval.standing import is_unverified


def table_key(record: Record) -> tuple[str, str, str, str]:
    """Label and digest of the version, part, split: what may be compared."""
    split = record.split.digest if record.split is not None else ""
    return (record.dataset.label, record.dataset.digest, record.part, split)


def row_key(record: Record) -> tuple[str, ...]:
    """Model, backend, precision and machine: what one row is."""
    return (
        record.model.digest,
        record.backend,
        record.precision,
        record.hardware.id,
        # What is only told never takes the place of what was measured or checked.
        *(["unverified"] if is_unverified(record) else []),
    )


def row_id(record: Record) -> str:
    """Name the row that a record goes into."""
    return short_id(*table_key(record), *row_key(record))


def short_id(*words: str) -> str:
    """Twelve hex digits of some words."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
