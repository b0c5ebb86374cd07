"""data-file-schema.xml of Quantum ESPRESSO: every number at full precision."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.qe.theory import (
    dispersion_name,
    energy_kind,
    functional_name,
    hubbard_of,
    smearing_name,
)
from dpbench.io.readers.snapshots import Snapshot
from dpbench.io.readers.tables import cell_volume, scaled, to_float
from dpbench.units import BOHR, HARTREE

_SAME = 1e-9
"""Å; positions that pw.x wrote twice for one geometry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """What the XML of one run holds."""

    labels: tuple[str, ...]
    """(atom), labels of the species."""
    snapshots: tuple[Snapshot, ...]
    """Steps in order; a final SCF that is no step of its own comes last."""
    theory: dict[str, Any]
    """Level of theory; pseudopotentials without check sums."""
    code_version: str | None
    is_complete: bool
    """Whether pw.x closed the file and reported success."""
    charge: float | None
    """Total charge of the cell, e; None if the file does not tell it."""


def is_xml(text: str) -> bool:
    """Whether a text is an XML file of pw.x."""
    head = text[:2000]
    return head.lstrip().startswith("<") and "espresso" in head


def read_xml(text: str, *, where: str) -> Document:
    """Read an XML file of pw.x.

    Raises:
        SourceError: If it is not XML of pw.x, or holds no structure.
    """
    parser = etree.XMLParser(recover=True, huge_tree=True, resolve_entities=False)
    root = etree.fromstring(text.encode(), parser)
    if root is None or not str(root.tag).endswith("espresso"):
        raise SourceError(
            f"{where}: is no XML file of pw.x; expected an <espresso> element. "
            "Give data-file-schema.xml."
        )
    output = root.find("output")
    steps = [*root.findall("step"), *([] if output is None else [output])]
    labels: tuple[str, ...] = ()
    snapshots: list[Snapshot] = []
    for element in steps:
        behind = snapshots[-1].step + 1 if snapshots else 0
        read = _snapshot(element, int(element.get("n_step") or behind))
        if read is None:
            continue
        labels = labels or read[0]
        if not _is_repeat(read[1], snapshots):
            snapshots.append(read[1])
    if not snapshots:
        raise SourceError(
            f"{where}: holds no structure with an energy; expected <step> or <output>. "
            "The run ended before its first SCF."
        )
    status = root.findtext("exit_status") or root.findtext("status") or "0"
    is_whole = not len(parser.error_log) and root.find("closed") is not None
    creator = root.find("general_info/creator")
    version = None if creator is None else creator.get("VERSION")
    return Document(
        labels=labels,
        snapshots=tuple(snapshots),
        theory=_theory(root, version),
        code_version=version,
        is_complete=is_whole and status.strip() == "0",
        charge=_charge(root),
    )


def _charge(root: etree._Element) -> float | None:
    text = root.findtext("input/bands/tot_charge")
    value = None if text is None else scaled(text, 1.0)
    return None if value is None else round(value, 2) + 0.0


def _snapshot(
    element: etree._Element, step: int
) -> tuple[tuple[str, ...], Snapshot] | None:
    """Read one <step> or <output>; None without a structure."""
    structure = element.find("atomic_structure")
    if structure is None:
        return None
    atoms = structure.findall("atomic_positions/atom")
    coord = _numbers(" ".join(atom.text or "" for atom in atoms), 3 * len(atoms))
    cell = _numbers(
        " ".join(structure.findtext(f"cell/a{i}") or "" for i in (1, 2, 3)), 9
    )
    if not atoms or coord is None or cell is None:
        return None
    box = cell.reshape(3, 3) * BOHR
    force = _numbers(element.findtext("forces"), 3 * len(atoms))
    stress = _numbers(element.findtext("stress"), 9)
    scf = element.find("scf_conv")
    if scf is None:
        scf = element.find("convergence_info/scf_conv")
    energy = element.findtext("total_energy/etot")
    has_converged = scf is not None and scf.findtext("convergence_achieved") == "true"
    count = None if scf is None else scf.findtext("n_scf_steps")
    per_volume = HARTREE / (BOHR * BOHR * BOHR)
    labels = tuple(str(atom.get("name")).strip() for atom in atoms)
    return labels, Snapshot(
        coord=coord.reshape(-1, 3) * BOHR,
        box=box,
        energy=None if energy is None else to_float(energy) * HARTREE,
        force=None if force is None else force.reshape(-1, 3) * (HARTREE / BOHR),
        virial=None
        if stress is None
        else stress.reshape(3, 3) * (cell_volume(box) * per_volume),
        n_scf=int(count) if count else -1,
        step=step,
        quarantine=Quarantine.NONE if has_converged else Quarantine.UNCONVERGED,
    )


