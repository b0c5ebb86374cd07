"""Fresh interpreters that work for this process, and end when it does."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A process that was started, and the two lines to it."""

    process: "subprocess.Popen[bytes]"
    """Of a process group of its own, which has its number."""
    channel: Any
    """Takes and gives pickled objects."""
    lifeline: socket.socket
    """Breaks when this process ends, however it does; the child watches its end."""


def start_child(module: str, *, environment: Mapping[str, str]) -> Child:
    """Start ``python -m MODULE CHANNEL LIFELINE``, both numbers of descriptors.

    Args:
        module: Its program.
        environment: Variables besides those of this process.

    Raises:
        OSError: If it cannot be started.
    """
    here, there = socket.socketpair()
    life, held = socket.socketpair()
    with there, held:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(there.fileno()), str(held.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            pass_fds=(there.fileno(), held.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a library prints must not mix with results
            process_group=0,  # Ctrl-C is for this process, which ends that one
        )
    return Child(process=process, channel=Connection(here.detach()), lifeline=life)
