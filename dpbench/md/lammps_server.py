"""dpbench's side of a LAMMPS in another process: forces for what its ranks hand over.

Each rank writes its atoms into memory that all share, at the place of their ids, and
says so on a socket; once all have, the model is evaluated and each rank reads the
forces of its own. So LAMMPS may have any number of ranks on this machine, in any
environment that has numpy.
"""

import contextlib
import json
import mmap
import os
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import DpbenchError, SimulationError
from dpbench.md.lammps_guest import FORCES, GROW, LENGTH, PROTOCOL, RECORD, STEP
from dpbench.md.moving import MovingStructure
from dpbench.md.skin import Geometry

FIRST_RECORDS = 1024
"""Atoms that the shared memory starts with."""

MOST_RECORDS = 2**31
"""More are a fault of the ids, not a system."""

LONGEST_HELLO = 1 << 16
"""Bytes."""

PATIENCE = 1.0
"""Seconds between looks at whether LAMMPS still lives."""


@dataclass(kw_only=True, slots=True)
class Work:
    """What has been done so far."""

    evaluations: int = 0
    atoms: int = 0
    """Summed over evaluations."""
    model_s: float = 0.0
    """Seconds in the model."""


def evaluated(
    structure: MovingStructure, geometry: Geometry, work: Work
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate; return energy, virial (3, 3), force (atom, 3), energies (atom).

    Raises:
        ModelError: If the model refuses the structure.
    """
    began = time.perf_counter()
    found = structure.evaluate(geometry)
    answer = (
        float(found.energy[0]),
        found.virial[0].cpu().numpy(),
        found.force.cpu().numpy(),
        found.atom_energy.cpu().numpy(),
    )
    work.model_s += time.perf_counter() - began
    work.evaluations += 1
    work.atoms += len(geometry.z)
    return answer


@final
class ForceServer:
    """Answers the ranks of one LAMMPS."""

    def __init__(self, structure: MovingStructure, listener: socket.socket) -> None:
        """Take the model, and a listening Unix socket."""
        self._structure, self._listener = structure, listener
        self._fd = os.memfd_create("dpbench-lammps", os.MFD_CLOEXEC)
        self._records = np.zeros(0, dtype=RECORD)
        self._map(FIRST_RECORDS)
        self._ranks: list[socket.socket] = []
        self._types: list[str] = []
        self.work = Work()

    def close(self) -> None:
        """Let go of sockets and memory."""
        for rank in self._ranks:
            rank.close()
        self._records = np.zeros(0, dtype=RECORD)
        os.close(self._fd)

    def serve(self, is_alive: Callable[[], bool]) -> None:
        """Answer until LAMMPS hangs up.

        Args:
            is_alive: Says whether LAMMPS still runs.

        Raises:
            DpbenchError: What the model refuses; LAMMPS is told first.
            SimulationError: If a rank speaks another protocol.
        """
        if not self._meet(is_alive):
            return
        try:
            while self._step():
                pass
        except DpbenchError as error:
            self._refuse(str(error))
            raise

    def _step(self) -> bool:
        """Answer all ranks once; False once one of them has hung up."""
        steps = [self._step_of(rank) for rank in self._ranks]
        if None in steps:
            return False
        self._answer(steps[0], sum(step.nlocal for step in steps if step))
        return True

    def _meet(self, is_alive: Callable[[], bool]) -> bool:
        """Wait for all ranks; False if LAMMPS ends before."""
        expected = 1
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while len(self._ranks) < expected:
                if selector.select(PATIENCE):
                    expected = self._welcome(self._listener.accept()[0])
                elif not is_alive():
                    return False
        return True

    def _welcome(self, rank: socket.socket) -> int:
        """Read who connects, hand the memory over; return how many ranks there are."""
        self._ranks.append(rank)
        (length,) = LENGTH.unpack(_receive(rank, LENGTH.size) or bytes(4))
        data = _receive(rank, min(length, LONGEST_HELLO))
        hello: dict[str, Any] = json.loads(data or "{}")
        if hello.get("protocol") != PROTOCOL:
            raise SimulationError(
                f"LAMMPS speaks protocol {hello.get('protocol')}; expected {PROTOCOL}."
            )
        self._types = list(hello["types"])
        greeting = GROW.pack(b"G", len(self._records))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(rank, [greeting], [self._fd])
        return int(hello["ranks"])

    def _step_of(self, rank: socket.socket) -> "_Step | None":
        """Wait for a rank's atoms; None once it has hung up."""
        while True:
            data = _receive(rank, GROW.size)
            if data is None:
                return None
            word, number = GROW.unpack(data)
            if word == b"G":
                if number > len(self._records):
                    self._map(max(number, len(self._records) * 3 // 2))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    rank.sendall(GROW.pack(b"G", len(self._records)))
                continue
            rest = _receive(rank, STEP.size - GROW.size)
            if rest is None:
                return None
            _, _, nlocal, *values = STEP.unpack(data + rest)
            return _Step(
                nlocal=nlocal,
                box=np.reshape(values[:9], (3, 3)).astype(np.float64),
                pbc=np.array(values[9:], dtype=np.bool_),
            )

    def _answer(self, step: "_Step | None", natoms: int) -> None:
        if step is None:
            raise RuntimeError("no rank, no step")
        kind = self._records["type"]
        present = np.flatnonzero(kind)
        if len(present) != natoms:
            raise SimulationError(
                f"LAMMPS holds {natoms} atoms with {len(present)} different ids; "
                "expected ids without doubles. Say 'reset_atoms id' before the run."
            )
        numbers = np.array([0, *(SYMBOLS.index(name) for name in self._types)])
        where: slice | NDArray[np.intp] = present
        if natoms and present[-1] == natoms - 1:
            where = slice(natoms)  # ids 1 to N, as nearly always: no index is needed
        geometry = Geometry(
            z=numbers[kind[where]],
            coord=np.ascontiguousarray(self._records["coord"][where]),
            box=step.box,
            pbc=step.pbc,
        )
        energy, virial, force, atoms = evaluated(self._structure, geometry, self.work)
        self._records["force"][where] = force
        self._records["energy"][where] = atoms
        # Before any rank writes the next step's; atoms may have gone by then.
        kind[where] = 0
        self._tell(FORCES.pack(b"F", energy, *virial.ravel().tolist()))

    def _refuse(self, message: str) -> None:
        """Tell all ranks why there are no forces."""
        text = " ".join(message.split()).encode()
        self._tell(FORCES.pack(b"E", float(len(text)), *[0.0] * 9) + text)

    def _tell(self, reply: bytes) -> None:
        """Answer all ranks; one that has gone is noticed when it should speak next."""
        for rank in self._ranks:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                rank.sendall(reply)

    def _map(self, count: int) -> None:
        """Let the shared memory reach so far; what is in it stays."""
        if count > MOST_RECORDS:
            raise SimulationError(
                f"LAMMPS has an atom with the id {count}; expected ids up to about the "
                "number of atoms. Say 'reset_atoms id' before the run."
            )
        os.ftruncate(self._fd, count * RECORD.itemsize)
        mapped = mmap.mmap(self._fd, count * RECORD.itemsize)
        self._records = np.frombuffer(mapped, dtype=RECORD)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    nlocal: int
    box: NDArray[np.float64]
    pbc: NDArray[np.bool_]


def _receive(rank: socket.socket, count: int) -> bytes | None:
    """Wait for so many bytes; None once the other side has hung up."""
    try:
        data = rank.recv(count, socket.MSG_WAITALL)
    except ConnectionResetError:
        return None
    return data if len(data) == count else None
