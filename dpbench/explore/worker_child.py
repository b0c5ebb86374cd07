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
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from dpbench.errors import USER_ERRNOS, DpbenchError, WorkspaceError


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
        channel.send(_answer(function, task))


def _answer(function: Callable[[Any], Any], task: Any) -> tuple[str, Any]:
    """Do a task; say what came of it, or whose trouble it is that nothing did."""
    try:
        return "done", function(task)
    except WorkspaceError as error:
        return "disk", str(error)
    except DpbenchError as error:
        return "error", str(error)
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            return "bug", traceback.format_exc()
        return "disk", disk_words(error)
    except Exception:
        return "bug", traceback.format_exc()


def disk_words(error: OSError) -> str:
    """Word trouble with the disk or its rights."""
    return (
        f"{error.filename or 'the disk'}: {error.strerror}; expected to write there. "
        "Mend that, and start the same command again: what is finished is kept."
    )


def _end_with(line: socket.socket) -> None:
    """End this process group when the other end of the line is gone."""
    line.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
