"""``dpbench.json``: what goes along with an export, and its checks on the way back.

Beside it lies ``dpbench-frames.npy``, one record a frame: where the frame comes from.
An import trusts neither: paths stay inside the folder, sizes must fit the files, and
every file must have the sha256 that was written down.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import ConfigError, SourceError
from dpbench.io.cards import Card
from dpbench.io.parsed import THEORY_KEYS
from dpbench.store.files import sha256_of_file
from dpbench.store.segment import layout
from dpbench.store.theory.mixture import fingerprint

NAME = "dpbench.json"
"""File name of the sidecar."""

FRAMES_NAME = "dpbench-frames.npy"
"""File name of the table of frames."""

FORMAT = 1
"""Version of the sidecar; readers accept all older ones."""

LARGEST = 1 << 29
"""Bytes of the largest sidecar that is read; one of 300,000 sources is below that."""

UNITS = {
    "length": "angstrom",
    "energy": "eV",
    "force": "eV/angstrom, -dE/dcoord",
    "virial": "eV, -dE/dstrain = -V * stress (tension > 0)",
}
"""What the sidecar says of units."""

OPTIONAL = tuple(layout.OPTIONAL_FRAMES)
"""Facts of a frame that sources may tell: charge, multiplicity ..."""

FRAME_DTYPE = np.dtype(
    [
        ("frame", "<i8"),
        ("source", "<i4"),
        ("step", "<i4"),
        ("n_scf", "<i2"),
        ("pbc", "u1", (3,)),
        *((name, spec.dtype) for name, spec in layout.OPTIONAL_FRAMES.items()),
    ]
)
"""A record of the table of frames: ``frame`` is its place in the dataset, ``source``
counts the sidecar's sources; ``layout.UNKNOWN`` stands for what is not known. A table
of an older release may lack optional facts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """A file of an export."""

    sha256: str
    """Its content."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceEntry:
    """A source file of the exported frames, as the dataset knows it."""

    id: str
    """Identity in the dataset."""
    path: str
    """Where it was, relative to the folder that all sources share: a hint."""
    sha256: str
    """Its content."""
    member: str
    """Which system inside the file; else ""."""
    format: str
    """Format the labels were read from."""
    code: str
    """Program that made the labels."""
    code_version: str | None
    """Its version."""
    theory: str
    """Key into ``theories``."""
    theory_aside: dict[str, Any]
    """What is compared beside the level of theory, as the dataset keeps it."""
    complete: bool
    """Whether the program's own end marker was found."""
    n_read: int
    """Frames that were read from it."""
    notes: tuple[str, ...] = ()
    """What the reader had to say."""
    time_step: float | None = None
    """fs between two steps of molecular dynamics; None = none, or unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemEntry:
    """One system of a DeePMD-kit export."""

    path: str
    """Folder or group."""
    n_frames: int
    """Number of frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """The content of ``dpbench.json``."""

    dpbench_export: int
    """Version of this file."""
    format: str
    """As ``dpbench dataset export`` calls it."""
    dataset: str
    """Version that was exported, e.g. ``water-v2``."""
    version_digest: str
    """Its digest, quarantined frames counted."""
    digest: str
    """Digest of the exported frames: that of a dataset that is made of them alone."""
    n_frames: int
    """Number of frames."""
    n_atoms: int
    """Atoms of all frames."""
    elements: tuple[str, ...]
    """Elements that occur; the type map of DeePMD-kit's formats."""
    precision: str
    """``float32`` or ``float64``: coordinates and forces; all else is float64."""
    created_at: str
    """When the version was made."""
    dpbench_version: str
    """The dpbench that wrote this."""
    is_lossless: bool
    """Whether an import gives ``digest`` again."""
    part: str | None = None
    """Part of a split; None = the whole version."""
    split: str | None = None
    """Digest of that split."""
    n_quarantined: int = 0
    """Quarantined frames of the version; they do not travel."""
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))
    """Units and signs of the dataset; the docs name those of each format."""
    not_held: tuple[str, ...] = ()
    """What this export cannot hold, or other programs will not see."""
    cards: tuple[Card, ...] = ()
    """Title, licence, citation; several if data of several were mixed."""
    theories: dict[str, Any] = field(default_factory=dict)
    """Levels of theory by fingerprint."""
    mixed_theory: tuple[Any, ...] = ()
    """In which keys they contradict each other, if someone allowed that."""
    sources: tuple[SourceEntry, ...] = ()
    """Where the frames come from."""
    systems: tuple[SystemEntry, ...] = ()
    """Systems in the order of the table of frames (DeePMD-kit's folders and groups)."""
    files: dict[str, FileRecord] = field(default_factory=dict)
    """Files by path below the folder; the sidecar itself, the dataset card and the
    Croissant file, which people may edit, are not among them."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        return to_mapping(self)


def read_sidecar(folder: Path) -> Sidecar:
    """Read and check the sidecar of an export.

    Raises:
        SourceError: If there is none, or it is not what dpbench writes.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise SourceError(
                f"{path}: holds {path.stat().st_size} bytes; expected less than "
                f"{LARGEST}. It was not written by dpbench."
            )
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(
            f"{folder}: is no export of dpbench ({NAME}: {error.strerror}). Read other "
            "files with 'dpbench ingest auto PATH'."
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path}: is not JSON; expected what 'dpbench dataset export' wrote. "
            "Export again."
        ) from error
    number = data.get("dpbench_export") if isinstance(data, dict) else None
    if not isinstance(number, int) or number > FORMAT:
        raise SourceError(
            f"{path}: dpbench_export = {number!r}; this dpbench reads up to {FORMAT}. "
            "Update dpbench, or export again."
        )
    try:
        sidecar = from_mapping(Sidecar, data, where=str(path))
    except ConfigError as error:
        raise SourceError(f"{error} Export again.") from error
    _check(path, sidecar)
    return sidecar


