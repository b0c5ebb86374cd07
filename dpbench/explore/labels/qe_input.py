"""Inputs of pw.x as namelists and cards: read from a template, written for a frame.

Values stay as they were written (``1d-8``, ``.true.``). The reader of ``io`` looks up
what tells a frame; here all is kept, to be written again.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from dpbench.elements import symbols_of
from dpbench.errors import ConfigError
from dpbench.explore.labels.qe_options import Value
from dpbench.frames import Frames
from dpbench.io.readers.qe.input import CARDS

_ENTRY = re.compile(
    r"([A-Za-z_]\w*(?:\(\s*\d+(?:\s*,\s*\d+)*\s*\))?)\s*=\s*"
    r"('[^']*'|\"[^\"]*\"|[^\s,!/]+)"
)
_BARE = re.compile(r"('[^']*'|\"[^\"]*\")|!.*")
"""A quoted text, or a comment: an exclamation mark inside of quotes begins none."""

SCRATCH = "out"
"""Folder for what pw.x leaves besides its output."""

REFUSED = ("CONSTRAINTS", "OCCUPATIONS", "ATOMIC_FORCES", "SOLVENTS")
"""Cards that belong to the atoms of the template and mean nothing for others."""

OF_THE_CELL = re.compile(
    r"celldm\(\d\)|a|b|c|cosab|cosac|cosbc|nat|ntyp|ibrav|space_.*"
)
"""Keys of &system that each frame brings itself."""

OF_THE_RUN = (
    *("calculation", "prefix", "outdir", "wfcdir", "pseudo_dir", "restart_mode"),
    *("nstep", "dt", "iprint", "max_seconds", "tprnfor", "tstress", "disk_io"),
    *("etot_conv_thr", "forc_conv_thr", "title", "lelfield", "tefield"),
)
"""Keys of &control that are written anew, or mean nothing in a single point."""

PER_SPECIES = re.compile(
    r"(starting_magnetization|starting_charge|hubbard_u|hubbard_alpha|hubbard_j0"
    r"|hubbard_beta|hubbard_j|hubbard_v|angle1|angle2|london_c6|london_rvdw"
    r"|starting_ns_eigenvalue)\((.*)\)"
)
"""Keys of &system that are numbered by species; the index of the species is the last
of ``starting_ns_eigenvalue``, the only one of most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """What an input says besides the frame."""

    control: dict[str, str] = field(default_factory=dict)
    """Keys in small letters, values as written."""
    system: dict[str, str] = field(default_factory=dict)
    electrons: dict[str, str] = field(default_factory=dict)
    species: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Label -> mass and name of the UPF file, in the order of the card."""
    k_points: tuple[str, tuple[str, ...]] | None = None
    """Kind and rows of the card; None = there is none."""
    hubbard: tuple[str, tuple[str, ...]] | None = None
    """Options and rows of the card of pw.x 7.1 and later."""


def read_template(text: str, *, where: str) -> Template:
    """Read an input.

    Raises:
        ConfigError: If it has no &control, or a card that cannot be kept.
    """
    lists: dict[str, dict[str, str]] = {}
    cards: dict[str, tuple[str, list[str]]] = {}
    entries: dict[str, str] | None = None
    rows: list[str] | None = None
    for raw in text.splitlines():
        line = _BARE.sub(lambda found: found[1] or "", raw).strip()
        word = re.split(r"[\s({]", line, maxsplit=1)[0].upper()
        if line.startswith("&"):
            entries, rows = lists.setdefault(line[1:].split()[0].lower(), {}), None
            line = line[1:].partition(" ")[2]
        elif word in CARDS:
            rows, entries = [], None
            cards[word] = (line[len(word) :].strip(" ({})\t").lower(), rows)
            continue
        if entries is not None:
            entries |= {_key(k): v for k, v in _ENTRY.findall(line)}
            entries = None if line.endswith("/") else entries
        elif rows is not None and line and not line.startswith("#"):
            rows.append(line)
    if "control" not in lists and "system" not in lists:
        raise ConfigError(
            f"{where}: has no namelist &system; expected an input of pw.x. Name one."
        )
    for card in REFUSED:
        if card in cards:
            raise ConfigError(
                f"{where}: has a card {card}, which belongs to its own atoms; expected "
                "what all frames share. Take it out."
            )
    return Template(
        control=lists.get("control", {}),
        system=lists.get("system", {}),
        electrons=lists.get("electrons", {}),
        species=_species(cards.get("ATOMIC_SPECIES", ("", []))[1], where=where),
        k_points=_card(cards, "K_POINTS"),
        hubbard=_card(cards, "HUBBARD"),
    )


def fortran(value: Value) -> str:
    """Write a value of a namelist; text that is quoted or a number stays as it is."""
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, int | float):
        return repr(value)
    is_bare = value[:1] in "'\"." or re.fullmatch(r"[-+\d.]+([dDeE][-+]?\d+)?", value)
    return value if is_bare and value else f"'{value}'"


def mesh_of(
    frame: Frames,
    spacing: float,
    *,
    shift: Callable[[Sequence[int]], Sequence[int]] = lambda _: (0, 0, 0),
) -> tuple[str, tuple[str, ...]]:
    """Choose the automatic mesh of one frame: N = max(1, ceil(|b| / spacing)).

    Args:
        frame: One frame.
        spacing: 1/Å, with the factor 2 pi.
        shift: 0 or 1 along each vector, of a mesh of these divisions.

    Returns:
        The card K_POINTS: kind and rows. A direction that is not periodic gets one
        division without a shift.
    """
    reciprocal = 2 * math.pi * np.linalg.inv(frame.box[0]).T
    lengths = np.linalg.norm(reciprocal, axis=1)
    divisions = []
    for length, periodic in zip(lengths, frame.pbc[0], strict=True):
        # a cell that strays in the last bit must not get a division more
        count = math.ceil(round(float(length) / spacing, 6)) if periodic else 1
        divisions.append(max(1, count))
    wanted = zip(shift(divisions), frame.pbc[0], strict=True)
    shifts = [number if periodic else 0 for number, periodic in wanted]
    return "automatic", (" ".join(map(str, [*divisions, *shifts])),)


def input_text(frame: Frames, template: Template, *, pseudo_dir: str) -> str:
    """Write the input of a single point.

    Args:
        frame: One periodic frame.
        template: What is computed; its ``k_points`` are those of this frame.
        pseudo_dir: Folder of the UPF files, as pw.x finds it.
    """
    symbols = symbols_of(frame.z.tolist())
    kinds = [label for label in template.species if label in set(symbols)]
    kept = {k: v for k, v in template.control.items() if k not in OF_THE_RUN}
    control = {
        **kept,
        "calculation": "'scf'",
        "prefix": "'pw'",
        "outdir": f"'./{SCRATCH}'",
        "pseudo_dir": f"'{pseudo_dir}'",
        "tprnfor": ".true.",
        "tstress": ".true.",
        "disk_io": "'none'",
    }
    system = {
        "ibrav": "0",
        "nat": str(len(symbols)),
        "ntyp": str(len(kinds)),
        **_system(template, kinds),
    }
    kind, rows = template.k_points or ("gamma", ())
    lines = [
        *_namelist("control", control),
        *_namelist("system", system),
        *_namelist("electrons", template.electrons),
        "ATOMIC_SPECIES",
        *(f"{k} {template.species[k][0]:g} {template.species[k][1]}" for k in kinds),
        f"K_POINTS {kind}",
        *rows,
        "CELL_PARAMETERS angstrom",
        *(_row(vector) for vector in frame.box[0].tolist()),
        "ATOMIC_POSITIONS angstrom",
        *(
            f"{symbol} {_row(place)}"
            for symbol, place in zip(symbols, frame.coord.tolist(), strict=True)
        ),
        *_hubbard(template, kinds),
    ]
    return "\n".join(lines) + "\n"


def default_mass(symbol: str) -> float:
    """Return the mass of an element, u, which pw.x asks for without a use."""
    return round(float(atomic_masses[atomic_numbers[symbol]]), 4)


def _key(name: str) -> str:
    return re.sub(r"\s", "", name).lower()


def _species(rows: Sequence[str], *, where: str) -> dict[str, tuple[float, str]]:
    found = {}
    for row in rows:
        words = row.split()
        if len(words) < 3:
            raise ConfigError(
                f"{where}: ATOMIC_SPECIES: '{row}'; expected label, mass and file."
            )
        label = words[0].capitalize()
        if label not in atomic_numbers:
            raise ConfigError(
                f"{where}: ATOMIC_SPECIES: '{words[0]}' is no element; expected one "
                "species an element: which atom of a new frame would be which? Rename "
                "it."
            )
        mass = words[1].lower().replace("d", "e")
        found[label] = (float(mass), words[2])
    return found


def _card(
    cards: Mapping[str, tuple[str, list[str]]], name: str
) -> tuple[str, tuple[str, ...]] | None:
    if name not in cards:
        return None
    kind, rows = cards[name]
    return kind or ("tpiba" if name == "K_POINTS" else ""), tuple(rows)


def _system(template: Template, kinds: Sequence[str]) -> dict[str, str]:
    """Return &system with what is numbered by species renumbered for this frame."""
    numbers = {
        str(old): str(kinds.index(label) + 1)
        for old, label in enumerate(template.species, start=1)
        if label in kinds
    }
    found = {}
    for key, value in template.system.items():
        if OF_THE_CELL.fullmatch(key):
            continue
        match = PER_SPECIES.fullmatch(key)
        if match is None:
            found[key] = value
            continue
        indices = match[2].split(",")
        place = -1 if match[1] == "starting_ns_eigenvalue" else 0
        if indices[place] in numbers:
            indices[place] = numbers[indices[place]]
            found[f"{match[1]}({','.join(indices)})"] = value
    return found


def _hubbard(template: Template, kinds: Sequence[str]) -> list[str]:
    if template.hubbard is None:
        return []
    options, rows = template.hubbard
    mine = [r for r in rows if r.split()[1].partition("-")[0].capitalize() in kinds]
    return [f"HUBBARD {{{options}}}", *mine] if mine else []


def _namelist(name: str, entries: Mapping[str, str]) -> list[str]:
    return [f"&{name}", *(f"  {k} = {v}" for k, v in entries.items()), "/"]


def _row(values: Sequence[float]) -> str:
    return " ".join(f"{x:.10f}" for x in values)
