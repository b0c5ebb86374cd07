"""The program of a process that does tasks: ``python -m dpbench.explore.worker_child``.

It reads (function, task) pairs from one file descriptor until that closes, and watches
another one whose end means that the process which started it is gone.
"""

import os
import signal
import socket
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from dpbench.errors import DpbenchError


def main(channel_number: int, lifeline_number: int) -> None:
    """Do tasks until the channel closes."""
    for number in (channel_number, lifeline_number):
        os.set_inheritable(number, False)  # a program it starts must not hold them
    line = socket.socket(fileno=lifeline_number)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    channel: Any = Connection(channel_number)
    while True:
        try:
            function, task = channel.recv()
        except EOFError:
            return
        try:
            answer = ("done", function(task))
        except DpbenchError as error:
            answer = ("error", str(error))
        except Exception:
            answer = ("bug", traceback.format_exc())
        channel.send(answer)


def _end_with(line: socket.socket) -> None:
    """End this process group when the other end of the line is gone."""
    line.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
