"""VASP calculations that our reader trips over, read through dpdata.

Our reader of OUTCAR and vasprun.xml is fast and strict, and refuses what it knows to be
damaged. Where it ends in an error that nobody thought of, the file has a form that is
new to it; dpdata's slower reader may know that form. Its frames pass the same gate.
"""

from dataclasses import replace
from pathlib import Path

from dpbench.errors import SourceError
from dpbench.io.ingest_report import FALLBACK
from dpbench.io.parsed import ParsedSource, SourceFiles
from dpbench.io.readers.dpdata.formats import read as read_through_dpdata
from dpbench.io.readers.vasp.xml_parts import Parts, parse_head
from dpbench.io.sniff import Kind, sniff


def read(files: SourceFiles, surprise: Exception) -> ParsedSource:
    """Read the first file of a VASP calculation that dpdata can.

    Args:
        files: The files of the calculation.
        surprise: What our reader ended with.

    Raises:
        SourceError: If dpdata cannot read it either.
    """
    what = f"{type(surprise).__name__}: {surprise}"
    reasons = []
    for path in files.paths:
        name = _format_of(path)
        if name is None:
            continue
        try:
            source = read_through_dpdata(
                SourceFiles(format=f"dpdata:{name}", paths=(path,))
            )
        except SourceError as error:
            reasons.append(str(error))
            continue
        note = (
            f"{path.name}: {FALLBACK}, since our own reader met something new "
            f"({what}). Please report it."
        )
        return replace(source, notes=(note, *source.notes))
    more = " | ".join(reasons)
    raise SourceError(
        f"{files.main}: our reader failed ({what}), and dpdata's too: {more}. Check "
        "that the file is whole, and please report it."
    ) from surprise


def _format_of(path: Path) -> str | None:
    """Return dpdata's name of a file's format; None for an input.

    Raises:
        SourceError: If an XML file declares entities, which dpdata would unfold.
    """
    kind = sniff(path)
    if kind is Kind.OUTCAR:
        return "vasp/outcar"
    if kind is not Kind.VASPRUN:
        return None
    parts = Parts(path)
    next(iter(parts), None)
    parse_head(parts.head, path)
    return "vasp/xml"
