"""i-PI's socket protocol, seen from the client: bytes in, bytes out, atomic units.

Each message begins with twelve characters, padded with blanks; numbers follow in
the machine's order: integers of 32 bits, floats of 64.

Source:
    V. Kapil et al., Comput. Phys. Commun. 236, 214 (2019); i-PI's user guide, section
    "Communication protocol".
"""

import socket
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

    def init(self) -> tuple[int, bytes]:
        """Read what follows INIT: index of the bead, and a string.

        Raises:
            SimulationError: If the length is none.
        """
        bead = self._integer()
        length = self._integer()
        if not 0 <= length <= MOST_INIT_BYTES:
            raise self.unexpected(f"an INIT of {length} bytes")
        return bead, self._receive(length)

    def positions(self, natoms: int) -> Posed:
        """Read what follows POSDATA.

        i-PI sends the matrix whose columns are the cell vectors, row after row, and
        its inverse, which is left aside.

        Args:
            natoms: How many atoms the client knows of.

        Raises:
            SimulationError: If the server has another number of atoms, or sends what is
                no number.
        """
        columns = self._floats(9).reshape(3, 3)
        self._floats(9)
        found = self._integer()
        if found != natoms:
            if not 0 <= found <= MOST_ATOMS:
                raise self.unexpected(f"a structure of {found} atoms")
            raise SimulationError(
                f"i-PI server at {self._address}: sends {found} atoms; expected "
                f"{natoms}, those of --structure. Give the structure of the simulation."
            )
        coord = self._floats(3 * natoms).reshape(natoms, 3)
        posed = Posed(coord=coord * BOHR, box=columns.T * BOHR)
        for name, values in (("position", posed.coord), ("cell vector", posed.box)):
            rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(rows):
                raise SimulationError(
                    f"i-PI server at {self._address}: {name} {rows[0]} is no number; "
                    "the simulation has exploded. Look at its time step and start."
                )
        return posed

    def say(self, name: str) -> None:
        """Send a header alone."""
        self._send(name.encode("ascii").ljust(HEADER))

    def forces(
        self,
        energy: float,
        force: NDArray[np.float64],
        virial: NDArray[np.float64],
    ) -> None:
        """Send FORCEREADY and what follows it.

        Args:
            energy: eV.
            force: (atom, 3), eV/Å.
            virial: (3, 3), eV, -dE/dstrain, which is i-PI's sign, too.
        """
        self._send(
            b"FORCEREADY".ljust(HEADER)
            + np.float64(energy / HARTREE).tobytes()
            + np.int32(len(force)).tobytes()
            + np.ascontiguousarray(force * (BOHR / HARTREE), np.float64).tobytes()
            + np.ascontiguousarray(virial.T / HARTREE, np.float64).tobytes()
            + np.int32(0).tobytes()  # bytes of extra information
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
