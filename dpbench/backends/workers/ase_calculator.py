"""Any calculator of ASE as a backend, with loaders for potentials of the field.

Runs in an environment with ASE below ``serve.py`` and needs nothing of dpbench. A model
is a file of the loader's package, nothing (where the package ships one), or a
description, ``NAME.ase.toml`` (or ``.ase.json``)::

    calculator = "ase.calculators.lj:LennardJones"   # or: loader = "mace"
    type_map = ["Ar"]                                # elements, where not told
    arguments = { sigma = 3.4, epsilon = 0.0104 }

    [weights]
    file = "mace.model"                              # beside the description
    sha256 = "64 hexadecimal digits"

ASE's stress is positive under tension; virial = -volume * stress. What a calculator
does not do is ``Refused``.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from serve import Refused

OPTIONS = {
    "calculator": str,
    "loader": str,
    "arguments": dict,
    "type_map": list,
    "rcut": (int, float),
    "precision": str,
    "device": str,
    "atom_energy": bool,
    "weights": dict,
}
"""Keys of a description and options of the caller, which stand above it."""

PLAIN = (
    "ase.calculators.emt:EMT",
    "ase.calculators.lj:LennardJones",
    "ase.calculators.morse:MorsePotential",
)
"""Calculators that run no program, read no file and compute in float64."""

SUM_TOLERANCE = 1e-5
"""Relative; single precision adds energies per atom up to it."""

LEAST_VOLUME = 1e-6
"""Relative to the product of the cell's edges; below it there is no stress."""


def open_model(path: str, options: dict) -> "Model":
    """Make a calculator.

    Args:
        path: A description, a file of weights, or empty.
        options: See ``OPTIONS``; ``calculator`` is "module:Class", ``arguments`` its
            keyword arguments; ``loader`` a name of ``ase_loaders.py``; ``precision``
            float32 or float64, where a loader knows both.

    Raises:
        Refused: If the description, the weights or the calculator do not allow it.
    """
    asked = {key: value for key, value in options.items() if value is not None}
    _check_keys(asked, where="options")
    weights = None
    if path.endswith((".ase.toml", ".ase.json")):
        described = read_description(Path(path))
        weights = locate(described.pop("weights", None), Path(path))
        asked = _above(asked, described)
    elif path:
        weights = Path(path)
    if ("calculator" in asked) == ("loader" in asked):
        raise Refused(
            f"{Path(path).name or 'options'}: expected either a calculator, e.g. "
            f"'{PLAIN[1]}', or a loader, one of {', '.join(sorted(_loaders().LOADERS))}"
        )
    return Model(asked, weights)