def read_frames_table(folder: Path, sidecar: Sidecar) -> NDArray[Any]:
    """Read the table of frames: (frame) records of ``FRAME_DTYPE``.

    Raises:
        SourceError: If it is damaged or does not fit the sidecar.
    """
    path = folder / FRAMES_NAME
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); expected the table of frames."
        ) from error
    expected = (sidecar.n_frames,)
    if not _is_table(stored.dtype) or stored.shape != expected:
        raise SourceError(
            f"{path}: shape {stored.shape} of {stored.dtype}; expected {expected} of "
            f"{FRAME_DTYPE}. Export again."
        )
    table = np.zeros(expected, dtype=FRAME_DTYPE)
    for name in FRAME_DTYPE.names or ():
        known = name in (stored.dtype.names or ())
        table[name] = stored[name] if known else layout.UNKNOWN[name]
    source = table["source"]
    if len(source) and not 0 <= source.min() <= source.max() < len(sidecar.sources):
        raise SourceError(
            f"{path}: names source {source.max()}; {NAME} lists "
            f"{len(sidecar.sources)}. Export again."
        )
    return table


def _is_table(dtype: np.dtype[Any]) -> bool:
    """Tell whether records hold what is needed, each field of its type."""
    names, known = dtype.names or (), FRAME_DTYPE.names or ()
    has_all = all(name in names for name in known if name not in OPTIONAL)
    return has_all and all(
        name in known and dtype[name] == FRAME_DTYPE[name] for name in names
    )


def check_files(folder: Path, sidecar: Sidecar) -> None:
    """Check that every file is the one that was written.

    Raises:
        SourceError: If one is missing, outside of the folder or changed.
    """
    for name, record in sidecar.files.items():
        path = inside(folder, name)
        if not path.is_file() or path.stat().st_size != record.bytes:
            size = path.stat().st_size if path.is_file() else None
            raise SourceError(
                f"{path}: {'is missing' if size is None else f'{size} bytes'}; "
                f"expected the {record.bytes} bytes that were exported. Copy the "
                "export again."
            )
        if sha256_of_file(path) != record.sha256:
            raise SourceError(
                f"{path}: has changed since the export. Copy it again; data that was "
                "changed on purpose is read by 'dpbench ingest'."
            )


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a sidecar names.

    Raises:
        SourceError: If it would lie outside of the folder.
    """
    pure = PurePosixPath(name)
    is_plain = name and not pure.is_absolute() and ".." not in pure.parts
    path = folder / name
    if not is_plain or "\\" in name or "\0" in name or not _is_below(path, folder):
        raise SourceError(
            f"{folder / NAME}: names the path {name!r}; expected one inside the "
            "export. Nothing was read."
        )
    return path


def hash_files(folder: Path, names: Sequence[str]) -> dict[str, FileRecord]:
    """Hash files of an export."""
    return {
        name: FileRecord(
            sha256=sha256_of_file(folder / name), bytes=(folder / name).stat().st_size
        )
        for name in names
    }


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _check(path: Path, sidecar: Sidecar) -> None:
    folder = path.parent
    for name in [*sidecar.files, *(system.path for system in sidecar.systems)]:
        inside(folder, name)
    if sidecar.n_frames < 1:
        raise SourceError(f"{path}: n_frames = {sidecar.n_frames}; expected some.")
    if FRAMES_NAME not in sidecar.files:
        raise SourceError(f"{path}: lists no {FRAMES_NAME}. Export again.")
    if sidecar.precision not in ("float32", "float64"):
        raise SourceError(
            f"{path}: precision = {sidecar.precision!r}; expected float32 or float64."
        )
    if sidecar.systems:
        total = sum(system.n_frames for system in sidecar.systems)
        if total != sidecar.n_frames or min(s.n_frames for s in sidecar.systems) < 0:
            raise SourceError(
                f"{path}: its systems have {total} frames; n_frames = "
                f"{sidecar.n_frames}. Export again."
            )
    _check_theories(path, sidecar.theories, sidecar.sources)


def _check_theories(
    path: Path, theories: Mapping[str, Any], sources: Sequence[SourceEntry]
) -> None:
    for key, theory in theories.items():
        is_level = isinstance(theory, dict) and set(theory) <= set(THEORY_KEYS)
        if not is_level or fingerprint(theory) != key:
            raise SourceError(
                f"{path}: theory {key[:12]} does not fit its content; it was changed. "
                "Export again."
            )
    for source in sources:
        if source.theory not in theories:
            raise SourceError(
                f"{path}: source {source.path} names theory {source.theory[:12]}, "
                "which is not listed. Export again."
            )
