"""Reader of VASP calculations: OUTCAR and vasprun.xml, alone or as one.

Both files hold the same labels. vasprun.xml prints more digits of coordinates, forces
and stress, OUTCAR of the cell, and OUTCAR alone says why an electronic loop ended. With
both at hand each quantity is taken where it is printed best, and the rest is compared.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.errors import SourceError
from dpbench.frames import Frames, uniform
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.told_theory import charges
from dpbench.io.readers.vasp.outcar import read_outcar
from dpbench.io.readers.vasp.potcar_theory import potcar_hashes
from dpbench.io.readers.vasp.run import VaspRun
from dpbench.io.readers.vasp.settings import read_incar, theory_of
from dpbench.io.readers.vasp.xml import read_vasprun
from dpbench.io.sniff import Kind, sniff
from dpbench.io.text import read_text
from dpbench.units import KBAR

ENERGY_TOLERANCE = 2e-5
"""eV; OUTCAR of VASP 5.2 prints six decimals."""

FORCE_TOLERANCE = 2e-5
"""eV/Å; OUTCAR prints six decimals, and sums a drift correction in another order."""

STRESS_TOLERANCE = 0.05
"""kbar; OUTCAR prints the upper triangle of what may lack symmetry a little."""

BOX_TOLERANCE = 1e-7
"""Å; OUTCAR prints nine decimals, vasprun.xml eight."""

COORD_TOLERANCE = 2e-4
"""Å; OUTCAR prints five decimals of a position that vasprun.xml prints as eight
fractional ones, which leave 5e-9 of the cell."""


def read(files: SourceFiles) -> ParsedSource:
    """Read all ionic steps of one VASP calculation.

    Raises:
        SourceError: If no file of it can be read.
    """
    outcar, xml, notes = _read_files(files)
    run = outcar if xml is None else xml
    if outcar is not None and xml is not None:
        run = _merge(outcar, xml, notes)
    if run is None:
        raise SourceError(notes[0])
    run = _without_unreadable(run, notes)
    if run.nframes == 0:
        raise SourceError(
            f"{files.main}: no ionic step with coordinates and energy; expected at "
            "least one. Check that the calculation ran to its first total energy."
        )
    incar = next((p for p in files.paths if p.name.startswith("INCAR")), None)
    settings = dict(run.settings)
    if xml is None and incar is not None:
        # OUTCAR rounds SIGMA to two decimals and does not always print IVDW.
        settings |= read_incar(incar)
    frames = _frames(run)
    return ParsedSource(
        code="vasp",
        code_version=settings.get("VERSION"),
        format=run.format,
        frames=frames,
        step=run.step,
        n_scf=run.n_scf,
        quarantine=judge(
            frames,
            verdict=run.verdict,
            energy_given=True,
            force_given=True,
        ),
        theory=theory_of(settings),
        complete=run.complete,
        charge=charges(frames.nframes, settings.get("CHARGE")),
        potential_hashes=_potential_hashes(files, settings, notes),
        notes=(*run.notes, *notes),
    )


def _potential_hashes(
    files: SourceFiles, settings: dict[str, Any], notes: list[str]
) -> dict[str, str]:
    """Take the hashes that OUTCAR prints, else those of a POTCAR beside it."""
    printed: dict[str, str] = settings.get("HASHES") or {}
    potcar = next((p for p in files.paths if p.name.startswith("POTCAR")), None)
    if potcar is None:
        return printed
    try:
        found = potcar_hashes(read_text(potcar), settings.get("TITEL", []))
    except SourceError as error:
        notes.append(str(error))
        return printed
    if found is None:
        notes.append(f"{potcar.name}: holds other potentials than the run; not used.")
        return printed
    return found | printed


def _read_files(
    files: SourceFiles,
) -> tuple[VaspRun | None, VaspRun | None, list[str]]:
    """Read whichever files there are; one that fails is named if another helps."""
    outcar = xml = None
    errors: list[str] = []
    for path in files.paths:
        try:
            if _is_xml(path):
                xml = read_vasprun(path)
            elif path == files.main or sniff(path) is Kind.OUTCAR:
                outcar = read_outcar(path)
        except SourceError as error:
            errors.append(str(error))
    return outcar, xml, errors


def _is_xml(path: Path) -> bool:
    kind = sniff(path)
    return kind is Kind.VASPRUN or (kind is not Kind.OUTCAR and ".xml" in path.suffixes)


def _merge(outcar: VaspRun, xml: VaspRun, notes: list[str]) -> VaspRun:
    """Join two files of one run step by step: vasprun.xml's digits, OUTCAR's gate."""
    if outcar.z != xml.z:
        notes.append(
            f"OUTCAR holds {len(outcar.z)} atoms, vasprun.xml {len(xml.z)} or other "
            "elements: the two are not of one run. All frames are quarantined as "
            "mismatch; keep the right one."
        )
        return replace(xml, verdict=(Quarantine.MISMATCH,) * xml.nframes)
    xml = _beside_learned(outcar, xml)
    nframes, n_both = (f(outcar.nframes, xml.nframes) for f in (max, min))
    # vasprun.xml is taken for each step that it has whole, OUTCAR for the others.
    whole = [i for i, v in enumerate(xml.verdict) if v is not Quarantine.TRUNCATED]
    other = sorted(set(range(outcar.nframes)) - set(whole))
    rest = sorted(set(range(nframes)) - set(whole) - set(other))
    fields: dict[str, Any] = {}
    for name in ("coord", "box", "energy", "force", "stress", "n_scf", "step"):
        mine, theirs = getattr(xml, name), getattr(outcar, name)
        fields[name] = np.empty((nframes, *mine.shape[1:]), dtype=mine.dtype)
        for rows, values in ((whole, mine), (other, theirs), (rest, mine)):
            fields[name][rows] = values[rows]
    for name in ("n_scf", "step"):
        fields[name][: outcar.nframes] = getattr(outcar, name)
    silent = np.isnan(fields["energy"][: outcar.nframes])
    fields["energy"][: outcar.nframes][silent] = outcar.energy[silent]
    gap = np.abs(outcar.box[:n_both] - fields["box"][:n_both])
    closer = gap.max(axis=(1, 2), initial=0.0) < BOX_TOLERANCE
    fields["box"][:n_both][closer] = outcar.box[:n_both][closer]
    verdict = tuple(_joint(i, outcar, xml) for i in range(nframes))
    n_bad = verdict.count(Quarantine.MISMATCH)
    notes.append(
        f"vasprun.xml and OUTCAR cross-checked in {n_both} frames"
        + (f"; they contradict each other in {n_bad}" if n_bad else ", they agree")
    )
    return replace(
        xml,
        **fields,
        verdict=verdict,
        complete=outcar.complete and xml.complete,
        settings={**outcar.settings, **xml.settings},
    )


def _beside_learned(outcar: VaspRun, xml: VaspRun) -> VaspRun:
    """Spread the steps of a vasprun.xml that leaves the machine-learned ones out."""
    dft = [i for i, v in enumerate(outcar.verdict) if v is not Quarantine.NOT_DFT]
    if len(dft) == outcar.nframes or xml.nframes != len(dft):
        return xml
    fields: dict[str, Any] = {}
    for name in ("coord", "box", "energy", "force", "stress", "n_scf", "step"):
        fields[name] = getattr(outcar, name).copy()
        fields[name][dft] = getattr(xml, name)
    verdict = list(outcar.verdict)
    for i, reason in zip(dft, xml.verdict, strict=True):
        verdict[i] = reason
    return replace(xml, **fields, verdict=tuple(verdict))


def _joint(index: int, outcar: VaspRun, xml: VaspRun) -> Quarantine:
    """Judge a step by both files; OUTCAR knows best why its loop ended."""
    there = [run for run in (outcar, xml) if index < run.nframes]
    # A file that is cut here says nothing; the other one stands.
    whole = [r for r in there if r.verdict[index] is not Quarantine.TRUNCATED]
    if len(whole) == 2 and not _agree(outcar, xml, index):
        return Quarantine.MISMATCH
    return (whole or there)[0].verdict[index]


def _agree(first: VaspRun, second: VaspRun, index: int) -> bool:
    """Compare what both files print of a step; what one does not print agrees."""
    pairs: tuple[tuple[str, float], ...] = (
        ("energy", ENERGY_TOLERANCE),
        ("force", FORCE_TOLERANCE),
        ("stress", STRESS_TOLERANCE),
        ("box", 10 * BOX_TOLERANCE),
    )
    for name, tolerance in pairs:
        gap = np.abs(getattr(first, name)[index] - getattr(second, name)[index])
        if np.nanmax(np.append(gap, 0.0)) > tolerance:
            return False
    gap = first.coord[index] - second.coord[index]
    if np.isnan(gap).any() or np.isnan(first.box[index]).any():
        return True
    # One file may print an atom on the other side of the cell.
    fractional = np.linalg.solve(first.box[index].T, gap.T).T
    gap -= np.round(fractional) @ first.box[index]
    return bool(np.abs(gap).max(initial=0.0) < COORD_TOLERANCE)


def _without_unreadable(run: VaspRun, notes: list[str]) -> VaspRun:
    """Leave out steps of which no coordinate is printed (NWRITE = 0), and say so."""
    silent = np.isnan(run.coord).all(axis=(1, 2))
    is_cut = np.array([v is Quarantine.TRUNCATED for v in run.verdict], dtype=bool)
    silent &= np.logical_not(is_cut)
    if not silent.any():
        return run
    notes.append(
        f"{int(silent.sum())} of {run.nframes} ionic steps print no coordinates "
        "(NWRITE = 0?) and are left out; keep vasprun.xml beside the OUTCAR."
    )
    keep = np.flatnonzero(np.logical_not(silent))
    return replace(
        run,
        coord=run.coord[keep],
        box=run.box[keep],
        energy=run.energy[keep],
        force=run.force[keep],
        stress=run.stress[keep],
        n_scf=run.n_scf[keep],
        step=run.step[keep],
        verdict=tuple(run.verdict[i] for i in keep.tolist()),
    )


def _frames(run: VaspRun) -> Frames:
    """Turn steps into frames; virial = stress (compression > 0) times volume."""
    volume = volumes(np.where(np.isfinite(run.box), run.box, 0.0))
    return uniform(
        z=run.z,
        coord=run.coord,
        box=run.box,
        energy=run.energy,
        force=run.force,
        virial=(run.stress * KBAR) * volume[:, None, None],
    )