def _is_repeat(snapshot: Snapshot, earlier: list[Snapshot]) -> bool:
    """Whether <output> only says again what the last <step> said."""
    if not earlier:
        return False
    last = earlier[-1]
    # the last digit of the positions may differ: pw.x wraps them through the cell
    is_near = np.abs(last.coord - snapshot.coord).max() < _SAME
    return last.energy == snapshot.energy and bool(is_near)


def _numbers(text: str | None, count: int) -> NDArray[np.float64] | None:
    """Read ``count`` numbers; None if the element is missing or cut."""
    words = (text or "").split()
    if len(words) != count or not count:
        return None
    return np.array([to_float(word) for word in words])


def _theory(root: etree._Element, version: str | None) -> dict[str, Any]:
    """Collect the level of theory from <output>, else <input>."""

    def find(path: str) -> str | None:
        for part in ("output", "input"):
            found = root.findtext(f"{part}/{path}")
            if found is not None:
                return str(found).strip()
        return None

    smearing = root.find(".//smearing")
    cutoff = find("basis_set/ecutwfc") or find("basis/ecutwfc")
    density = find("basis_set/ecutrho") or find("basis/ecutrho")
    species = root.findall("output/atomic_species/species") or root.findall(
        "input/atomic_species/species"
    )
    width = "nan" if smearing is None else str(smearing.get("degauss"))
    return {
        "code": "qe",
        "code_version": version,
        "functional": functional_name(find("dft/functional") or "unknown"),
        "dispersion": dispersion_name(find("dft/vdW/vdw_corr")),
        "hubbard_u": _hubbard(root),
        "cutoff": scaled(cutoff, HARTREE) if cutoff else None,
        "cutoff_density": scaled(density, HARTREE) if density else None,
        "kpoints": _kpoints(root),
        "smearing": _smearing(root, smearing),
        "smearing_width": scaled(width, HARTREE),
        "spin": _spin(root),
        "pseudopotentials": {
            str(s.get("name")).strip(): {
                "title": s.findtext("pseudo_file"),
                "hash": None,
            }
            for s in species
        },
        "energy_kind": energy_kind(is_smeared=smearing is not None),
    }


def _smearing(root: etree._Element, smearing: etree._Element | None) -> str:
    if smearing is not None:
        return smearing_name(smearing.text or "")
    kind = root.findtext("input/bands/occupations") or ""
    return "tetrahedron" if kind.startswith("tetrahedr") else "none"


def _hubbard(root: etree._Element) -> dict[str, dict[str, float | None]]:
    given = [
        u
        for u in root.findall("output/dft/dftU/Hubbard_U")
        if u.get("label") != "no Hubbard" and to_float(u.text or "0") != 0.0
    ]
    values = [(str(u.get("specie")), "U", scaled(u.text or "", HARTREE)) for u in given]
    return hubbard_of(values)


def _spin(root: etree._Element) -> str:
    names = {"spinorbit": "spin-orbit", "noncolin": "noncollinear", "lsda": "collinear"}
    for tag, name in names.items():
        if root.findtext(f"input/spin/{tag}") == "true":
            return name
    return "none"


def _kpoints(root: etree._Element) -> dict[str, Any] | None:
    mesh = root.find("input/k_points_IBZ/monkhorst_pack")
    if mesh is None:
        count = root.findtext("output/band_structure/nks")
        return {"count": int(count)} if count else None
    return {
        "mesh": [int(mesh.get(f"nk{i}") or 0) for i in (1, 2, 3)],
        "shift": [int(mesh.get(f"k{i}") or 0) for i in (1, 2, 3)],
    }
