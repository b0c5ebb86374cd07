"""Reader of VASP's vasprun.xml: streamed, each ionic step parsed alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.io.gate import volumes
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.fixed_point import (
    columns_of,
    parse_rows,
    parse_table,
    parse_texts,
    to_float,
)
from dpbench.io.readers.vasp.run import VaspRun, element_of
from dpbench.io.readers.vasp.settings import charge, hubbard, kpoints
from dpbench.io.readers.vasp.xml_parts import Parts, parse_head, parse_step
from dpbench.units import KBAR

_SAME_ENERGY = 1e-5
"""eV; both are printed with eight decimals, old versions print six."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """Text of one <calculation>; empty where something is missing."""

    n_scf: int
    energy: str
    last_scf: str
    """Free energy of the last electronic iteration."""
    box: bytes
    position: bytes
    force: bytes
    stress: bytes
    is_whole: bool
    """Whether all its parts are there, once and in order."""


def read_vasprun(path: Path) -> VaspRun:
    """Read all ionic steps of a vasprun.xml, whole or cut off.

    Raises:
        SourceError: If it is no vasprun.xml, or tells no atoms.
    """
    parts = Parts(path)
    steps = []
    for text, has_tags in parts:
        element, is_whole = parse_step(text, is_whole=has_tags)
        if element is not None:
            n_scf = text.count(b"</scstep>")
            steps.append(_step(element, n_scf, is_whole=is_whole))
    settings: dict[str, Any] = {"TITEL": []}
    symbols = _read_head(parse_head(parts.head, path), settings)
    if not symbols:
        raise SourceError(
            f"{path}: has no <atominfo>; expected a vasprun.xml up to its first ionic "
            "step. The run was killed before it."
        )
    _finish(settings)
    z = atomic_numbers(symbols, where=f"{path}: <atominfo>")
    return _run(z, steps, settings, complete=parts.complete)


def _read_head(root: Any, settings: dict[str, Any]) -> list[str]:
    """Collect the settings; return the element of each atom."""
    symbols: list[str] = []
    for element in root.iter("generator", "incar", "kpoints", "parameters", "atominfo"):
        if element.tag == "atominfo":
            symbols = _symbols(element)
            settings["TITEL"] = _titles(element)
            settings["VALENCE"] = _valences(element)
        else:
            _collect(element, settings)
    return symbols


def _run(
    z: tuple[int, ...],
    steps: list[_Step],
    settings: dict[str, Any],
    *,
    complete: bool,
) -> VaspRun:
    n, natoms = len(steps), len(z)
    has_stress = any(step.stress for step in steps)
    box = _stack([step.box for step in steps], 3)
    fractional = _stack([step.position for step in steps], natoms)
    n_scf = np.array([step.n_scf for step in steps], dtype=np.int16)
    energy, notes = _energies(steps, box, settings.get("PSTRESS") or 0.0)
    unclear = [
        bool(np.isnan(e)) and step.energy != "" and "*" not in step.energy
        for step, e in zip(steps, energy, strict=True)
    ]
    return VaspRun(
        format="vasp/xml",
        z=z,
        coord=cartesian(fractional, box),
        box=box,
        energy=energy,
        force=_stack([step.force for step in steps], natoms),
        stress=_stack([step.stress for step in steps], 3),
        n_scf=np.where(n_scf > 0, n_scf, -1).astype(np.int16),
        step=np.arange(1, n + 1, dtype=np.int32),
        verdict=tuple(
            _verdict(step, settings, has_stress=has_stress)
            or (Quarantine.NO_ENERGY if unclear[i] else Quarantine.NONE)
            for i, step in enumerate(steps)
        ),
        complete=complete,
        settings=settings,
        notes=notes,
    )


def _energies(
    steps: Sequence[_Step], box: NDArray[np.float64], pstress: float
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Take the free energy of each step, eV, and say where that was no plain matter.

    The total of a step holds what is added after the electronic loop: a dispersion
    correction, rightly, but with PSTRESS the term p V too, and the forces are not the
    derivative of that enthalpy.
    """
    total = parse_texts([step.energy.encode() for step in steps], 1)[:, 0]
    last = parse_texts([step.last_scf.encode() for step in steps], 1)[:, 0]
    gap = total - last
    differs = np.abs(gap) > _SAME_ENERGY
    if not differs.any():
        return total, ()
    if not pstress:
        return total, (
            f"energies of {differs.sum()} steps differ from that of the last electronic"
            f" iteration, by up to {np.abs(gap[differs]).max():.6g} eV (dispersion?); "
            "the step's is taken",
        )
    work = pstress * KBAR * volumes(np.where(np.isfinite(box), box, 0.0))
    is_enthalpy = differs & (np.abs(gap - work) < _SAME_ENERGY + 1e-5 * np.abs(work))
    unclear = differs & np.logical_not(is_enthalpy)
    energy = np.where(is_enthalpy, last, np.where(unclear, np.nan, total))
    return energy, (
        f"PSTRESS = {pstress:g} kbar: totals of {is_enthalpy.sum()} steps are "
        "enthalpies, the energy of the last iteration is taken; "
        f"{unclear.sum()} steps hold other terms too and are told by OUTCAR alone",
    )


