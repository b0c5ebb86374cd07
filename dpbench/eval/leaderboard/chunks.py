"""Records inside the page: compressed in chunks, decoded when a row is opened.

A chunk is JSON, deflated, in base64: row -> its records and which task each is for.
Numbers keep eight digits, and long lists are thinned where a board has many rows; what
was cut is told.
"""

import base64
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dpbench.eval.leaderboard.board import Board, Row
from dpbench.eval.record import Record

CHUNK_BYTES = 200_000
"""Size of a chunk before it is compressed: decoded in a few milliseconds."""

MOST_POINTS = 1000
"""Numbers of a list that a small board keeps."""

FEWEST_POINTS = 48
"""Numbers of a list that any board keeps: enough for a plot."""

POINTS_OF_BOARD = 400_000
"""Numbers that the rows of a board share out."""

DIGITS = 8
"""Significant digits of the numbers of a list."""

MOST_ITEMS = 50
"""Source files, runs and the like of a record."""

_AS_THEY_ARE = frozenset((str, int, bool, type(None)))

LEFT_OUT = frozenset({"errors"})
"""Series of every frame, which nobody looks at here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunks:
    """The compressed records of a board."""

    texts: tuple[str, ...]
    """Base64 of each chunk."""
    counts: tuple[int, ...]
    """Rows of each chunk, in the order of the board."""


def record_chunks(board: Board) -> Chunks:
    """Compress the records of all rows, in the order of the board."""
    rows = [row for table in board.tables for row in table.rows]
    most = max(FEWEST_POINTS, min(MOST_POINTS, POINTS_OF_BOARD // max(len(rows), 1)))
    texts: list[str] = []
    counts: list[int] = []
    for members in _grouped(_row_json(row, most) for row in rows):
        packed = zlib.compress("".join(("[", ",".join(members), "]")).encode(), 6)
        texts.append(base64.b64encode(packed).decode())
        counts.append(len(members))
    return Chunks(texts=tuple(texts), counts=tuple(counts))


def _grouped(texts: Iterator[str]) -> Iterator[list[str]]:
    """Gather texts until they fill a chunk."""
    members: list[str] = []
    size = 0
    for text in texts:
        members.append(text)
        size += len(text)
        if size >= CHUNK_BYTES:
            yield members
            members, size = [], 0
    if members:
        yield members


def _row_json(row: Row, most: int) -> str:
    records = {
        digest: shortened(record, most) for digest, record in row.records.items()
    }
    return _json({"id": row.id, "tasks": row.digests, "records": records})


def _json(value: Any) -> str:
    return json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
        sort_keys=True,
    )


def shortened(record: Record, most: int) -> dict[str, Any]:
    """Turn a record into JSON values, long lists cut.

    Args:
        record: The record.
        most: Numbers that a list may have.

    Returns:
        ``payload``, and ``cut``: name of a list -> how many the record has.
    """
    cut: dict[str, int] = {}
    return {"payload": _plain(record, most, "record", cut), "cut": cut}


def _plain(value: Any, most: int, name: str, cut: dict[str, int]) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in _AS_THEY_ARE:
        return value
    if kind is tuple or kind is list:
        return _plain_list(value, most, name, cut)
    if kind is dict:
        return {key: _plain(item, most, key, cut) for key, item in value.items()}
    return {
        key: _plain(getattr(value, key), most, key, cut)
        for key in kind.__dataclass_fields__
        if key not in LEFT_OUT
    }


def _plain_list(values: Any, most: int, name: str, cut: dict[str, int]) -> list[Any]:
    first = values[0] if values else ""
    is_series = first is None or isinstance(first, float | int | list | tuple)
    limit = most if is_series else MOST_ITEMS
    if len(values) > limit:
        cut[name] = len(values)
        # Lists of one length lose the same places, so that pairs stay pairs.
        values = values[:: -(-len(values) // limit)] if is_series else values[:limit]
    if isinstance(first, float):
        return [_rounded(value) for value in values]
    return [_plain(value, most, name, cut) for value in values]


def _rounded(value: float | None) -> float | None:
    """Keep what a plot shows of a number; it is a third as long."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
