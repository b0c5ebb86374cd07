"""Reader of VASP calculations: OUTCAR and vasprun.xml, alone or as one.

Both files hold the same labels. vasprun.xml prints more digits of coordinates, forces
and stress, OUTCAR of the cell, and OUTCAR alone says why an electronic loop ended. With
both at hand each quantity is taken where it is printed best, and the rest is compared.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.frames import Frames, uniform
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.vasp_outcar import read_outcar
from dpbench.io.readers.vasp_run import VaspRun
from dpbench.io.readers.vasp_settings import read_incar, theory_of
from dpbench.io.readers.vasp_xml import read_vasprun
from dpbench.io.sniff import Kind, sniff
from dpbench.units import KBAR

ENERGY_TOLERANCE = 2e-5
"""eV; OUTCAR of VASP 5.2 prints six decimals."""

FORCE_TOLERANCE = 2e-5
"""eV/Å; OUTCAR prints six decimals, and sums a drift correction in another order."""

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
        notes=(*run.notes, *notes),
    )


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
    if outcar.nframes > xml.nframes:
        first, second = outcar, xml
    else:
        first, second = xml, outcar
    n = second.nframes
    merged = first if first is xml else _with_digits(first, xml)
    box = first.box.copy()
    if second is outcar:
        closer = np.abs(outcar.box - xml.box[:n]).max(axis=(1, 2), initial=0.0) < 1e-7
        box[:n][closer] = outcar.box[closer]
    verdict = [
        _joint(i, first, second if i < n else None, outcar)
        for i in range(first.nframes)
    ]
    bad = [i for i, v in enumerate(verdict) if v is Quarantine.MISMATCH]
    notes.append(
        f"vasprun.xml and OUTCAR cross-checked in {n} frames"
        + (f"; they contradict each other in {len(bad)}" if bad else ", they agree")
    )
    return replace(
        merged,
        box=box,
        verdict=tuple(verdict),
        complete=outcar.complete and xml.complete,
        settings={**outcar.settings, **xml.settings},
        format="vasp/xml",
    )


def _with_digits(outcar: VaspRun, xml: VaspRun) -> VaspRun:
    """Put the digits of the steps that vasprun.xml has into a longer OUTCAR."""
    fields: dict[str, NDArray[np.float64]] = {}
    whole = np.array([v is not Quarantine.TRUNCATED for v in xml.verdict], dtype=bool)
    for name in ("coord", "force", "stress"):
        array = getattr(outcar, name).copy()
        array[: xml.nframes][whole] = getattr(xml, name)[whole]
        fields[name] = array
    return replace(
        outcar,
        coord=fields["coord"],
        force=fields["force"],
        stress=fields["stress"],
    )


def _joint(
    index: int, first: VaspRun, second: VaspRun | None, outcar: VaspRun
) -> Quarantine:
    """Judge a step by both files; OUTCAR knows best why its loop ended."""
    mine = first.verdict[index]
    if second is None:
        return mine
    other = second.verdict[index]
    if Quarantine.TRUNCATED in (mine, other):
        # The file that is cut here says nothing; the other one stands.
        return other if mine is Quarantine.TRUNCATED else mine
    if not _agree(first, second, index):
        return Quarantine.MISMATCH
    return outcar.verdict[index]


def _agree(first: VaspRun, second: VaspRun, index: int) -> bool:
    """Compare what both files print of a step; what one does not print agrees."""
    pairs: tuple[tuple[str, float], ...] = (
        ("energy", ENERGY_TOLERANCE),
        ("force", FORCE_TOLERANCE),
        ("box", 1e-6),
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
