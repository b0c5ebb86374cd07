"""Reader of ``deepmd/lmdb``: one LMDB, one msgpack record a frame.

Source: dpdata 1.1 documentation, "deepmd/lmdb"; DeePMD-kit 3.2,
``deepmd/dpmodel/utils/lmdb_data.py``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, join_aparam, offsets
from dpbench.io.gate import judge
from dpbench.io.parsed import ParsedSource, SourceFiles

FILE = "data.mdb"
"""Name of the file in the folder of an LMDB."""

_METADATA = b"__metadata__"
_BLOCK = 1000
_TYPES = ("float32", "float64", "int32", "int64")
_SPELLINGS = {
    "coord": ("coords", "coord"),
    "box": ("cells", "box"),
    "energy": ("energies", "energy"),
    "force": ("forces", "force"),
    "virial": ("virials", "virial"),
    "atype": ("atom_types", "atype"),
    "aparam": ("aparam",),
}


def read(files: SourceFiles) -> ParsedSource:
    """Read all frames of an LMDB.

    Raises:
        SourceError: If it is no LMDB of DeePMD-kit's, or a record is damaged.
    """
    path = files.main.parent if files.main.is_file() else files.main
    with LmdbFrames(path) as database:
        n = database.nframes
        parts = [
            database.read(range(start, min(start + _BLOCK, n)))
            for start in range(0, n, _BLOCK)
        ]
    frames = concatenate(parts)
    return ParsedSource(
        code="unknown",
        code_version=None,
        format="deepmd/lmdb",
        frames=frames,
        step=np.arange(n, dtype=np.int32),
        n_scf=np.full(n, -1, dtype=np.int16),
        quarantine=judge(
            frames, energy_given=frames.has_energy, force_given=frames.has_force
        ),
        theory={},
        complete=True,
    )


@final
class LmdbFrames:
    """An open LMDB whose frames can be read in any order."""

    def __init__(self, folder: Path) -> None:
        """Open it and read its metadata.

        Raises:
            SourceError: If it is cut, or its metadata are missing or damaged.
        """
        self._where = folder / FILE
        try:
            size = self._where.stat().st_size
            self._environment = lmdb.open(
                str(folder), readonly=True, lock=False, readahead=False, create=False
            )
        except (OSError, lmdb.Error) as error:
            raise SourceError(
                f"{self._where}: is no readable LMDB ({error})."
            ) from error
        try:
            self._refuse_cut(size)
            self._transaction = self._environment.begin()
            self._read_metadata()
        except BaseException:
            self._environment.close()
            raise

    def __enter__(self) -> "LmdbFrames":
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._transaction.abort()
        self._environment.close()

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read frames, in the order of ``indices``.

        Raises:
            SourceError: If one is missing or damaged.
        """
        records = [self._record(int(index)) for index in indices]
        coord = [record["coord"].reshape(-1, 3) for record in records]
        forces = [
            record.get("force", np.full_like(x, np.nan)).reshape(-1, 3)
            for record, x in zip(records, coord, strict=True)
        ]
        counts = [len(x) for x in coord]
        n = len(records)
        empty = np.zeros((0, 3))
        return Frames(
            atom_offset=offsets(counts),
            z=np.concatenate([*(r["z"] for r in records), np.zeros(0, np.uint8)]),
            coord=np.concatenate(coord) if n else empty,
            force=np.concatenate(forces) if n else empty,
            box=_stack(records, "box", (3, 3)),
            pbc=np.array([["box" in r] * 3 for r in records], np.bool_).reshape(n, 3),
            energy=_stack(records, "energy", ()),
            virial=_stack(records, "virial", (3, 3)),
            aparam=join_aparam([record.get("aparam") for record in records], counts),
        )

    def _refuse_cut(self, size: int) -> None:
        page = self._environment.stat()["psize"]
        needed = (self._environment.info()["last_pgno"] + 1) * page
        if size < needed:
            raise SourceError(
                f"{self._where}: {size} bytes; expected {needed}. The file is cut; "
                "copy it again."
            )

    def _read_metadata(self) -> None:
        raw = self._transaction.get(_METADATA)
        metadata = _unpack(raw, f"{self._where}: __metadata__")
        names = metadata.get("type_map")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SourceError(
                f"{self._where}: __metadata__ has no type_map; expected the elements."
            )
        # placeholder names of types without atoms are allowed
        self._numbers = np.array([_number(name) for name in names], dtype=np.int64)
        self._names = names
        nframes = metadata.get("nframes")
        self._format = str(metadata.get("frame_idx_fmt", "012d"))
        entries = self._transaction.stat()["entries"]
        if not isinstance(nframes, int) or not 0 <= nframes < entries:
            raise SourceError(
                f"{self._where}: nframes = {nframes!r}, but it holds {entries} "
                "records. Export it again."
            )
        self.nframes = nframes
        if self._format not in ("d", *(f"0{i}d" for i in range(1, 20))):
            raise SourceError(
                f"{self._where}: frame_idx_fmt = {self._format!r}; expected e.g. 012d."
            )

    def _record(self, index: int) -> dict[str, NDArray[Any]]:
        where = f"{self._where}: frame {index}"
        raw = self._transaction.get(format(index, self._format).encode())
        packed = _unpack(raw, where)
        record: dict[str, NDArray[Any]] = {}
        for name, spellings in _SPELLINGS.items():
            for spelling in spellings:
                if spelling in packed and packed.get(f"find_{name}", 1.0) != 0.0:
                    record[name] = _decode(packed[spelling], f"{where}: {spelling}")
                    break
        if "coord" not in record or "atype" not in record:
            raise SourceError(f"{where}: has no coords or atom_types. Export it again.")
        types = record["atype"].ravel()
        is_real = types >= 0
        if types.size and types.max() >= len(self._numbers):
            raise SourceError(
                f"{where}: atom type {types.max()}; type_map has {len(self._numbers)}."
            )
        z = self._numbers[types[is_real]]
        if (z == 0).any():
            name = self._names[types[is_real][np.flatnonzero(z == 0)[0]]]
            raise SourceError(f"{where}: '{name}' is no element.")
        record["z"] = z.astype(np.uint8)
        return self._shaped(record, is_real, where)

    def _shaped(
        self, record: dict[str, NDArray[Any]], is_real: NDArray[np.bool_], where: str
    ) -> dict[str, NDArray[Any]]:
        """Bring arrays into shape, virtual atoms left out."""
        natoms = len(is_real)
        sizes = {"coord": 3 * natoms, "force": 3 * natoms}
        sizes |= {"box": 9, "virial": 9, "energy": 1}
        for name, size in sizes.items():
            if name in record and record[name].size != size:
                raise SourceError(
                    f"{where}: {name} has {record[name].size} numbers; expected {size}."
                )
        for name in ("coord", "force"):
            if name in record:
                record[name] = record[name].reshape(natoms, 3)[is_real]
        if "aparam" in record:
            count = record["aparam"].size // max(1, natoms)
            if not count or record["aparam"].size != natoms * count:
                raise SourceError(
                    f"{where}: aparam has {record['aparam'].size} numbers; expected "
                    f"as many for each of the {natoms} atoms. Correct the record."
                )
            record["aparam"] = record["aparam"].reshape(natoms, count)[is_real]
        # the reference converters write a cell of zeros for no cell
        if "box" in record and not record["box"].any():
            del record["box"]
        return record


