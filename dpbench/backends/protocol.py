"""Messages and arrays between dpbench and a worker; nothing that arrives is believed.

A message is JSON in UTF-8 behind its length (4 bytes, big-endian) on a socket of its
own. Arrays lie in one shared memory; a message names their dtype, shape and offset.
Nothing is pickled on either side. A reply is checked against what was asked before any
of it is used, and its arrays are copied out before they are looked at, so that a worker
cannot change them afterwards. docs/backend-protocol.md describes the messages.
"""

import fcntl
import json
import math
import mmap
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

PROTOCOL = 1
"""Version of the messages; ``workers/serve.py`` says the same."""

LONGEST = 16 * 1024 * 1024
"""Bytes of the longest message that is taken."""

ALIGNMENT = 64
"""Bytes; every array that is sent begins at a multiple."""

LEAST = 1 << 16
"""Bytes of the shared memory at first."""

PREDICTED = ("energy", "force", "virial", "atom_energy")
"""What an evaluation returns; the first two are required."""

REPLIES = ("ok", "refused", "failed")
"""How a reply may begin."""

HEADER = struct.Struct("!I")

LONGEST_WAIT = 1e6
"""Seconds that a socket can be told to wait at once; a caller may say infinity."""

CHUNK = 1 << 16
"""Bytes that are received at once."""

ENCODER = json.JSONEncoder(allow_nan=False)

Array = NDArray[Any]


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


DECODER = json.JSONDecoder(parse_constant=_no_constant)


class ProtocolError(Exception):
    """A worker sent what no worker should; the text says what."""


class GoneError(Exception):
    """The worker closed its socket."""


