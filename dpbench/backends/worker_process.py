"""A worker seen from outside: started in its sandbox, asked, stopped.

Whatever a worker does (crash, hang, leak, lie) ends in one error that names the
backend and gives its last words; the caller goes on, or starts another.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

from dpbench.backends.keeper import Keeper, printable
from dpbench.backends.launch import Launch
from dpbench.backends.protocol import (
    PROTOCOL,
    GoneError,
    ProtocolError,
    SharedMemory,
    receive,
    reply_of,
    send,
)
from dpbench.backends.sandbox import sandboxed, unconfined
from dpbench.errors import (
    BackendCrashed,
    BackendError,
    BackendRefused,
    BackendTimeout,
)
from dpbench.io.limits import machine_memory

SERVER = Path(__file__).resolve().parent / "workers" / "serve.py"
"""The script that every worker runs."""

PASSED = (
    "DP_INFER_BATCH_SIZE",
    "DP_INTER_OP_PARALLELISM_THREADS",
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "PATH",
    "TZ",
)
"""Environment variables of this process that a worker gets; credentials stay here."""

PASSED_PREFIXES = (
    "CUDA_",
    "GOMP_",
    "HIP_",
    "HSA_",
    "JAX_",
    "KMP_",
    "LC_",
    "MKL_",
    "NUMBA_NUM_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "ROCR_",
    "TF_",
    "XLA_",
)
"""How others begin that it gets: threads and graphics cards."""

ENDING_SECONDS = 1.0
"""How long a worker that has closed its connection may take to end."""

TEXT = 1000
"""Characters of a worker's message that are passed on."""

Say = Callable[[str], None]