def read_description(path: Path) -> dict:
    """Read a description.

    Raises:
        Refused: If it cannot be read, or has a key or value that means nothing.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            known = json.loads(text)
        else:
            name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
            known = importlib.import_module(name).loads(text)
    except ImportError as error:
        raise Refused(
            f"{path.name}: Python below 3.11 reads TOML with the package tomli, which "
            "is not there; write it as .ase.json"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(known, dict):
        raise Refused(f"{path.name}: is no table")
    _check_keys(known, where=path.name)
    return known


def locate(weights: Any, description: Path) -> Any:
    """Return the path of the weights that a description names; None if it has none.

    Raises:
        Refused: If the file is missing, not beside it, or not the one described.
    """
    if weights is None:
        return None
    where = f"{description.name}: weights"
    if sorted(weights) != ["file", "sha256"]:
        raise Refused(f"{where}: expected 'file' and 'sha256', not {sorted(weights)}")
    name = str(weights["file"])
    path = description.parent / name
    if Path(name).name != name or not path.is_file():
        raise Refused(f"{where}: there is no file {name!r} beside the description")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != weights["sha256"]:
        raise Refused(f"{where}: {name} has the sha256 {digest}, not the described one")
    return path


def _check_keys(known: dict, *, where: str) -> None:
    """Refuse unknown keys and values of the wrong kind."""
    for key, value in known.items():
        if key not in OPTIONS:
            raise Refused(
                f"{where}: unknown key {key!r}; expected {', '.join(sorted(OPTIONS))}"
            )
        kind: Any = OPTIONS[key]
        if not isinstance(value, kind) or (key == "rcut" and isinstance(value, bool)):
            raise Refused(f"{where}: {key} = {value!r} is of the wrong kind")
    type_map = known.get("type_map")
    if type_map is not None and not all(isinstance(s, str) for s in type_map):
        raise Refused(f"{where}: type_map must name elements")


def _above(asked: dict, described: dict) -> dict:
    """Put options above a description; one that names what to open stands alone."""
    merged = {**described, **asked}
    if "calculator" in described or "loader" in described:
        for key in ("calculator", "loader"):  # a card's default gives way
            merged.pop(key, None)
            if key in described:
                merged[key] = described[key]
    merged["arguments"] = {
        **described.get("arguments", {}),
        **asked.get("arguments", {}),
    }
    return merged


def _loaders() -> Any:
    """Import ``ase_loaders.py``, which lies beside this file; -I hides the folder."""
    name = "ase_loaders"
    if name not in sys.modules:
        path = Path(__file__).resolve().with_name(name + ".py")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is missing")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


class Model:
    """A calculator, asked frame by frame."""

    def __init__(self, asked: dict, weights: Any) -> None:
        """Make the calculator that ``asked`` names."""
        self._wants_atoms = asked.get("atom_energy", True)
        if "loader" in asked:
            opened = _loaders().load(asked["loader"], asked, weights)
        else:
            opened = _by_path(asked, weights)
        self._calculator = opened["calculator"]
        self._only_periodic = opened.get("only_periodic", False)
        type_map = asked.get("type_map") or opened.get("type_map") or _all_elements()
        packages = ("ase", "numpy", *opened.get("packages", ()))
        self.facts = {
            "type_map": [str(symbol) for symbol in type_map],
            "rcut": asked.get("rcut", opened.get("rcut")),
            "precision": opened.get("precision") or asked.get("precision"),
            "backend": opened["backend"],
            "versions": _versions(packages),
            "device": opened.get("device") or asked.get("device", "cpu"),
            "description": opened["description"],
        }

    def evaluate(self, coord: Any, box: Any, pbc: Any, atype: Any, extra: dict) -> dict:
        """Energy (eV), force (eV/Å), virial (eV) of frames of the same atoms.

        Args:
            coord: (frame, atom, 3), Å.
            box: (frame, 3, 3), Å, or None.
            pbc: (3), periodic along each cell vector.
            atype: (atom), index into ``type_map``.
            extra: Must be empty.

        Raises:
            Refused: If the calculator does not do such frames.
        """
        if extra:
            raise Refused(f"calculators of ASE take no {', '.join(sorted(extra))}")
        if box is None and np.any(pbc):
            raise Refused("periodic frames without a cell")
        if self._only_periodic and not np.all(pbc):
            raise Refused(
                f"{self.facts['backend']} takes every frame as periodic along all "
                f"three cell vectors; these are {[bool(flag) for flag in pbc]}"
            )
        symbols = [self.facts["type_map"][index] for index in atype]
        found = []
        for index in range(len(coord)):
            cell = None if box is None else box[index]
            found.append(self._frame(symbols, coord[index], cell, pbc))
        answer = {
            "energy": np.array([one["energy"] for one in found]),
            "force": np.array([one["force"] for one in found]).reshape(coord.shape),
        }
        for key, shape in (("virial", (-1, 3, 3)), ("atom_energy", (-1, len(atype)))):
            if found and all(one[key] is not None for one in found):
                answer[key] = np.array([one[key] for one in found]).reshape(shape)
        return answer

    def _frame(self, symbols: list, coord: Any, cell: Any, pbc: Any) -> dict:
        """Ask for one frame."""
        from ase import Atoms
        from ase.stress import voigt_6_to_full_3x3_stress

        atoms = Atoms(symbols, positions=coord, cell=cell, pbc=pbc)
        results = self._asked(atoms, has_stress=_has_volume(atoms))
        natoms = len(atoms)
        energy = float(np.asarray(results["energy"], np.float64).reshape(()))
        virial, atoms_energy = None, results.get("energies")
        if results.get("stress") is not None:
            stress = np.asarray(results["stress"], np.float64)
            if stress.size == 6:
                stress = voigt_6_to_full_3x3_stress(stress.reshape(6))
            virial = -atoms.get_volume() * stress.reshape(3, 3)
        if atoms_energy is not None:
            atoms_energy = np.asarray(atoms_energy, np.float64).reshape(-1)
            is_whole = atoms_energy.size == natoms and np.isclose(
                atoms_energy.sum(), energy, rtol=SUM_TOLERANCE, atol=SUM_TOLERANCE
            )
            if not (is_whole and self._wants_atoms):
                atoms_energy = None
        return {
            "energy": energy,
            "force": np.asarray(results["forces"], np.float64).reshape(natoms, 3),
            "virial": virial,
            "atom_energy": atoms_energy,
        }

    def _asked(self, atoms: Any, *, has_stress: bool) -> dict:
        """Have the calculator compute everything in one pass."""
        from ase.calculators.calculator import (
            Calculator,
            PropertyNotImplementedError,
            all_changes,
        )

        one = self._calculator
        known = getattr(one, "implemented_properties", ())
        wanted = ["energy", "forces"]
        wanted += ["stress"] if has_stress and "stress" in known else []
        try:
            if isinstance(one, Calculator):
                one.calculate(atoms, wanted, all_changes)
                results = dict(one.results)
            else:  # sums and mixtures, and calculators of the oldest interface
                atoms.calc = one
                results = {
                    "energy": atoms.get_potential_energy(),
                    "forces": atoms.get_forces(),
                }
                if "stress" in wanted:
                    results["stress"] = atoms.get_stress(voigt=False)
        except PropertyNotImplementedError as error:
            raise Refused(f"{self.facts['backend']} does not give {error}") from error
        for name in ("energy", "forces"):
            if results.get(name) is None:
                raise Refused(f"{self.facts['backend']} gives no {name}")
        if not has_stress:
            results.pop("stress", None)
        return results


def _by_path(asked: dict, weights: Any) -> dict:
    """Make a calculator by the path of its class."""
    from ase.calculators.abc import GetPropertiesMixin
    from ase.calculators.calculator import BaseCalculator

    where = asked["calculator"]
    module, separator, name = where.partition(":")
    if not separator or not module or not name.isidentifier():
        raise Refused(f"calculator = {where!r}; expected 'package.module:Class'")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Refused(f"calculator = {where!r}: {error}") from error
    kinds = (BaseCalculator, GetPropertiesMixin)
    if not (isinstance(made, type) and issubclass(made, kinds)):
        raise Refused(f"calculator = {where!r} is no class of calculators of ASE")
    arguments = dict(asked.get("arguments", {}))
    shown = json.dumps(arguments, sort_keys=True)
    if weights is not None:
        named = [key for key, value in arguments.items() if value == "{weights}"]
        if len(named) != 1:
            raise Refused(
                "arguments: expected one whose value is '{weights}', to pass the file "
                f"{weights.name} to"
            )
        arguments[named[0]] = str(weights)
    try:
        calculator = made(**arguments)
    except (TypeError, ValueError) as error:
        raise Refused(f"{where}: {error}") from error
    return {
        "calculator": calculator,
        "backend": f"ASE {name}",
        "description": f"{where} {shown}",
        "precision": "float64" if where in PLAIN else None,
        "packages": (module.split(".")[0],),
        "type_map": _known_to_emt() if where == PLAIN[0] else None,
    }


def _known_to_emt() -> list:
    from ase.calculators.emt import parameters

    return list(parameters)


def _all_elements() -> list:
    from ase.data import chemical_symbols

    return list(chemical_symbols[1:])


def _has_volume(atoms: Any) -> bool:
    """Tell whether the frame has a stress: periodic somewhere, in a cell of volume."""
    edges = np.linalg.norm(atoms.cell.array, axis=1)
    volume = abs(np.linalg.det(atoms.cell.array))
    return bool(np.any(atoms.pbc)) and volume > LEAST_VOLUME * float(np.prod(edges))


def _versions(packages: Any) -> dict:
    """Return name -> version of those that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
