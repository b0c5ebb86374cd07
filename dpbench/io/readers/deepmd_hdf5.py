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
from dpbench.io.parsed import ParsedSource, SourceFiles
from dpbench.io.readers.deepmd import Load, SystemParts, parse


def systems_in(path: Path) -> tuple[str, ...]:
    """Return the groups of an HDF5 file that are systems; none if it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return tuple(_system_names(file))
    except OSError:
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
        file = h5py.File(path, "r")
    except OSError as error:
        raise SourceError(f"{path}: is no readable HDF5 file ({error}).") from error
    with file:
        yield file


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
    names = group["type_map.raw"][()]
    return SystemParts(
        where=where,
        types=np.asarray(group["type.raw"][()], dtype=np.int64).ravel(),
        type_map=tuple(_text(item) for item in np.ravel(names)),
        nopbc=bool(_scalar(group["nopbc"])) if "nopbc" in group else False,
        sets=tuple((f"{where}/{key}", _loader(group[key])) for key in sets),
        ending=".npy",
    )


def _loader(group: Any) -> Load:
    def load(name: str) -> NDArray[np.generic] | None:
        key = f"{name}.npy"
        return np.asarray(group[key][()]) if key in group else None

    return load


def _text(item: object) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _scalar(dataset: Any) -> object:
    return np.ravel(dataset[()])[0] if dataset.size else True
