"""The writer table: which module writes which format, and what the format cannot hold.

A writer module has one entry, ``write(folder: Path, content: Content) -> Written``. It
streams block by block: memory does not grow with the dataset. Modules are imported when
their format is first written, because h5py, lmdb, ase and pyarrow are slow to load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from dpbench.errors import ConfigError
from dpbench.io.exchange.content import Content


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a writer made."""

    positions: list[int] | None = None
    """(frame), position in the content of each frame, in the order in which the files
    hold them; None = that of the content."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Facts that reading back needs; plain JSON, entered into the sidecar."""
    is_lossless: bool = True
    """Whether reading back gives every frame as it was."""
    notes: tuple[str, ...] = ()
    """What the files cannot hold of these frames, beside ``Writer.limits``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """One row of the writer table."""

    format: str
    """What users call it."""
    module: str
    """Module under ``dpbench.io.writers`` that holds ``write``."""
    limits: tuple[str, ...]
    """What no file of this format holds, for users."""

    def write(self, folder: Path, content: Content) -> Written:
        """Write all frames below an empty folder.

        Raises:
            ConfigError: If a package that it needs is not installed.
        """
        try:
            module = import_module(f"dpbench.io.writers.{self.module}")
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"format '{self.format}': needs the package '{error.name}', which is "
                "not installed. Run: python -m pip install 'dpbench[parquet]'"
            ) from error
        return cast(Written, module.write(folder, content))


_SIDECAR_ONLY = (
    "source files, steps and levels of theory stand in dpbench.json and "
    "dpbench-frames.npy beside the data, where other programs do not look"
)

WRITERS: dict[str, Writer] = {
    "deepmd/npy": Writer(
        format="deepmd/npy",
        module="deepmd_npy",
        limits=(_SIDECAR_ONLY,),
    ),
    "deepmd/npy/mixed": Writer(
        format="deepmd/npy/mixed",
        module="deepmd_mixed",
        limits=(_SIDECAR_ONLY,),
    ),
    "deepmd/hdf5": Writer(
        format="deepmd/hdf5",
        module="deepmd_hdf5",
        limits=(_SIDECAR_ONLY,),
    ),
    "deepmd/lmdb": Writer(
        format="deepmd/lmdb",
        module="deepmd_lmdb",
        limits=(_SIDECAR_ONLY,),
    ),
    "extxyz": Writer(
        format="extxyz",
        module="extxyz",
        limits=("the settings of a level of theory: each frame names its id only",),
    ),
    "ase/db": Writer(
        format="ase/db",
        module="ase_db",
        limits=(
            "the part of a virial that is not symmetric: ASE's stress has six numbers; "
            "the full tensor stands in the row's data as 'virial'",
        ),
    ),
    "parquet": Writer(
        format="parquet",
        module="parquet",
        limits=("the settings of a level of theory: each frame names its id only",),
    ),
}
"""Writers by format."""


def writer_of(format_name: str) -> Writer:
    """Return the writer of a format.

    Raises:
        ConfigError: If there is none.
    """
    if format_name not in WRITERS:
        raise ConfigError(
            f"format '{format_name}': cannot be written; expected one of "
            f"{', '.join(WRITERS)}."
        )
    return WRITERS[format_name]
