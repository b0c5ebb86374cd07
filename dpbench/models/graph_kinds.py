"""What lies in the graphs that TensorFlow writes, told without loading them.

A frozen ``.pb`` is a protocol buffer: a row of nodes, each with its name and operation.
A ``SavedModel`` is a folder with such a file in it.
"""

from collections.abc import Iterator
from pathlib import Path

from dpbench.errors import ModelError

_NODE, _BYTES, _VARINT, _FIXED64, _FIXED32 = 1, 2, 0, 1, 5

_MARKS = (b"model_attr/", b"descrpt_attr/")
"""Beginnings of names of nodes that DeePMD-kit puts into its graphs."""


def graph_kind(path: Path, content: bytes) -> tuple[str, str] | None:
    """Tell the kind of a protocol buffer, or None where it is none.

    Args:
        path: The file, for messages.
        content: All of it.

    Raises:
        ModelError: If it begins as a graph and ends amidst a node.
    """
    is_ours, count = False, 0
    try:
        for field, start, stop in _fields(content, 0, len(content)):
            if field == _NODE:
                name = _node_name(content, start, stop)
                count += 1
                is_ours = is_ours or name.startswith(_MARKS)
            elif not count:
                return None
    except ValueError as error:
        if count < 3:
            return None
        raise ModelError(
            f"{path}: is a graph of TensorFlow that is truncated after {count} nodes; "
            "expected a whole model file. Get a new copy of it."
        ) from error
    if not count:
        return None
    if is_ours:
        return "deepmd-pb", "frozen graph of DeePMD-kit's TensorFlow backend"
    return "unknown", "graph of TensorFlow, not of DeePMD-kit"


def _node_name(content: bytes, start: int, stop: int) -> bytes:
    """Return the name of a node, which has an operation too.

    Raises:
        ValueError: If this is no node.
    """
    found: dict[int, bytes] = {}
    for field, first, last in _fields(content, start, stop):
        if field > 2 or len(found) == 2:
            break
        found[field] = content[first:last]
    name, operation = found.get(1, b""), found.get(2, b"")
    if not name or not (name + operation).isascii() or not operation.isalnum():
        raise ValueError("no node")
    return name


def _fields(content: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and stop of the fields of a protocol buffer.

    Raises:
        ValueError: If it is none, or cut off.
    """
    while at < stop:
        tag, at = _varint(content, at, stop)
        field, wire = tag >> 3, tag & 7
        size = {_FIXED64: 8, _FIXED32: 4, _VARINT: 0}.get(wire)
        if wire == _BYTES:
            size, at = _varint(content, at, stop)
        if wire == _VARINT:
            _, at = _varint(content, at, stop)
        if not field or size is None or at + size > stop:
            raise ValueError("no field")
        yield field, at, at + size
        at += size


def _varint(content: bytes, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no number")
