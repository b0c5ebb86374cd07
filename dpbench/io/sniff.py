"""Which program wrote a file: told from its first kilobytes, hardly from its name."""

import re
from enum import StrEnum
from pathlib import Path

from dpbench.errors import SourceError
from dpbench.io.text import DAMAGE, open_text

HEAD = 16_384
"""Characters looked at. CP2K names itself only after 2 kB of DBCSR settings."""


class Kind(StrEnum):
    """What a file is."""

    OUTCAR = "VASP OUTCAR"
    VASPRUN = "VASP vasprun.xml"
    QE_OUTPUT = "pw.x output"
    QE_INPUT = "pw.x input"
    QE_XML = "pw.x XML file"
    CP2K_LOG = "CP2K log"
    CP2K_TRAJECTORY = "CP2K trajectory file"
    EXTXYZ = "extended XYZ file"
    XYZ = "plain XYZ file"
    HDF5 = "HDF5 file"
    SQLITE = "SQLite file"
    PARQUET = "Parquet file"
    MLEARN = "mlearn JSON file"
    SIESTA = "SIESTA output"
    FHI_AIMS = "FHI-aims output"
    GAUSSIAN = "Gaussian log"
    ORCA = "ORCA output"
    PSI4 = "Psi4 output"
    ABACUS_LOG = "ABACUS log"
    PWMAT_MOVEMENT = "PWmat MOVEMENT"
    EMPTY = "empty file"
    BINARY = "binary file"
    UNREADABLE = "unreadable file"
    UNKNOWN = "unknown file"


_SIGNATURES: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        # The one at the very start of a file comes first: an OUTCAR echoes its INCAR,
        # which may hold any text.
        (Kind.OUTCAR, r"\A\s*vasp\.\d"),
        (Kind.VASPRUN, r"\A\s*(<\?xml[^>]*\?>\s*)?<modeling\b"),
        (
            Kind.QE_XML,
            r"\A\s*(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)*<(qes:espresso|Root)\b",
        ),
        (Kind.CP2K_TRAJECTORY, r"\A[ \t]*\d+[ \t]*\r?\n[ \t]*i =\s+\d+, "),
        # Without an energy or forces it is a mere structure, not an output.
        (
            Kind.EXTXYZ,
            r"\A\s*\d+[ \t]*\r?\n(?=[^\n]*\b(?i:lattice|properties)[ \t]*=)"
            r"[^\n]*(?i:energy|force)",
        ),
        (Kind.XYZ, r"\A\s*\d+[ \t]*\r?\n[^\n]*\b(?i:lattice|properties)[ \t]*="),
        (Kind.XYZ, r"\A\s*\d+[ \t]*\r?\n[^\n]*\n[ \t]*[A-Z][a-z]?(?:\s+-?\d+\.\d*){3}"),
        (
            Kind.MLEARN,
            r"\A\s*\[\s*\{(?s:.*?)\"structure\"\s*:\s*\{[^\[\]]*"
            r"\"pymatgen\.core\.structure\"",
        ),
        (Kind.QE_OUTPUT, r"Program PWSCF\s+v\."),
        (Kind.CP2K_LOG, r"(?m)^ (?:CP2K\| version string|GLOBAL\| Project name)"),
        (Kind.ABACUS_LOG, r"Atomic-orbital Based Ab-initio Computation at UStc"),
        (Kind.SIESTA, r"WELCOME TO SIESTA"),
        (Kind.FHI_AIMS, r"Invoking FHI-aims"),
        (Kind.GAUSSIAN, r"(?m)^\s*Entering Gaussian System"),
        (Kind.ORCA, r"\*\s+O\s+R\s+C\s+A\s+\*"),
        (Kind.PSI4, r"Psi4: An Open-Source"),
        (
            Kind.PWMAT_MOVEMENT,
            r"\A\s*\d+\s+atoms?,\s*Iteration",
        ),
        (Kind.QE_INPUT, r"(?im)^\s*&control\b"),
    )
)


_MAGIC = {
    Kind.HDF5: b"\x89HDF\r\n\x1a\n",
    Kind.SQLITE: b"SQLite format 3\0",
    Kind.PARQUET: b"PAR1",
}
"""First bytes of binary files."""


def sniff(path: Path) -> Kind:
    """Tell the kind of a file from its content; compressed files are unpacked."""
    try:
        if path.stat().st_size == 0:
            return Kind.EMPTY
        with path.open("rb") as raw:
            start = raw.read(16)
        for kind, magic in _MAGIC.items():
            if start.startswith(magic):
                return kind
        with open_text(path) as file:
            head = file.read(HEAD)
    except (*DAMAGE, SourceError):
        return Kind.UNREADABLE
    if "\0" in head:
        return Kind.BINARY
    if not head.strip():
        return Kind.EMPTY
    for kind, pattern in _SIGNATURES:
        if pattern.search(head):
            return kind
    return Kind.UNKNOWN


def read_head(path: Path) -> str:
    """Return the characters that ``sniff`` looks at; empty if unreadable."""
    try:
        with open_text(path) as file:
            return file.read(HEAD)
    except (*DAMAGE, SourceError):
        return ""
