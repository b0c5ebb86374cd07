"""The names of dpdata's labelled formats, and which files are of which format."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from dpbench.errors import SourceError
from dpbench.io.folders import abacus_calculation
from dpbench.io.grouping import Folder
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.dpdata.call import XYZ_FORMATS, plugins
from dpbench.io.sniff import Kind

PREFIX = "dpdata:"
"""Formats that dpdata reads are named ``dpdata:FORMAT``."""


def check_format(name: str) -> None:
    """Check that dpdata reads labelled frames of a format.

    Raises:
        SourceError: If it does not; the nearest names are told.
    """
    known = labelled_formats()
    if name in known:
        return
    near = get_close_matches(name, known, n=3)
    hint = f" -- did you mean {' or '.join(near)}?" if near else ""
    near = [
        other for other in known if other.partition("/")[0] == name.partition("/")[0]
    ]
    raise SourceError(
        f"format 'dpdata:{name}': dpdata reads no energies and forces of that name; "
        f"expected one of {', '.join(near or known)}{hint}"
    )


def labelled_formats() -> tuple[str, ...]:
    """Names of all formats from which dpdata reads energies and forces."""
    return tuple(sorted(plugins()))


def sources_in(name: str, folder: Folder) -> list[SourceFiles]:
    """Return the sources of a dpdata format in one folder, told by content or name."""
    return [
        SourceFiles(format=f"{PREFIX}{name}", paths=(path,))
        for path in _paths_in(name, folder)
    ]


_KINDS: dict[str, Kind] = {
    "vasp/outcar": Kind.OUTCAR,
    "outcar": Kind.OUTCAR,
    "vasp/xml": Kind.VASPRUN,
    "xml": Kind.VASPRUN,
    "siesta/output": Kind.SIESTA,
    "siesta/aimd_output": Kind.SIESTA,
    "fhi_aims/scf": Kind.FHI_AIMS,
    "fhi_aims/md": Kind.FHI_AIMS,
    "fhi_aims/output": Kind.FHI_AIMS,
    "gaussian/log": Kind.GAUSSIAN,
    "gaussian/md": Kind.GAUSSIAN,
    "orca/spout": Kind.ORCA,
    "psi4/out": Kind.PSI4,
    "pwmat/movement": Kind.PWMAT_MOVEMENT,
    "movement": Kind.PWMAT_MOVEMENT,
    "qe/pw/scf": Kind.QE_OUTPUT,
    "cp2k/output": Kind.CP2K_LOG,
    **dict.fromkeys(XYZ_FORMATS, Kind.EXTXYZ),
}
_SUFFIXES = {"gaussian/fchk": ".fchk", "ase/traj": ".traj", "n2p2": "input.data"}


def _paths_in(name: str, folder: Folder) -> Iterator[Path]:
    if name.startswith("abacus/"):
        if abacus_calculation(folder) == name.rpartition("/")[2]:
            yield folder.path
    elif name.endswith("lmdb"):
        if "data.mdb" in folder.kinds:
            yield folder.path
    elif name.startswith("deepmd"):
        if "type.raw" in folder.kinds:
            yield folder.path
    elif name in _KINDS:
        yield from (folder.path / file for file in folder.names(_KINDS[name]))
    elif name in _SUFFIXES:
        for file in folder.kinds:
            if file.endswith(_SUFFIXES[name]):
                yield folder.path / file
