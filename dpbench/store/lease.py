"""One writer at a time where file locks cannot be trusted: a lease with a heartbeat.

A lease is a folder of numbered files, and the highest number holds it. To take the
lease is to make the next number, by one exclusive link, which one process alone can
do. Its content names the owner and ends in a counter that a thread of the owner raises
every ``BEAT`` seconds. Whoever waits watches that counter: no two clocks are compared.
A counter that has stood still for ``MISSED_BEATS`` looks belongs to a process that is
gone or stopped, and the next number may be made. A holder that was stopped meanwhile
finds out in ``check``, before it commits.
"""

import getpass
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from dpbench.errors import WorkspaceError
from dpbench.store.files import disk_errors, write_exclusively

BEAT = 2.0
"""Seconds between two beats of a holder."""

MISSED_BEATS = 8
"""Looks, each at least ``BEAT`` after the one before, that must find the counter
unchanged before a lease is taken over."""

FIRST_LOOK = 0.02
"""Seconds before the second look at a lease that is held; most are held so long."""

LONGEST_LOOK = 0.5
"""Seconds between two looks, at most."""

TELL_AFTER = 10.0
"""Seconds of waiting after which the holder is named."""

PATIENCE = 900.0
"""Seconds after which a wait for a holder that lives ends in an error."""

KEPT = 4
"""Leases of the past whose files stay: a slow process may still look at one."""

HELD, RELEASED = "h", "r"
"""States of a lease."""

COUNTER = 12
"""Digits of the counter."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who holds a lease."""

    id: str
    """Unique to this one taking."""
    host: str
    """Name of the machine."""
    place: str
    """Boot and process namespace: where ``pid`` means what it means here."""
    pid: int
    """The process."""
    user: str
    """Whose it is."""

    def __str__(self) -> str:
        """Name the owner to people."""
        return f"{self.user} on {self.host} (process {self.pid})"

    @property
    def is_gone(self) -> bool:
        """Whether this machine knows that the process is no more."""
        if self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False  # somebody else's, and alive
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """What a heartbeat file says at one moment."""

    owner: Owner
    """Whose heart it is."""
    count: int
    """How often it has beaten."""
    is_held: bool
    """False after the owner has let go."""