def cartesian(
    fractional: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn fractional (frame, atom, 3) into Cartesian coordinates, Å.

    Elementwise products: a matrix product would give other last bits elsewhere.
    """
    return (
        fractional[..., 0, None] * box[:, None, 0]
        + fractional[..., 1, None] * box[:, None, 1]
        + fractional[..., 2, None] * box[:, None, 2]
    )


def _verdict(step: _Step, settings: dict[str, Any], *, has_stress: bool) -> Quarantine:
    # Where other steps have a stress, one without has lost lines.
    if not step.is_whole or (has_stress and not step.stress):
        return Quarantine.TRUNCATED
    if step.n_scf == 0 and settings.get("ML_LMLFF"):
        return Quarantine.NOT_DFT
    nelm = settings.get("NELM")
    # The file says nothing of why the loop ended: at NELM it may not have converged.
    if nelm is not None and step.n_scf >= nelm:
        return Quarantine.UNCONVERGED
    return Quarantine.NONE


def _step(element: Any, n_scf: int, *, is_whole: bool) -> _Step:
    structure = element.find("structure")
    return _Step(
        n_scf=n_scf,
        energy=_text(element.find("energy/i[@name='e_fr_energy']")),
        last_scf=_text(element.find("scstep[last()]/energy/i[@name='e_fr_energy']")),
        box=_varray(structure, "crystal/varray[@name='basis']"),
        position=_varray(structure, "varray[@name='positions']"),
        force=_varray(element, "varray[@name='forces']"),
        stress=_varray(element, "varray[@name='stress']"),
        is_whole=is_whole,
    )


def _varray(element: Any, path: str) -> bytes:
    array = None if element is None else element.find(path)
    if array is None:
        return b""
    # One call for the whole table: to ask each row for its text takes as long as to
    # parse the step.
    text: bytes = etree.tostring(
        array, method="text", encoding="iso-8859-1", with_tail=False
    )
    count = len(array)
    if not count or len(text) % count:
        return "\n".join([*(v.text or "" for v in array), ""]).encode()
    width = len(text) // count
    rows = [text[start : start + width] for start in range(0, len(text), width)]
    return b"\n".join([*rows, b""])


def _stack(tables: Sequence[bytes], nrows: int) -> NDArray[np.float64]:
    """Parse tables of three columns; one of another length is NaN."""
    out = np.full((len(tables), nrows, 3), np.nan)
    sample = next((t for t in tables if t.count(b"\n") == nrows), b"")
    width = sample.find(b"\n") + 1
    columns = columns_of(sample[:width], 3)
    regular = [i for i, t in enumerate(tables) if width and len(t) == width * nrows]
    parsed = None
    if columns is not None and regular:
        parsed = parse_rows([tables[i] for i in regular], columns, width=width)
    if parsed is not None:
        out[regular] = parsed.reshape(len(regular), nrows, 3)
    for i in sorted(
        set(range(len(tables))) - set(regular if parsed is not None else ())
    ):
        table = parse_table(tables[i], 3)
        if table is not None and len(table) == nrows:
            out[i] = table
    return out


def _symbols(atominfo: Any) -> list[str]:
    cells = atominfo.findall("array[@name='atoms']/set/rc/c[1]")
    names = [_text(cell).strip() for cell in cells]
    return [element_of(name) or name for name in names]


def _titles(atominfo: Any) -> list[str]:
    cells = atominfo.findall("array[@name='atomtypes']/set/rc/c[5]")
    return [_text(cell).strip() for cell in cells]


def _valences(atominfo: Any) -> tuple[list[int], list[float]]:
    """Atoms of each POTCAR, and its ZVAL."""
    rows = atominfo.findall("array[@name='atomtypes']/set/rc")
    counts = [to_float(_text(row.find("c[1]")).encode()) for row in rows]
    valences = [to_float(_text(row.find("c[4]")).encode()) for row in rows]
    if not all(map(isfinite, [*counts, *valences])):
        return [], []
    return [int(count) for count in counts], valences


def _text(element: Any) -> str:
    return "" if element is None or element.text is None else str(element.text)


def _collect(element: Any, settings: dict[str, Any]) -> None:
    if element.tag == "generator":
        version = element.find("i[@name='version']")
        settings["VERSION"] = _text(version).partition(" ")[0] or None
    elif element.tag == "kpoints":
        settings["KPOINTS"] = _kpoints(element)
    elif element.tag in ("incar", "parameters"):
        tags = settings.setdefault(element.tag, {})
        # NELM stands twice in <parameters>; the first is the electronic loop's.
        for item in element.iter("i", "v"):
            tags.setdefault(item.get("name"), _text(item).strip())


def _kpoints(element: Any) -> dict[str, Any] | None:
    divisions = element.find("generation/v[@name='divisions']")
    words = _text(divisions).split()
    mesh = [int(word) for word in words if word.isdecimal()]
    rows = element.findall("varray[@name='kpointlist']/v")
    points = [[to_float(word.encode()) for word in _text(v).split()] for v in rows]
    weights = element.findall("varray[@name='weights']/v")
    if len(weights) == len(points):
        shares = [to_float(_text(v).strip().encode()) for v in weights]
        points = [[*p, share] for p, share in zip(points, shares, strict=True)]
    return kpoints(mesh, [point for point in points if len(point) >= 3])


def _finish(settings: dict[str, Any]) -> None:
    """Bring the tags to the names and types that the level of theory is made from."""
    used: dict[str, str] = settings.pop("parameters", {})
    given: dict[str, str] = settings.pop("incar", {})
    tags = {**given, **used}
    for tag in ("NELM", "ISPIN", "ISMEAR", "ISIF", "IVDW"):
        if re.fullmatch(r"-?[0-9]{1,9}", tags.get(tag, "")):
            settings[tag] = int(tags[tag])
    for tag in ("EDIFF", "SIGMA", "AEXX", "HFSCREEN", "PSTRESS", "NELECT"):
        if tag in tags:
            settings[tag] = _finite(tags[tag])
    settings["ENCUT"] = _finite(used.get("ENMAX", given.get("ENCUT", "")))
    for tag in ("LNONCOLLINEAR", "LSORBIT", "LHFCALC", "LUSE_VDW", "LVDW", "ML_LMLFF"):
        settings[tag] = tags.get(tag, "F").strip(".")[:1] == "T"
    if "LASPH" in tags:
        settings["LASPH"] = tags["LASPH"].strip(".")[:1] == "T"
    settings["CHARGE"] = charge(
        settings.get("NELECT"), *settings.pop("VALENCE", ([], []))
    )
    settings["GGA"] = tags.get("GGA") or "--"
    settings["METAGGA"] = tags.get("METAGGA") or "F"
    if tags:
        settings["HUBBARD"] = {}
    if tags.get("LDAU", "F").startswith("T"):
        columns = [tags.get(tag, "").split() for tag in ("LDAUL", "LDAUU", "LDAUJ")]
        settings["HUBBARD"] = hubbard(
            tags.get("LDAUTYPE", "2"), columns, settings["TITEL"]
        )


def _finite(text: str) -> float | None:
    """Read one setting; JSON has no NaN and no infinity."""
    value = to_float(text.encode())
    return value if isfinite(value) else None
