"""How long a DFT calculation took, as its own output tells it.

Read from the file when it is asked for: what a calculation took is no part of a dataset
version, whose digest must not depend on the machine.
"""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

TAIL, HEAD = 65_536, 32_768
"""Bytes at either end that are looked at."""

PIECE = 1 << 20
"""Bytes of a packed file that are unpacked at a time."""

_QE = re.compile(r"^ +PWSCF +:.*?CPU +(.*?)WALL", re.MULTILINE)
_QE_PART = re.compile(r"([\d.]+) *([dhms])")
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_VASP = re.compile(r"^ +Elapsed time \(sec\): +([\d.]+)", re.MULTILINE)
_CP2K = re.compile(r"^ CP2K +\d+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +([\d.]+) *$", re.M)

_CORES = (
    re.compile(r"Parallel version \(MPI.*?running on +(\d+) processor"),
    re.compile(r"^ running on +(\d+) total cores", re.MULTILINE),
    re.compile(r"Total number of message passing processes +(\d+)"),
)
_THREADS = (
    re.compile(r"Threads/MPI process: +(\d+)"),
    re.compile(r"Number of threads for this process +(\d+)"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WallTime:
    """What a whole calculation took."""

    seconds: float
    """Wall time of all its frames together, s."""
    cores: int | None
    """Processes times threads, where the output tells them."""


def dft_wall_time(path: Path) -> WallTime | None:
    """Read the wall time of a calculation of QE, VASP (OUTCAR) or CP2K.

    Args:
        path: Its output, plain or packed by gzip.

    Returns:
        None where the file is gone, of another program, or its end is missing.

    Source:
        ``PWSCF : 46.55s CPU 1m52.07s WALL`` of pw.x, ``Elapsed time (sec)`` of VASP,
        the line ``CP2K`` of the timing table of CP2K (largest total time of a rank).
    """
    try:
        first, last = _packed_ends(path) if path.suffix == ".gz" else _ends(path)
    except (OSError, EOFError, zlib.error):
        return None
    head = first.decode("utf-8", errors="replace")
    tail = last.decode("utf-8", errors="replace")
    seconds = _seconds(tail)
    if seconds is None or not seconds > 0:
        return None
    return WallTime(seconds=seconds, cores=_cores(head))


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        return head, file.read(TAIL)


def _packed_ends(path: Path) -> tuple[bytes, bytes]:
    """Unpack a file piece by piece: its end is known when all of it was read."""
    with gzip.open(path, "rb") as file:
        head = tail = file.read(HEAD)
        while piece := file.read(PIECE):
            tail = (tail + piece)[-TAIL:]
        return head, tail


def _seconds(tail: str) -> float | None:
    """Return the last total time of a text."""
    qe = _QE.findall(tail)
    if qe:
        parts = _QE_PART.findall(qe[-1])
        return sum(float(value) * _UNITS[unit] for value, unit in parts)
    for pattern in (_VASP, _CP2K):
        found = pattern.findall(tail)
        if found:
            return float(found[-1])
    return None


def _cores(head: str) -> int | None:
    """Return processes times threads."""
    ranks = [p.search(head) for p in _CORES]
    told = next((int(match[1]) for match in ranks if match), None)
    if told is None:
        return None
    threads = [p.search(head) for p in _THREADS]
    return told * next((int(match[1]) for match in threads if match), 1)
