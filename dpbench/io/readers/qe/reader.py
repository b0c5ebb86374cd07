"""Reader of Quantum ESPRESSO pw.x: text output, with its input and XML beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.dynamics import temperatures_of, time_step
from dpbench.io.readers.qe.input import Input, is_input, read_input
from dpbench.io.readers.qe.output import (
    BANNER,
    END_MARKER,
    Geometry,
    Header,
    read_header,
    snapshots,
    split_runs,
)
from dpbench.io.readers.qe.theory import (
    charge_of,
    code_version,
    pseudopotential_hashes,
    theory_of_output,
)
from dpbench.io.readers.qe.upf_theory import hashes_beside
from dpbench.io.readers.qe.xml import Document, is_xml, read_xml
from dpbench.io.readers.snapshots import Snapshot, frames_of, n_scf_of, steps_of
from dpbench.io.readers.tables import element_of
from dpbench.io.readers.told_theory import charges
from dpbench.io.text import read_text
from dpbench.store.theory.mixture import compatibility

_ALAT_DECIMALS = 5e-7
"""Half a unit of the sixth decimal of alat, in which the header prints the cell."""
_SAME_ENERGY = 2e-7
"""eV; output and XML print one energy, the former with eight decimals of Ry."""
_SAME_PLACE = 1e-5
"""Å; positions of output and XML for one frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Texts:
    """The files of a calculation by what they hold."""

    output: tuple[Path, str] | None = None
    input: tuple[Path, str] | None = None
    xml: tuple[Path, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """Frames of the text output before they are stacked."""

    labels: tuple[str, ...]
    snapshots: list[Snapshot]
    theory: dict[str, Any]
    charge: float | None
    notes: list[str]


def read(files: SourceFiles) -> ParsedSource:
    """Read one pw.x calculation: scf, md, relax or vc-relax.

    The text output is the source; a data-file-schema.xml beside it gives its numbers
    at full precision, an input gives cell and first positions. Each is cross-checked
    against the output; a contradiction quarantines what depends on it.

    Args:
        files: Output, input and XML of one calculation, or the XML alone.

    Returns:
        All frames, in file order.

    Raises:
        SourceError: If no file holds a pw.x calculation that started an SCF.
    """
    texts = _sort(files.paths)
    document = None
    notes = list(texts.notes)
    if texts.xml is not None:
        document = read_xml(texts.xml[1], where=str(texts.xml[0]))
    if texts.output is None:
        if document is None:
            raise SourceError(
                f"{files.main}: is no output of pw.x; expected 'Program PWSCF' or "
                "data-file-schema.xml. Name the format of the file."
            )
        return _from_document(document, files.main, notes)
    path, text = texts.output
    try:
        result = _read_output(path, text, texts.input)
    except SourceError as error:
        if document is None:
            raise
        source = _from_document(document, files.main, [*notes, str(error)])
        return replace(source, potential_hashes=pseudopotential_hashes(text))
    notes.extend(result.notes)
    found = result.snapshots
    if document is not None and texts.xml is not None:
        found = _refine(result, document, texts.xml[0], notes)
    z = atomic_numbers(map(element_of, result.labels), where=str(path))
    frames, reasons = frames_of(z, found, where=str(path))
    return ParsedSource(
        code="qe",
        code_version=code_version(text),
        format="qe/pw",
        frames=frames,
        step=steps_of(found),
        n_scf=n_scf_of(found),
        quarantine=reasons,
        theory=result.theory,
        complete=END_MARKER in text[-2000:],
        notes=tuple(notes),
        charge=charges(frames.nframes, result.charge),
        temperature=temperatures_of(found),
        time_step=time_step("qe", text),
        potential_hashes=hashes_beside(files.main, result.theory),
    )


def _sort(paths: Sequence[Path]) -> _Texts:
    """Tell output, input and XML apart by what they hold, not by their names."""
    texts: dict[str, tuple[Path, str]] = {}
    notes: list[str] = []
    for path in paths:
        text = read_text(path)
        if is_xml(text):
            _refuse_entities(text, path)
            kind = "xml"
        elif BANNER in text:
            kind = "output"
        elif is_input(text):
            kind = "input"
        else:
            kind = ""
        if not kind or kind in texts:
            what = f"a second {kind}" if kind else "neither output, input nor XML"
            notes.append(f"{path.name}: {what} of pw.x; not read.")
        else:
            texts[kind] = (path, text)
    return _Texts(
        output=texts.get("output"),
        input=texts.get("input"),
        xml=texts.get("xml"),
        notes=tuple(notes),
    )


def _refuse_entities(text: str, path: Path) -> None:
    """Refuse XML that would unfold, or read other files, while it is parsed.

    Raises:
        SourceError: If it declares entities.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SourceError(
            f"{path}: declares XML entities; pw.x writes none. Give the file that pw.x "
            "wrote."
        )


def _read_output(path: Path, text: str, input_file: tuple[Path, str] | None) -> _Result:
    """Read all runs of a text output; restarts are appended to one file."""
    runs = split_runs(text)
    found: list[Snapshot] = []
    notes: list[str] = []
    labels: tuple[str, ...] = ()
    given = None if input_file is None else read_input(input_file[1])
    is_foreign = False
    for number, run in enumerate(runs):
        header = read_header(run, where=str(path))
        if labels and header.labels != labels:
            raise SourceError(
                f"{path}: run {number + 1} has other atoms than run 1; expected the "
                "restarts of one calculation. Split the file."
            )
        labels = header.labels
        first = Geometry(start=header.end, coord=header.coord, box=header.box)
        reasons = (Quarantine.NONE, Quarantine.NONE)
        # the input can only be that of the last run in the file
        if given is not None and input_file is not None and number == len(runs) - 1:
            first, reasons, note = _with_input(header, given)
            notes.append(f"{input_file[0].name}: {note}")
            is_foreign = reasons[1] is not Quarantine.NONE
        changed = _changed_settings(runs[0], run) if number else ""
        if changed:
            reasons = (Quarantine.MISMATCH, Quarantine.MISMATCH)
            notes.append(f"{path.name}: run {number + 1} changes {changed}.")
        found.extend(_marked(snapshots(run, header, first=first), reasons))
    mesh = None if given is None or is_foreign else given.mesh
    return _Result(
        labels=labels,
        snapshots=found,
        theory=theory_of_output(runs[0], mesh=mesh),
        charge=charge_of(runs[0][:100_000], labels),
        notes=notes,
    )


def _changed_settings(first: str, later: str) -> str:
    """Name what a restart computes otherwise than the run before it."""
    levels = [theory_of_output(run, mesh=None) for run in (first, later)]
    return ", ".join(difference.key for difference in compatibility(*levels))


def _marked(
    found: list[Snapshot], reasons: tuple[Quarantine, Quarantine]
) -> list[Snapshot]:
    """Quarantine the first frame and the others of a run as the input demands."""
    marked = []
    for index, snapshot in enumerate(found):
        reason = reasons[0] if index == 0 else reasons[1]
        if reason is not Quarantine.NONE:
            snapshot = replace(snapshot, quarantine=reason)
        marked.append(snapshot)
    return marked


def _with_input(
    header: Header, given: Input
) -> tuple[Geometry, tuple[Quarantine, Quarantine], str]:
    """Take cell and first positions from the input where it agrees with the header.

    Returns:
        The first geometry; the reasons for the first frame and for all others; a note.
    """
    plain = Geometry(start=header.end, coord=header.coord, box=header.box)
    good, bad = Quarantine.NONE, Quarantine.MISMATCH
    if given.labels != header.labels:
        return plain, (bad, bad), "names other atoms than the output."
    # two roundings: of alat itself, and of the axes in units of it
    slack = _ALAT_DECIMALS * (header.alat + 2 * np.abs(header.box).max())
    box = header.box
    if given.box is not None:
        if np.abs(given.box - header.box).max() > slack:
            return plain, (bad, bad), "has another cell than the output."
        box = given.box
    if given.restarts or given.coord is None:
        found = Geometry(start=header.end, coord=header.coord, box=box)
        return found, (good, good), "gave the cell; positions are the output's."
    reach = _ALAT_DECIMALS * (header.alat + 2 * np.abs(header.coord).max()) + 4 * slack
    if np.abs(given.coord - header.coord).max() > reach:
        found = Geometry(start=header.end, coord=header.coord, box=box)
        return found, (bad, good), "has other positions than the output."
    found = Geometry(start=header.end, coord=given.coord, box=box)
    return found, (good, good), "agrees with the output and gave cell and positions."


def _refine(
    result: _Result, document: Document, path: Path, notes: list[str]
) -> list[Snapshot]:
    """Take the numbers of the XML for the frames that both files hold."""
    elements = [element_of(label) for label in result.labels]
    if [element_of(label) for label in document.labels] != elements:
        notes.append(f"{path.name}: names other atoms than the output.")
        return [replace(s, quarantine=Quarantine.MISMATCH) for s in result.snapshots]
    left = list(document.snapshots)
    refined = []
    for snapshot in result.snapshots:
        place = next((i for i, s in enumerate(left) if _is_same(snapshot, s)), None)
        if place is not None:
            twin = left.pop(place)
            snapshot = replace(
                snapshot,
                coord=twin.coord,
                box=twin.box,
                energy=twin.energy,
                force=snapshot.force if twin.force is None else twin.force,
                virial=snapshot.virial if twin.virial is None else twin.virial,
                quarantine=_confirmed(snapshot.quarantine),
            )
        refined.append(snapshot)
    count = len(document.snapshots) - len(left)
    labelled = [s for s in result.snapshots if s.energy is not None]
    notes.append(
        f"{path.name}: gave the numbers of {count} of {len(refined)} frames; "
        f"{len(left)} of its own are not in the output."
    )
    if labelled and not count and any(s.energy is not None for s in left):
        return [replace(s, quarantine=Quarantine.MISMATCH) for s in refined]
    return refined


def _confirmed(reason: Quarantine) -> Quarantine:
    """Judge a frame that the XML bears out: an input that contradicts is another's."""
    return Quarantine.NONE if reason is Quarantine.MISMATCH else reason


def _is_same(snapshot: Snapshot, other: Snapshot) -> bool:
    """Whether output and XML speak of the same converged frame."""
    if snapshot.energy is None or other.energy is None:
        return False
    return (
        other.quarantine is Quarantine.NONE
        and abs(snapshot.energy - other.energy) < _SAME_ENERGY
        and bool(np.abs(snapshot.coord - other.coord).max() < _SAME_PLACE)
    )


def _from_document(document: Document, path: Path, notes: list[str]) -> ParsedSource:
    """Make a source of the XML alone."""
    found = list(document.snapshots)
    z = atomic_numbers(map(element_of, document.labels), where=str(path))
    frames, reasons = frames_of(z, found, where=str(path))
    return ParsedSource(
        code="qe",
        code_version=document.code_version,
        format="qe/xml",
        frames=frames,
        step=steps_of(found),
        n_scf=n_scf_of(found),
        quarantine=reasons,
        theory=document.theory,
        complete=document.is_complete,
        notes=tuple(notes),
        charge=charges(frames.nframes, document.charge),
    )
