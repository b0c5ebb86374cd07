"""Frames of an extended XYZ file that dpbench exported, in any order.

The file is scanned once for where its frames begin; the text is then parsed by the keys
and columns that ``io.writers.extxyz`` writes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, offsets
from dpbench.io.readers.extxyz.comment import (
    read_flags,
    read_lattice,
    read_matrix,
    read_pairs,
)

_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
_COLUMNS = {"species:S:1:pos:R:3": 4, "species:S:1:pos:R:3:forces:R:3": 7}
_APARAM = ":aparam:R:"
_NO_MATRIX = np.full((3, 3), np.nan)


@final
class ExtxyzFrames:
    """An open file whose frames can be read in any order."""

    def __init__(self, path: Path) -> None:
        """Open it and find its frames.

        Raises:
            SourceError: If it cannot be read, or is not what dpbench writes.
        """
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error
        try:
            self._edges = self._scan()
        except BaseException:
            self._file.close()
            raise
        self.nframes = len(self._edges) - 1

    def __enter__(self) -> "ExtxyzFrames":
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read frames, in the order of ``indices``.

        Raises:
            SourceError: If one is damaged.
        """
        return concatenate([self._frame(int(index)) for index in indices])

    def _scan(self) -> NDArray[np.int64]:
        """Find the first byte of each frame, and the end of the file."""
        edges = [0]
        while line := self._file.readline():
            try:
                natoms = int(line)
            except ValueError as error:
                raise self._damage(len(edges) - 1, "has no atom count") from error
            for _ in range(natoms + 1):
                if not self._file.readline():
                    raise self._damage(len(edges) - 1, "is cut")
            edges.append(self._file.tell())
        return np.array(edges, dtype=np.int64)

    def _frame(self, index: int) -> Frames:
        self._file.seek(self._edges[index])
        size = int(self._edges[index + 1] - self._edges[index])
        try:
            _, comment, *lines = self._file.read(size).decode("ascii").splitlines()
            return _parse(read_pairs(comment), [line.split() for line in lines])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damage(index, f"is damaged ({error!r})") from error

    def _damage(self, index: int, what: str) -> SourceError:
        return SourceError(
            f"{self._path}: frame {index} {what}; expected what 'dpbench dataset "
            "export' wrote. Export again, or read it with 'dpbench ingest extxyz'."
        )


def _parse(pairs: dict[str, str], rows: list[list[str]]) -> Frames:
    properties, _, count = pairs["properties"].partition(_APARAM)
    first = _COLUMNS[properties]
    width = first + int(count or 0)
    if any(len(row) != width for row in rows):
        raise ValueError(f"expected {width} columns")
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    numbers = numbers.reshape(len(rows), width - 1)
    coord = numbers[:, :3]
    return Frames(
        atom_offset=offsets([len(rows)]),
        z=np.array([_NUMBERS[row[0]] for row in rows], dtype=np.uint8),
        coord=coord,
        force=numbers[:, 3:6] if first > 4 else np.full_like(coord, np.nan),
        box=_matrix(read_lattice(pairs["lattice"]) if "lattice" in pairs else None),
        pbc=np.array([read_flags(pairs["pbc"])], dtype=np.bool_).reshape(1, 3),
        energy=np.array([float(pairs.get("energy", "nan"))]),
        virial=_matrix(read_matrix(pairs["virial"]) if "virial" in pairs else None),
        aparam=numbers[:, first - 1 :] if count else None,
    )


def _matrix(value: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return (_NO_MATRIX if value is None else value).reshape(1, 3, 3)