@final
class WorkerProcess:
    """One worker of one backend."""

    def __init__(
        self,
        launch: Launch,
        *,
        scratch: Path,
        readable: Iterable[Path] = (),
        memory_limit: int | None = None,
        is_confined: bool = True,
    ) -> None:
        """Remember what to start.

        Args:
            launch: How the backend is started.
            scratch: The folder that it may write, absolute and without links.
            readable: What it reads besides its own environment.
            memory_limit: Bytes that it may hold; None = four fifths of the machine's.
            is_confined: Whether it runs in a sandbox.
        """
        self.launch = launch
        self.memory = SharedMemory()
        self._scratch = scratch
        self._readable = tuple(readable)
        self._limit = memory_limit or machine_memory() * 4 // 5
        self._is_confined = is_confined
        self._keeper: Keeper | None = None
        self._control: socket.socket | None = None
        self._number = 0
        self._end = "was never started"

    def start(self, *, timeout_s: float) -> dict[str, Any]:
        """Start the worker; return the versions of its Python and numpy.

        Raises:
            BackendError: If it does not start.
        """
        here, there = socket.socketpair()
        self._control = here
        with there:
            fds = (there.fileno(), self.memory.fd)
            self._keeper = Keeper(
                self._command(fds),
                env=worker_variables(self.launch.env, home=self._scratch),
                fds=fds,
                memory_limit=self._limit,
            )
            try:
                self._keeper.start()
            except OSError as error:
                self.stop()
                raise BackendError(
                    f"{self.launch.name}: {error.filename or self.launch.python}: "
                    f"{error.strerror}; expected to start a worker."
                ) from error
        doing = "started"
        hello = self._exchange(None, timeout_s=timeout_s, doing=doing, say=None)
        if hello.get("protocol") != PROTOCOL:
            raise self._liar(
                f"protocol {str(hello.get('protocol'))[:20]!r}, not {PROTOCOL}"
            )
        versions = hello.get("versions")
        if not isinstance(versions, dict):
            raise self._liar("no versions")
        return versions

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._control is not None

    def ask(
        self,
        message: Mapping[str, Any],
        *,
        timeout_s: float,
        doing: str,
        about: str = "",
        say: Say | None = None,
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            message: The request; its number is added.
            timeout_s: How long the answer may take, s.
            doing: What the worker does meanwhile, for messages, e.g. 'opened m.pth'.
            about: What a refusal is about, told where its own words do not name it.
            say: Called with each line that the worker prints, in this thread.

        Raises:
            BackendRefused: If the backend does not do that. The worker goes on.
            BackendError: If the backend failed, or sent what it should not.
            BackendCrashed: If the worker died.
            BackendTimeout: If it took too long; it was stopped.
        """
        name = self.launch.name
        if self._control is None:
            raise BackendCrashed(
                f"{name}: the worker {self._end}; expected one that runs. Start "
                "another with restart()."
            )
        self._number += 1
        numbered = {**message, "id": self._number}
        reply = self._exchange(numbered, timeout_s=timeout_s, doing=doing, say=say)
        try:
            kind, content = reply_of(reply, self._number)
        except ProtocolError as error:
            raise self._liar(str(error)) from error
        if kind == "refused":
            words = printable(content)[:TEXT]
            prefix = "" if about in words else f"{about}: "
            raise BackendRefused(f"{name}: {prefix}{words}")
        if kind == "failed":
            raise BackendError(
                f"{name}: failed while it {doing}: {printable(content)[:TEXT]}"
            )
        return dict(content)

    def stop(self) -> None:
        """End the worker and all that it has started."""
        if self._control is not None:
            self._control.close()
            self._control = None
            self._end = "was stopped"
        if self._keeper is not None:
            self._keeper.kill()

    def close(self) -> None:
        """End the worker and give its memory back."""
        self.stop()
        self.memory.close()

    def liar(self, found: str) -> BackendError:
        """Stop a worker that sent what it should not; return the error to raise."""
        return self._liar(found)

    def _exchange(
        self,
        message: Mapping[str, Any] | None,
        *,
        timeout_s: float,
        doing: str,
        say: Say | None,
    ) -> dict[str, Any]:
        """Send a message if there is one; wait for the next."""
        if self._control is None or self._keeper is None:
            raise GoneError
        until = time.monotonic() + timeout_s
        name = self.launch.name
        try:
            if message is not None:
                send(self._control, message, until=until)
            if say is not None:
                self._pass_lines(say, until)
            return receive(self._control, until=until)
        except TimeoutError:
            self.stop()
            self._end = f"was stopped after {timeout_s:g} s"
            raise BackendTimeout(
                f"{name}: no answer {timeout_s:g} s after the worker {doing}; expected "
                f"one sooner. It was stopped. {self._words()} Allow more time, or ask "
                "for less at once."
            ) from None
        except GoneError:
            self._keeper.wait(ENDING_SECONDS)
            self.stop()
            self._end = self._keeper.how_it_ended()
            raise BackendCrashed(
                f"{name}: the worker {self._end}, as it {doing}; expected an answer. "
                f"{self._words()}"
            ) from None
        except ProtocolError as error:
            raise self._liar(str(error)) from error
        except BaseException:  # Ctrl-C too: the worker must not work on
            self.stop()
            raise

    def _pass_lines(self, say: Say, until: float) -> None:
        """Pass on what the worker prints until its answer is there."""
        if self._control is None or self._keeper is None:
            raise GoneError
        is_ready = False
        while not is_ready and time.monotonic() < until:
            is_ready = wait_readable(self._control, 0.1)
            if is_ready:
                self._keeper.catch_up()
            while self._keeper.lines:
                say(self._keeper.lines.popleft())

    def _liar(self, found: str) -> BackendError:
        if self._keeper is not None:
            self._keeper.catch_up()
        self.stop()
        self._end = "was stopped: it broke the protocol"
        return BackendError(
            f"{self.launch.name}: the worker sent {found}. It was stopped. "
            f"{self._words()}"
        )

    def _words(self) -> str:
        words = self._keeper.last_words() if self._keeper is not None else ""
        return f"Its last words: '{words}'." if words else "It said nothing."

    def _command(self, fds: tuple[int, int]) -> list[str]:
        launch = self.launch
        python = without_links(launch.python)
        adapter = launch.adapter.resolve()
        script = [str(python), "-I", "-B", "-u", str(SERVER), str(adapter)]
        command = [*script, *(str(fd) for fd in fds)]
        if not self._is_confined:
            return unconfined(command, scratch=self._scratch)
        readable = [
            python.parent.parent,
            launch.python.resolve().parent.parent,
            SERVER,
            adapter.parent,  # an adapter may have parts beside it
            *folders_in(launch.env),
            *(path.resolve() for path in self._readable),
        ]
        return sandboxed(command, readable=readable, scratch=self._scratch)


def worker_variables(env: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """Return all environment variables of a worker.

    Args:
        env: What its backend needs.
        home: Where it may write: home, caches and temporary files lie there.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    }
    folder = str(home)
    own = {"HOME": folder, "TMPDIR": folder, "XDG_CACHE_HOME": f"{folder}/.cache"}
    own |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**passed, **own, **env}


def wait_readable(control: socket.socket, seconds: float) -> bool:
    """Wait until something can be received."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def without_links(python: Path) -> Path:
    """Return the path of an interpreter without links to folders.

    The link of a virtual environment's interpreter is what makes it one: it stays.
    """
    return python.parent.resolve() / python.name


def folders_in(env: Mapping[str, str]) -> list[Path]:
    """Return the files and folders that environment variables name."""
    words = (word for value in env.values() for word in value.split(os.pathsep))
    paths = (Path(word) for word in words if word.startswith("/"))
    return [path.resolve() for path in paths if path.exists()]
