"""i-PI's socket protocol, seen from the client: bytes in, bytes out, atomic units.

Each message begins with twelve characters, padded with blanks; numbers follow in
the machine's order: integers of 32 bits, floats of 64.

Source:
    V. Kapil et al., Comput. Phys. Commun. 236, 214 (2019); i-PI's user guide, section
    "Communication protocol".
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SimulationError
from dpbench.units import BOHR, HARTREE

HEADER = 12
"""Bytes of a header."""

MOST_ATOMS = 100_000_000
MOST_INIT_BYTES = 1_000_000
"""More than that is not what a server means."""

MOST_BATCH = 100_000

BATCH = re.compile(rb"\bbatch_size\s*:\s*(\d+)")
"""How a server announces batches in the string of INIT, from i-PI 3.2 on."""

DEFAULT_PORT = 31415

PREFIX = "/tmp/ipi_"
"""Where i-PI puts UNIX sockets."""


class ServerGoneError(SimulationError):
    """The server closed the connection, or broke it, without saying EXIT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server listens."""

    unix: str | None = None
    """Name of a UNIX socket: ``/tmp/ipi_NAME``, or a path if it holds a slash."""
    host: str = "localhost"
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        """Word the address for messages."""
        return self.path if self.unix is not None else f"{self.host}:{self.port}"

    @property
    def path(self) -> str:
        """Path of the UNIX socket."""
        name = self.unix or ""
        return name if "/" in name else PREFIX + name

    def connect(self) -> socket.socket:
        """Connect once.

        Raises:
            OSError: If nobody listens there.
        """
        if self.unix is None:
            found = socket.create_connection((self.host, self.port))
            # Messages are short; waiting for more to send would double the time.
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found
        found = socket.socket(socket.AF_UNIX)
        try:
            found.connect(self.path)
        except OSError:
            found.close()
            raise
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Posed:
    """What POSDATA brought."""

    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    box: NDArray[np.float64]
    """(3, 3), Å, rows are cell vectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What FORCEREADY takes back."""

    energy: float
    """eV."""
    force: NDArray[np.float64]
    """(atom, 3), eV/Å."""
    virial: NDArray[np.float64]
    """(3, 3), eV, -dE/dstrain."""


@final
class Wire:
    """One connection to a server."""

    def __init__(self, connection: socket.socket, address: Address) -> None:
        """Take a connected socket; the wire closes it."""
        self._socket = connection
        self._address = address

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def header(self) -> str:
        """Wait for the next message and return its name.

        Raises:
            ServerGoneError: If the server is gone.
            SimulationError: If what came is no header.
        """
        raw = self._receive(HEADER)
        try:
            return raw.decode("ascii").rstrip()
        except UnicodeDecodeError as error:
            raise self.unexpected(repr(raw)) from error

    def init(self) -> tuple[int, int]:
        """Read what follows INIT: index of the bead, and a string.

        Returns:
            The index, and how many structures each POSDATA will bring.

        Raises:
            SimulationError: If the length is none.
        """
        bead = self._integer()
        length = self._integer()
        if not 0 <= length <= MOST_INIT_BYTES:
            raise self.unexpected(f"an INIT of {length} bytes")
        found = BATCH.search(self._receive(length))
        batch = int(found[1]) if found else 1
        if not 1 <= batch <= MOST_BATCH:
            raise self.unexpected(f"batches of {batch} structures")
        return bead, batch

    def positions(self, natoms: int, *, batch: int = 1) -> list[Posed]:
        """Read what follows POSDATA.

        i-PI sends the matrix whose columns are the cell vectors, row after row, and
        its inverse, which is left aside. A batch has its number of atoms first, then
        all cells, then all positions.

        Args:
            natoms: How many atoms the client knows of.
            batch: Structures in the message.

        Raises:
            SimulationError: If the server has another number of atoms, or sends what is
                no number.
        """
        if batch > 1:
            self._expect(natoms)
        cells = self._floats(18 * batch).reshape(batch, 2, 3, 3)[:, 0]
        if batch == 1:
            self._expect(natoms)
        coord = self._floats(3 * natoms * batch).reshape(batch, natoms, 3)
        posed = [
            Posed(coord=places * BOHR, box=columns.T * BOHR)
            for places, columns in zip(coord, cells, strict=True)
        ]
        for one in posed:
            self._check(one)
        return posed

    def _expect(self, natoms: int) -> None:
        """Read the number of atoms."""
        found = self._integer()
        if found == natoms:
            return
        if not 0 <= found <= MOST_ATOMS:
            raise self.unexpected(f"a structure of {found} atoms")
        raise SimulationError(
            f"i-PI server at {self._address}: sends {found} atoms; expected {natoms}, "
            "those of --structure. Give the structure of the simulation."
        )

    def _check(self, posed: Posed) -> None:
        for name, values in (("position", posed.coord), ("cell vector", posed.box)):
            rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(rows):
                raise SimulationError(
                    f"i-PI server at {self._address}: {name} {rows[0]} is no number; "
                    "the simulation has exploded. Look at its time step and start."
                )

    def say(self, name: str) -> None:
        """Send a header alone."""
        self._send(name.encode("ascii").ljust(HEADER))

    def forces(self, answers: Sequence[Answer]) -> None:
        """Send FORCEREADY and what follows it; i-PI's virial has our sign.

        Args:
            answers: One, or those of a batch.
        """
        energy = np.array([one.energy for one in answers]) / HARTREE
        force = np.stack([one.force for one in answers]) * (BOHR / HARTREE)
        virial = np.stack([one.virial.T for one in answers]) / HARTREE
        self._send(
            b"FORCEREADY".ljust(HEADER)
            + energy.tobytes()
            + np.int32(force.shape[1]).tobytes()
            + force.tobytes()
            + virial.tobytes()
            + np.int32(0).tobytes() * len(answers)  # bytes of extra information
        )

    def unexpected(self, what: str) -> SimulationError:
        """Word what no i-PI server says."""
        return SimulationError(
            f"i-PI server at {self._address}: sent {what}; expected STATUS, INIT, "
            "POSDATA, GETFORCE or EXIT. Is it i-PI that listens there?"
        )

    def _integer(self) -> int:
        return int(np.frombuffer(self._receive(4), np.int32)[0])

    def _floats(self, count: int) -> NDArray[np.float64]:
        return np.frombuffer(self._receive(8 * count), np.float64)

    def _receive(self, count: int) -> bytes:
        """Read so many bytes, however many pieces they come in."""
        buffer = bytearray(count)
        view, done = memoryview(buffer), 0
        while done < count:
            try:
                got = self._socket.recv_into(view[done:])
            except OSError as error:
                raise self._gone(error.strerror or str(error)) from error
            if not got:
                raise self._gone("it closed the connection without EXIT")
            done += got
        return bytes(buffer)

    def _send(self, content: bytes) -> None:
        try:
            self._socket.sendall(content)
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from error

    def _gone(self, reason: str) -> ServerGoneError:
        return ServerGoneError(
            f"i-PI server at {self._address}: is gone ({reason}); expected EXIT at "
            "the end of the simulation. Look at the server's log; --reconnect waits "
            "for it to come back."
        )
