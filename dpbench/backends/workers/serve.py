"""The worker of a foreign backend: ``python -I serve.py ADAPTER CONTROL MEMORY``.

It runs in the backend's own environment and needs numpy and the standard library alone,
on Python 3.9 or newer. ADAPTER is a script that defines ``open_model`` or ``task``;
CONTROL and MEMORY are inherited file descriptors: a socket for messages (JSON behind
their length), and shared memory for arrays. Nothing is pickled. What the backend prints
goes elsewhere and does no harm. docs/backend-protocol.md describes the messages.
"""

import importlib.util
import json
import mmap
import os
import platform
import socket
import struct
import sys
import time
from typing import Any

import numpy as np

PROTOCOL = 1
"""Version of the messages."""

CHUNK = 65536
"""Bytes that are received at once."""

ALIGNMENT = 64
"""Bytes; every array begins at a multiple."""

PREDICTED = ("energy", "force", "virial", "atom_energy")
"""What an adapter's ``evaluate`` may return; the first two it must."""

HEADER = struct.Struct("!I")

ENCODER = json.JSONEncoder(allow_nan=False)


class Refused(Exception):  # noqa: N818 -- says what happened
    """Raised by an adapter for what its backend does not do; the worker goes on."""


class Memory:
    """The shared memory, mapped as far as the other side says that it reaches."""

    def __init__(self, fd: int) -> None:
        """Take the descriptor; nothing is mapped yet."""
        self._fd = fd
        self._size = 0
        self._map = None  # type: Any

    def reach(self, size: int) -> None:
        """Map ``size`` bytes, where fewer are."""
        if size > self._size:
            self._map = mmap.mmap(self._fd, size)
            self._size = size

    def read(self, entries: list) -> dict:
        """Copy the arrays that a message describes: an adapter may keep them."""
        arrays = {}
        for entry in entries:
            shape = tuple(entry["shape"])
            found = np.frombuffer(
                self._map,
                dtype=np.dtype(entry["dtype"]),
                count=count_of(shape),
                offset=entry["offset"],
            )
            arrays[entry["name"]] = found.reshape(shape).copy()
        return arrays

    def write(self, arrays: dict) -> list:
        """Put arrays into the memory from its start; return what describes them."""
        entries, offset = [], 0
        for name, array in arrays.items():
            if offset + array.nbytes > self._size:
                raise ValueError(f"{name}: the shared memory has no room for it")
            place = np.frombuffer(
                self._map, dtype=array.dtype, count=array.size, offset=offset
            )
            place[:] = array.ravel()
            entries.append(
                {
                    "name": name,
                    "dtype": array.dtype.str,
                    "shape": list(array.shape),
                    "offset": offset,
                }
            )
            offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return entries


def count_of(shape: tuple) -> int:
    """Multiply the lengths of all axes."""
    count = 1
    for length in shape:
        count *= length
    return count


def send(control: socket.socket, message: dict) -> None:
    """Send one message."""
    data = ENCODER.encode(message).encode("utf-8")
    control.sendall(HEADER.pack(len(data)) + data)


def receive(control: socket.socket) -> Any:
    """Wait for one message; None once the other side has gone.

    The other side sends the next only after an answer: nothing comes behind one.
    """
    data = bytearray()
    expected = HEADER.size
    while len(data) < expected:
        part = control.recv(CHUNK)  # mostly all of it at once
        if not part:
            return None
        data += part
        if len(data) >= HEADER.size:
            expected = HEADER.size + HEADER.unpack_from(data)[0]
    return json.loads(data[HEADER.size :].decode("utf-8"))


