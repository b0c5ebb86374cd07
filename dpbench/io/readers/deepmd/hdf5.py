"""Reader of DeePMD-kit systems inside HDF5 files: ``file.hdf5`` or ``file.hdf5#/path``.

Source: DeePMD-kit documentation, "Formats of a system", HDF5 format.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.io.grouping import natural_key
from dpbench.io.limits import active_limits
from dpbench.io.parsed import ParsedSource, SourceFiles
from dpbench.io.readers.deepmd.reader import Load, SystemParts, parse

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises, from deep within, where a file's inner pointers are damaged."""


def systems_in(path: Path) -> tuple[str, ...]:
    """Return the groups of an HDF5 file that are systems; none if it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return tuple(_system_names(file))
    except _DAMAGE:
        return ()


def read(files: SourceFiles) -> ParsedSource:
    """Read all systems of a file, or the one that ``files.member`` names.

    Raises:
        SourceError: If the file is damaged or holds no such system.
    """
    with _opened(files.main) as file:
        names = _system_names(file)
        if files.member:
            wanted = files.member.strip("/")
            if wanted and wanted not in file:
                raise SourceError(
                    f"{files.main}#{files.member}: no such group; expected one of "
                    f"{', '.join('/' + name for name in names) or 'none'}."
                )
            names = [
                name
                for name in names
                if not wanted or name == wanted or name.startswith(f"{wanted}/")
            ]
        if not names:
            raise SourceError(
                f"{files.main}: no group holds type.raw and set.*; expected a DeePMD "
                "HDF5 file, e.g. written by dpdata's deepmd/hdf5."
            )
        systems = [_parts(files.main, file[name or "/"], name) for name in names]
        return parse(systems, format_name=files.format)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        size, end = path.stat().st_size, _end_of_file(path)
        if end is not None and size != end:
            raise OSError(f"{size} bytes, its header says {end}")
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGE as error:
        text = " ".join(str(error).split())
        raise SourceError(
            f"{path}: is no readable HDF5 file ({text}). Copy it again."
        ) from error


def _end_of_file(path: Path) -> int | None:
    """Return the size that the superblock says the file has; None where it does not.

    Source: HDF5 File Format Specification 3.0, "Superblock".
    """
    with path.open("rb") as file:
        block = file.read(64)
    if len(block) < 64 or block[:8] != b"\x89HDF\r\n\x1a\n":
        return None
    start = {0: 40, 1: 44, 2: 28, 3: 28}.get(block[8])
    width = block[13] if block[8] < 2 else block[9]
    if start is None or width != 8:
        return None
    return int.from_bytes(block[start : start + width], "little")


def _values(group: Any, key: str) -> NDArray[np.generic]:
    """Read a dataset that lies in this file, and is no larger than it can be.

    Raises:
        SourceError: If it lies elsewhere, or claims more than the file can hold.
    """
    link = group.get(key, getlink=True)
    dataset = group[key]
    where = f"{group.file.filename}#{group.name}/{key}"
    is_elsewhere = isinstance(link, h5py.ExternalLink) or not hasattr(dataset, "shape")
    if is_elsewhere or dataset.is_virtual or dataset.external:
        raise SourceError(
            f"{where}: is no dataset of this file; expected the numbers themselves. "
            "Export the system again, into one file."
        )
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > active_limits().unpacked_for(stored):
        raise SourceError(
            f"{where}: shape {dataset.shape} would take {dataset.nbytes / 1e6:.3g} MB "
            f"from {stored / 1e6:.3g} MB stored; expected no bomb. If it is sound, "
            "allow more: --limit ratio=2000."
        )
    return np.asarray(dataset[()])


def _system_names(file: Any) -> list[str]:
    names = [""] if "type.raw" in file else []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Group) and "type.raw" in item:
            names.append(name)

    file.visititems(visit)
    return sorted(names, key=lambda name: natural_key(Path(name)))


def _parts(path: Path, group: Any, name: str) -> SystemParts:
    where = f"{path}#/{name}"
    if "type_map.raw" not in group:
        raise SourceError(
            f"{where}/type_map.raw: does not exist; expected the element of each "
            "type. Export the system again with its type map."
        )
    sets = sorted(
        (key for key in group if key.startswith("set.")),
        key=lambda key: natural_key(Path(key)),
    )
    names = _values(group, "type_map.raw")
    return SystemParts(
        where=where,
        types=_values(group, "type.raw").astype(np.int64).ravel(),
        type_map=tuple(_text(item) for item in np.ravel(names)),
        nopbc=bool(_scalar(_values(group, "nopbc"))) if "nopbc" in group else False,
        sets=tuple((f"{where}/{key}", _loader(group[key])) for key in sets),
        ending=".npy",
    )


def _loader(group: Any) -> Load:
    def load(name: str) -> NDArray[np.generic] | None:
        key = f"{name}.npy"
        return _values(group, key) if key in group else None

    return load


def _text(item: object) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _scalar(values: NDArray[np.generic]) -> object:
    return np.ravel(values)[0] if values.size else True