def this_owner() -> Owner:
    """Describe this process as the owner of something new."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = f"user {os.getuid()}"
    return Owner(
        id=uuid.uuid4().hex,
        host=socket.gethostname(),
        place=_place(),
        pid=os.getpid(),
        user=user,
    )


def read_beat(path: Path) -> Beat | None:
    """Read a heartbeat file; None if it is gone or is none."""
    try:
        head, tail = path.read_text().split("\n")
        return Beat(
            owner=Owner(**json.loads(head)),
            count=int(tail[:-1]),
            is_held=tail[-1] == HELD,
        )
    except (OSError, ValueError, TypeError, IndexError):
        return None


def first_beat(owner: Owner) -> bytes:
    """Return the content of a heartbeat file at its start."""
    return f"{json.dumps(asdict(owner))}\n{_tail(0, HELD)}".encode()


@final
class Heart:
    """Beats in a file of this process until it is stopped.

    The file stays open, so that a process that was stopped for long writes into its
    own file, even when another one has got its name since.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        """Open a file that holds ``first_beat(owner)`` and start to beat."""
        self._descriptor = os.open(path, os.O_RDWR)
        self._offset = len(first_beat(owner)) - COUNTER - 1
        self._count = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go: whoever waits need not watch any longer."""
        self._stopped.set()
        self._thread.join()
        with suppress(OSError):
            self._write(RELEASED)
        os.close(self._descriptor)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT):
            self._count += 1
            with suppress(OSError):  # a beat that is missed; others may come
                self._write(HELD)

    def _write(self, state: str) -> None:
        tail = _tail(self._count, state).encode()
        os.pwrite(self._descriptor, tail, self._offset)
        os.fsync(self._descriptor)


class Watch:
    """Counts the looks at a heart that found it as it was."""

    def __init__(self) -> None:
        """Have seen nothing so far."""
        self._seen: tuple[str, int] | None = None
        self._at: float | None = None
        self.missed = 0

    def look(self, beat: Beat | None) -> None:
        """Take one look (None: at what nobody can read).

        It counts if the last that counted was a beat ago.
        """
        now, seen = time.monotonic(), (beat.owner.id, beat.count) if beat else None
        if self._at is None or seen != self._seen:
            self._seen, self._at, self.missed = seen, now, 0
        elif now - self._at >= BEAT:
            # One look is one miss, however long ago the last: this process itself
            # may have been stopped meanwhile.
            self._at, self.missed = now, self.missed + 1


@final
class Lease:
    """The right to write, as long as ``check`` does not raise."""

    def __init__(self, folder: Path, number: int, owner: Owner) -> None:
        """Hold the lease of that number."""
        self._folder, self._number, self._owner = folder, number, owner
        self._heart = Heart(folder / _name(number), owner)

    def check(self) -> None:
        """Make sure that nobody has taken the lease over.

        Raises:
            WorkspaceError: If somebody has.
        """
        _look_afresh(self._folder)
        number = newest_number(self._folder)
        if number == self._number:
            return
        beat = read_beat(self._folder / _name(number))
        holder = beat.owner if beat else "another process"
        raise WorkspaceError(
            f"{self._folder}: was taken over by {holder}; this process had not "
            "answered, as when it is stopped. Nothing was written to the registry. Run "
            "the command again."
        )

    def release(self) -> None:
        """Let the next one in."""
        self._heart.stop()


@contextmanager
def writer_lease(folder: Path) -> Iterator[Lease]:
    """Wait for the lease, hold it, and let go.

    Args:
        folder: The lease; made if it is missing.

    Raises:
        WorkspaceError: If a holder that lives does not let go for long, or the folder
            cannot be written.
    """
    with disk_errors(folder):
        lease = _take(folder)
    try:
        yield lease
    finally:
        lease.release()


def newest_number(folder: Path) -> int:
    """Return the number that holds the lease or did last; 0 if there was none."""
    names = os.listdir(folder)  # noqa: PTH208  (a Path each would be for nothing)
    return max((int(name) for name in names if name.isdigit()), default=0)


def is_held(folder: Path) -> bool:
    """Tell whether somebody holds a lease, without taking it.

    Of a holder on another machine one beat is waited for: it may be gone.
    """
    try:
        number = newest_number(folder)
    except OSError:
        return False
    beat = read_beat(folder / _name(number))
    if beat is None or not beat.is_held or beat.owner.is_gone:
        return False
    if beat.owner.place == _place():
        return True
    until = time.monotonic() + 2 * BEAT
    while time.monotonic() < until:
        time.sleep(LONGEST_LOOK)
        _look_afresh(folder)
        now = read_beat(folder / _name(newest_number(folder)))
        if now is not None and now != beat:
            return now.is_held
    return False


def _take(folder: Path) -> Lease:
    folder.mkdir(parents=True, exist_ok=True)
    owner, watch = this_owner(), Watch()
    began, pause, has_told = time.monotonic(), FIRST_LOOK, False
    while True:
        number = newest_number(folder)
        beat = read_beat(folder / _name(number)) if number else None
        if number == 0 or _is_free(folder, beat, watch):
            lease = _make_next(folder, number + 1, owner)
            if lease is not None:
                return lease
            time.sleep(FIRST_LOOK)
            continue
        waited = time.monotonic() - began
        if waited > PATIENCE:
            raise _held(folder, beat, waited)
        if waited > TELL_AFTER and not has_told and beat is not None:
            has_told = True
            logger.warning(
                "%s: is held by %s; waiting. It is taken over if that process stops "
                "answering.",
                folder,
                beat.owner,
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK)


def _is_free(folder: Path, beat: Beat | None, watch: Watch) -> bool:
    if beat is not None and not beat.is_held:
        return True
    watch.look(beat)
    is_gone = beat is not None and beat.owner.is_gone
    if not is_gone and watch.missed < MISSED_BEATS:
        return False
    holder = beat.owner if beat else "a process without a name"
    why = "is no more" if is_gone else "has stopped answering"
    logger.warning("%s: taking it over from %s, which %s", folder, holder, why)
    return True


def _make_next(folder: Path, number: int, owner: Owner) -> Lease | None:
    """Make the file of a number; None if another process was first."""
    path = folder / _name(number)
    if not write_exclusively(path, first_beat(owner)):
        return None
    if newest_number(folder) != number:
        path.unlink()  # an old number, made again after its file was tidied away
        return None
    for name in os.listdir(folder):  # noqa: PTH208
        if name.isdigit() and int(name) < number - KEPT:
            (folder / name).unlink(missing_ok=True)
    return Lease(folder, number, owner)


def _look_afresh(folder: Path) -> None:
    """Make an NFS client forget what it remembers of a folder, by writing to it."""
    path = folder / f".{uuid.uuid4().hex}.tmp"
    with suppress(OSError):
        path.touch()
        path.unlink()


def _held(folder: Path, beat: Beat | None, waited: float) -> WorkspaceError:
    holder = beat.owner if beat else "a process without a name"
    return WorkspaceError(
        f"{folder}: has been held by {holder} for {waited:.0f} s, which still answers; "
        "expected it to let go. Wait for it, or end it, and run the command again."
    )


def _name(number: int) -> str:
    return f"{number:012d}"


def _tail(count: int, state: str) -> str:
    return f"{count:0{COUNTER}d}{state}"


def _place() -> str:
    """Name the boot and the process namespace: containers may share a host's name."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{boot} {namespace}"