def load_adapter(path: str) -> Any:
    """Import the adapter; ``from serve import Refused`` in it means this module."""
    sys.modules["serve"] = sys.modules[__name__]
    # An adopted installation may need a PYTHONPATH, which -I leaves out.
    paths = os.environ.get("DPBENCH_PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [entry for entry in paths if entry]
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(path + " is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["adapter"] = module
    spec.loader.exec_module(module)
    return module


class Server:
    """What answers messages: an adapter, and the model that it has opened."""

    def __init__(self, adapter_path: str, memory: Memory) -> None:
        """Load the adapter with the first message, so that its error is an answer."""
        self._adapter_path = adapter_path
        self._adapter = None  # type: Any
        self._memory = memory
        self._model = None  # type: Any

    def answer(self, message: dict) -> dict:
        """Do what a message asks; whatever it raises is an answer too."""
        number = message.get("id")
        try:
            if self._adapter is None:
                self._adapter = load_adapter(self._adapter_path)
            does = {
                "open": self._open,
                "evaluate": self._evaluate,
                "task": self._task,
            }[message["do"]]
            return {"id": number, "ok": does(message)}
        except Refused as error:
            return {"id": number, "refused": str(error)}
        except Exception as error:  # a backend may raise anything
            import traceback

            traceback.print_exc()  # to the last words
            text = f"{type(error).__name__}: {error}"
            return {"id": number, "failed": text[:4000]}

    def _open(self, message: dict) -> dict:
        began = time.perf_counter()
        self._model = self._adapter.open_model(message["path"], message["options"])
        facts = dict(self._model.facts)
        return {"facts": facts, "seconds": time.perf_counter() - began}

    def _task(self, message: dict) -> dict:
        began = time.perf_counter()
        result = self._adapter.task(message["name"], message["arguments"])
        return {"result": result, "seconds": time.perf_counter() - began}

    def _evaluate(self, message: dict) -> dict:
        self._memory.reach(message["size"])
        arrays = self._memory.read(message["arrays"])
        coord, atype = arrays.pop("coord"), arrays.pop("atype")
        box, pbc = arrays.pop("box", None), arrays.pop("pbc")
        extra = {name.split(".", 1)[1]: array for name, array in arrays.items()}
        began = time.perf_counter()
        found = self._model.evaluate(coord, box, pbc, atype, extra)
        seconds = time.perf_counter() - began
        checked = _checked(found, coord.shape[0], coord.shape[1])
        return {"arrays": self._memory.write(checked), "seconds": seconds}


def _checked(found: dict, nframes: int, natoms: int) -> dict:
    """Say what is wrong with an adapter's answer, where it can be mended."""
    shapes = {
        "energy": (nframes,),
        "force": (nframes, natoms, 3),
        "virial": (nframes, 3, 3),
        "atom_energy": (nframes, natoms),
    }
    unknown = sorted(set(found) - set(PREDICTED))
    if unknown:
        raise ValueError("the adapter returned unknown arrays: " + ", ".join(unknown))
    arrays = {}
    for name in PREDICTED:
        array = found.get(name)
        if array is None:
            if name in ("energy", "force"):
                raise ValueError(f"the adapter returned no {name}")
            continue
        array = np.asarray(array)
        if array.dtype.kind != "f":
            raise TypeError(f"the adapter returned {name} of dtype {array.dtype}")
        if array.shape != shapes[name]:
            raise ValueError(
                f"the adapter returned {name} of shape {array.shape}; "
                f"expected {shapes[name]}"
            )
        arrays[name] = np.ascontiguousarray(array, dtype=np.float64)
    return arrays


def main(argv: list) -> int:
    """Answer messages until the other side closes the socket."""
    adapter_path, control_fd, memory_fd = argv[0], int(argv[1]), int(argv[2])
    for fd in (control_fd, memory_fd):
        os.set_inheritable(fd, False)  # not for what the backend starts
    control = socket.socket(fileno=control_fd)
    control.setblocking(True)
    server = Server(adapter_path, Memory(memory_fd))
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    send(control, {"protocol": PROTOCOL, "versions": versions})
    while True:
        message = receive(control)
        if message is None:
            return 0
        reply = server.answer(message)
        try:
            send(control, reply)
        except (TypeError, ValueError) as error:  # facts that are not JSON
            send(control, {"id": message.get("id"), "failed": f"its answer: {error}"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