@final
class SharedMemory:
    """Memory that a worker maps too; it can grow, and never shrink.

    The seal matters: were the worker free to shrink it, reading would kill this
    process by SIGBUS.
    """

    def __init__(self) -> None:
        """Make it."""
        self.fd = os.memfd_create("dpbench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.size = 0
        self._map: mmap.mmap | None = None
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.reach(LEAST)

    def reach(self, size: int) -> None:
        """Make it at least ``size`` bytes."""
        if size <= self.size:
            return
        size = max(size, 2 * self.size)
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if os.fstat(self.fd).st_size < size:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self.size = size

    def write(self, arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Put arrays into it from its start; return what describes them."""
        entries = []
        self.reach(sum(aligned(array.nbytes) for array in arrays.values()))
        offset = 0
        for name, array in arrays.items():
            place = np.frombuffer(
                self._buffer(), dtype=array.dtype, count=array.size, offset=offset
            )
            place[:] = array.reshape(-1)
            entries.append(
                {
                    "name": name,
                    "dtype": array.dtype.str,
                    "shape": list(array.shape),
                    "offset": offset,
                }
            )
            offset += aligned(array.nbytes)
        return entries

    def copy(self, *, shape: tuple[int, ...], offset: int) -> NDArray[np.float64]:
        """Copy one array of float64 out of it."""
        count = math.prod(shape)
        place = np.frombuffer(self._buffer(), np.float64, count=count, offset=offset)
        return place.reshape(shape).copy()

    def close(self) -> None:
        """Give it back."""
        self._map = None
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def _buffer(self) -> mmap.mmap:
        if self._map is None:
            raise ValueError("the shared memory is closed")
        return self._map


def aligned(nbytes: int) -> int:
    """Round a size up to where the next array may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def send(control: socket.socket, message: Mapping[str, Any], *, until: float) -> None:
    """Send one message.

    Args:
        control: The socket.
        message: What JSON can say.
        until: ``time.monotonic()`` at which to give up.

    Raises:
        TimeoutError: If the worker does not take it.
        GoneError: If the worker is gone.
    """
    data = ENCODER.encode(message).encode()
    control.settimeout(_left(until))
    try:
        control.sendall(HEADER.pack(len(data)) + data)
    except (ConnectionError, BrokenPipeError) as error:
        raise GoneError from error


def receive(control: socket.socket, *, until: float) -> dict[str, Any]:
    """Wait for one message. What comes behind it belongs to no request.

    Raises:
        TimeoutError: If it does not come whole in time.
        GoneError: If the worker is gone.
        ProtocolError: If it is too long or too short, or no JSON object.
    """
    data = bytearray()
    expected = HEADER.size
    has_length = False
    while len(data) < expected:
        control.settimeout(_left(until))
        try:
            part = control.recv(CHUNK)  # mostly all of it at once
        except ConnectionError as error:
            raise GoneError from error
        if not part:
            raise GoneError
        data += part
        if not has_length and len(data) >= HEADER.size:
            (length,) = HEADER.unpack_from(data)
            if length > LONGEST:
                raise ProtocolError(
                    f"a message of {length} bytes; expected at most {LONGEST}"
                )
            expected += length
            has_length = True
    if len(data) > expected:
        raise ProtocolError(f"{len(data) - expected} bytes behind a message")
    return _object(data[HEADER.size :])


def _object(data: bytearray) -> dict[str, Any]:
    try:
        message = DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message that is no JSON ({_short(error)})") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"a message that is a {type(message).__name__}, no object")
    return message


def reply_of(message: Mapping[str, Any], number: int) -> tuple[str, Any]:
    """Return how a reply begins (one of ``REPLIES``) and what it says.

    Raises:
        ProtocolError: If it is no reply, or one to another request.
    """
    found = message.get("id")
    if found != number or not isinstance(found, int) or isinstance(found, bool):
        raise ProtocolError(f"a reply to request {_short(repr(found))}, not {number}")
    kinds = [kind for kind in REPLIES if kind in message]
    if len(kinds) != 1 or len(message) != 2:
        raise ProtocolError(f"a reply with keys {_names(message)}")
    kind = kinds[0]
    content = message[kind]
    if not isinstance(content, dict if kind == "ok" else str):
        raise ProtocolError(f"a reply whose '{kind}' is a {type(content).__name__}")
    return kind, content


def seconds_of(content: Mapping[str, Any], *, total_s: float) -> float:
    """Return the worker's own seconds.

    Args:
        content: The reply.
        total_s: What passed here meanwhile, s.

    Raises:
        ProtocolError: If there are none, or more than that.
    """
    seconds = content.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ProtocolError(f"seconds = {_short(repr(seconds))}; expected a number")
    if not 0 <= seconds <= 1.01 * total_s + 1e-3:  # two clocks
        raise ProtocolError(
            f"seconds = {_short(repr(seconds))}; expected at most the {total_s:g} "
            "that passed"
        )
    return float(seconds)


def read_arrays(
    entries: Any,
    memory: SharedMemory,
    *,
    required: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
) -> dict[str, NDArray[np.float64]]:
    """Copy the arrays of a reply out of the shared memory.

    Args:
        entries: What the reply says of them.
        memory: Where they lie.
        required: name -> shape of those that must be there.
        optional: name -> shape of those that may be.

    Raises:
        ProtocolError: If an array is missing, unknown or there twice, of another
            dtype than float64 or another shape, or lies outside the memory.
    """
    if not isinstance(entries, list) or len(entries) > len(required) + len(optional):
        raise ProtocolError("arrays that are no short list")
    shapes = {**required, **optional}
    arrays: dict[str, NDArray[np.float64]] = {}
    for entry in entries:
        name, offset = _checked_entry(entry, shapes)
        if name in arrays:
            raise ProtocolError(f"{name} twice")
        nbytes = 8 * math.prod(shapes[name])
        if offset + nbytes > memory.size:
            raise ProtocolError(
                f"{name} at bytes {_short(offset)}, {nbytes} long, of a shared memory "
                f"of {memory.size}"
            )
        arrays[name] = memory.copy(shape=shapes[name], offset=offset)
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ProtocolError(f"no {' and no '.join(missing)}")
    return arrays


def _checked_entry(
    entry: Any, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, int]:
    """Return name and offset of an array, if all that is said of it can be true."""
    if not isinstance(entry, dict):
        raise ProtocolError("an array without a description")
    name, offset = entry.get("name"), entry.get("offset")
    if not isinstance(name, str) or name not in shapes:
        raise ProtocolError(f"an array named {_short(repr(name))}")
    if entry.get("dtype") != "<f8":
        raise ProtocolError(
            f"{name} of dtype {_short(repr(entry.get('dtype')))}; expected '<f8'"
        )
    if entry.get("shape") != list(shapes[name]):
        raise ProtocolError(
            f"{name} of shape {_short(repr(entry.get('shape')))}; expected "
            f"{list(shapes[name])}"
        )
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise ProtocolError(f"{name} at offset {_short(repr(offset))}")
    if offset < 0 or offset % 8:
        raise ProtocolError(
            f"{name} at offset {_short(offset)}; expected a multiple of 8"
        )
    return name, offset


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, LONGEST_WAIT)


def _names(message: Mapping[str, Any]) -> str:
    return _short(", ".join(sorted(message)))


def _short(value: object) -> str:
    """Return printable text of bounded length: it ends in a message to the user."""
    text = "".join(c if c.isprintable() else " " for c in str(value)[:200])
    return text if len(text) < 120 else text[:117] + "..."
