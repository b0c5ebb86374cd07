"""The process that readers run in: ``python -m dpbench.io.reader_child FD FD``.

It gets bundles through one socket, runs them, and says before each source that it
begins with it, so that whoever waits knows which source to blame. It ends when the
process that started it does, however that ends.
"""

import importlib
import os
import pickle
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, final

from dpbench.errors import ConfigError, DpbenchError, WorkspaceError
from dpbench.io.limits import ReaderLimits, limited

IDLE_SECONDS = 300.0
"""A process without work for so long ends; another is started when there is some."""

WARM = ("dpbench.io.ingest_task", "zarr")
"""Imported while the sources are still being hashed."""


class _OutOfMemoryError(BaseException):
    """Passes the net that catches what is wrong with one source.

    What was allocated may still be held: this process is of no use any more.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class _AnnouncingReader:
    """A reader that tells when it begins with a source."""

    reader: Any
    channel: Any
    limits: ReaderLimits

    @property
    def reader_version(self) -> int:
        """That of the reader itself."""
        return int(self.reader.reader_version)

    def read(self, files: Any) -> Any:
        """Say so, and read."""
        self.channel.send(("reading", None))
        try:
            return self.reader.read(files)
        except MemoryError as error:
            raise _OutOfMemoryError(too_large(files.main, self.limits)) from error


@final
class _Announcing(Mapping[str, _AnnouncingReader]):
    """A reader table that tells when a source is begun."""

    def __init__(
        self, readers: Mapping[str, Any] | None, channel: Any, limits: ReaderLimits
    ) -> None:
        self._readers = readers
        self._channel = channel
        self._limits = limits

    def __getitem__(self, key: str) -> _AnnouncingReader:
        from dpbench.io.readers import reader_of

        reader = reader_of(key) if self._readers is None else self._readers[key]
        return _AnnouncingReader(
            reader=reader, channel=self._channel, limits=self._limits
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers or ())

    def __len__(self) -> int:
        return len(self._readers or ())


def main(argv: list[str]) -> int:
    """Serve bundles until the other side closes the socket."""
    channel, lifeline = Connection(int(argv[0])), int(argv[1])
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    paths, folder, limits = channel.recv()
    sys.path[:] = paths
    os.chdir(folder)
    _limit_memory(limits)
    for name in WARM:
        importlib.import_module(name)
    with limited(limits):
        while channel.poll(IDLE_SECONDS):
            try:
                task = channel.recv_bytes()
            except EOFError:
                return 0
            channel.send(_run(channel, task, limits))
    return 0


def too_large(where: object, limits: ReaderLimits) -> str:
    """Say that a source needs more memory than it may have."""
    allowed = "all there is" if limits.memory is None else f"{limits.memory / 1e9:.3g}"
    return (
        f"{where}: the reader needed more than {allowed} GB of memory; expected a "
        "source that fits. Split it, or allow more: --limit memory=16GB."
    )


def _run(channel: Any, task: bytes, limits: ReaderLimits) -> tuple[str, object]:
    """Run one bundle; what is wrong with it goes back, and this process goes on."""
    from dpbench.io.ingest_task import run_task

    try:
        bundle, staging, readers = pickle.loads(task)
    except (AttributeError, ImportError) as error:
        return "error", ConfigError(
            f"reader table: a reader process cannot import it ({error}); expected "
            "readers in an importable module. Move them there, or use workers=0."
        )
    try:
        return "done", run_task(bundle, staging, _Announcing(readers, channel, limits))
    except DpbenchError as error:
        return "error", error
    except _OutOfMemoryError as error:
        return "lost", str(error)
    except MemoryError:
        return "lost", too_large(bundle.sources[0].path, limits)
    except OSError as error:
        return "error", WorkspaceError(f"{staging}: {error}.")


def _limit_memory(limits: ReaderLimits) -> None:
    """Let allocations beyond the limit fail in this process, not elsewhere."""
    if limits.memory is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = limits.memory if hard == resource.RLIM_INFINITY else min(limits.memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _end_with(lifeline: int) -> None:
    """End this process once nobody holds the other end of the lifeline."""
    os.read(lifeline, 1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
