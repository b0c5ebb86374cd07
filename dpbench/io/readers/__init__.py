"""The reader table: which module reads which format.

A reader module has one entry, ``read(files: SourceFiles) -> ParsedSource``. Modules are
imported when their format is first read, because lxml, h5py and dpdata are slow to
load and most sources need none of them.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import cast

from dpbench.errors import DpbenchError, SourceError
from dpbench.io.parsed import ParsedSource, SourceFiles

DPDATA_PREFIX = "dpdata:"
"""Formats that dpdata reads are named ``dpdata:FORMAT``, e.g. ``dpdata:psi4/out``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One row of the reader table."""

    format: str
    """Key of the table and of ``SourceFiles.format``."""
    code: str
    """The CODE argument of ``dpbench ingest`` that finds such sources."""
    module: str
    """Module under ``dpbench.io.readers`` that holds ``read``."""
    reader_version: int
    """Part of a segment's identity: raise it when the reader's output changes."""
    fallback: str = ""
    """Module whose ``read(files, surprise)`` takes what this one trips over."""

    def read(self, files: SourceFiles) -> ParsedSource:
        """Read all frames of one calculation.

        Raises:
            SourceError: If nothing at all can be read.
        """
        module = import_module(f"dpbench.io.readers.{self.module}")
        try:
            return cast(ParsedSource, module.read(files))
        except (DpbenchError, MemoryError):
            raise
        # What a reader does not refuse on purpose is a form of file that is new to it.
        except Exception as surprise:
            if not self.fallback:
                raise
            other = import_module(f"dpbench.io.readers.{self.fallback}")
            return cast(ParsedSource, other.read(files, surprise))


READERS: dict[str, Reader] = {
    "qe": Reader(format="qe", code="qe", module="qe.reader", reader_version=2),
    "vasp": Reader(
        format="vasp",
        code="vasp",
        module="vasp.reader",
        reader_version=2,
        fallback="vasp.fallback",
    ),
    "cp2k": Reader(format="cp2k", code="cp2k", module="cp2k.reader", reader_version=3),
    "deepmd/npy": Reader(
        format="deepmd/npy", code="deepmd", module="deepmd.reader", reader_version=2
    ),
    "deepmd/mixed": Reader(
        format="deepmd/mixed", code="deepmd", module="deepmd.reader", reader_version=2
    ),
    "deepmd/raw": Reader(
        format="deepmd/raw", code="deepmd", module="deepmd.reader", reader_version=2
    ),
    "deepmd/hdf5": Reader(
        format="deepmd/hdf5", code="deepmd", module="deepmd.hdf5", reader_version=2
    ),
    "deepmd/lmdb": Reader(
        format="deepmd/lmdb", code="deepmd", module="deepmd.lmdb", reader_version=2
    ),
    "ase/db": Reader(format="ase/db", code="ase", module="ase_db", reader_version=2),
    "parquet": Reader(
        format="parquet", code="parquet", module="parquet", reader_version=1
    ),
    "extxyz": Reader(
        format="extxyz", code="extxyz", module="extxyz.reader", reader_version=2
    ),
    "mlearn": Reader(format="mlearn", code="mlearn", module="mlearn", reader_version=1),
    "dpdata": Reader(
        format="dpdata", code="dpdata", module="dpdata.formats", reader_version=2
    ),
}
"""Readers by format; ``dpdata`` reads every ``dpdata:FORMAT``."""

CODES = (
    "vasp",
    "qe",
    "cp2k",
    "deepmd",
    "extxyz",
    "ase",
    "parquet",
    "mlearn",
    "dpgen",
    "auto",
)
"""The CODE arguments of ``dpbench ingest``, beside ``dpdata:FORMAT``."""


def reader_of(format_name: str) -> Reader:
    """Return the reader of a format, e.g. ``vasp`` or ``dpdata:psi4/out``.

    Raises:
        SourceError: If there is none.
    """
    key = "dpdata" if format_name.startswith(DPDATA_PREFIX) else format_name
    if key in READERS:
        return READERS[key]
    near = get_close_matches(format_name, READERS, n=1)
    hint = f" -- did you mean '{near[0]}'?" if near else ""
    raise SourceError(
        f"format '{format_name}': no reader; expected one of {', '.join(READERS)}"
        f" or dpdata:FORMAT{hint}"
    )