def _stack(
    records: Sequence[dict[str, NDArray[Any]]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    nan = np.full(shape, np.nan)
    rows = [np.asarray(r.get(name, nan), np.float64).reshape(shape) for r in records]
    return np.stack(rows) if rows else np.zeros((0, *shape))


def _number(name: str) -> int:
    try:
        return int(atomic_numbers([name], where="type_map")[0])
    except SourceError:
        return 0


def _unpack(raw: bytes | None, where: str) -> dict[str, Any]:
    if raw is None:
        raise SourceError(f"{where}: is missing; expected a record of DeePMD-kit's.")
    try:
        record = msgpack.unpackb(raw)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise SourceError(f"{where}: is damaged ({error}). Export it again.") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: is no record of DeePMD-kit's.")
    return {
        key.decode(errors="replace") if isinstance(key, bytes) else str(key): value
        for key, value in record.items()
    }


def _decode(value: Any, where: str) -> NDArray[Any]:
    """Turn an encoded array, or a plain number, into an array."""
    if isinstance(value, int | float):
        return np.array(value, dtype=np.float64)
    if not isinstance(value, dict):
        raise SourceError(f"{where}: is no array. Export it again.")
    plain = {k.decode() if isinstance(k, bytes) else k: v for k, v in value.items()}
    kind, data = plain.get("type"), plain.get("data")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind not in _TYPES or not isinstance(data, bytes):
        raise SourceError(f"{where}: array of type {kind!r}; expected {_TYPES}.")
    size = np.dtype(kind).itemsize
    if len(data) % size:
        raise SourceError(f"{where}: {len(data)} bytes of {kind}. Export it again.")
    # the shape that the record declares is not needed: the sizes are known
    return np.frombuffer(data, dtype=np.dtype(kind).newbyteorder("<"))
