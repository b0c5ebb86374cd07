"""One frame by a calculator of ASE, in this process.

Source: ASE documentation, "Calculators"; stress is positive under tension.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from dpbench.config import canonical_json
from dpbench.errors import ConfigError
from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.failure import Failure
from dpbench.frames import Frames, uniform

_SLOW = ("converge", "scf", "self-consisten")
"""What names or messages of errors hold where a self-consistency was not reached."""


def factory(path: str, *, where: str = "label.ase.calculator") -> Callable[..., Any]:
    """Import a calculator.

    Args:
        path: ``package.module:Name``.
        where: Key that names it, for messages.

    Raises:
        ConfigError: If it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{where} = '{path}': {error}; expected a class of an "
            "installed package. Install it here, or correct the name."
        ) from error
    return found


@cache
def package_version(path: str) -> str:
    """Return the version of the package that a calculator is of; "" if untold.

    Asked for with every label, and slow: all installed packages are looked through.
    """
    package = path.partition(":")[0].partition(".")[0]
    names = metadata.packages_distributions().get(package, [])
    return metadata.version(names[0]) if names else ""


def single_point(
    frame: Frames,
    path: str,
    arguments: Mapping[str, Any],
    *,
    folder: Path,
    keep: bool,
) -> Frames | Failure:
    """Label one frame.

    Args:
        frame: One frame.
        path: ``package.module:Name`` of the calculator.
        arguments: What it is called with.
        folder: Where a calculator that runs a program does so.
        keep: Whether the calculator of an earlier call with these arguments serves.

    Returns:
        The frame with energy, force and (where there is one) virial, or why not.

    Raises:
        ConfigError: If the calculator cannot be imported, or refuses its arguments.
    """
    calculator = (_kept if keep else _made)(path, canonical_json(arguments))
    if hasattr(calculator, "directory"):
        calculator.directory = str(folder)
    try:
        return _labelled(frame, calculator)
    except PropertyNotImplementedError as error:
        reason = f"{path} does not give {error}"
        return Failure(trouble=Trouble.REFUSED, reason=reason)
    # calculators raise whatever they please
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        is_slow = any(mark in words.lower() for mark in _SLOW)
        trouble = Trouble.UNCONVERGED if is_slow else Trouble.BROKEN
        return Failure(trouble=trouble, reason=" ".join(words.split())[:300])


def _made(path: str, arguments: bytes) -> Any:
    make = factory(path)
    try:
        return make(**json.loads(arguments))
    # constructors, too
    except Exception as error:
        raise ConfigError(
            f"label.ase.arguments: {path} refuses them ({error}); expected what it is "
            "called with in Python. Correct them."
        ) from error


_kept = lru_cache(maxsize=4)(_made)


def _labelled(frame: Frames, calculator: Any) -> Frames:
    has_box = not np.isnan(frame.box).any()
    atoms = Atoms(
        numbers=frame.z.astype(int),
        positions=frame.coord.astype(np.float64),
        cell=frame.box[0] if has_box else None,
        pbc=frame.pbc[0],
        calculator=calculator,
    )
    force = np.asarray(atoms.get_forces(), np.float64)
    virial = None
    if frame.pbc.all() and "stress" in getattr(
        calculator, "implemented_properties", ()
    ):
        stress = np.asarray(atoms.get_stress(voigt=False), np.float64)
        virial = -stress[None] * atoms.get_volume()
    labelled = uniform(
        z=frame.z,
        coord=frame.coord[None],
        box=frame.box if has_box else None,
        energy=np.array([_energy(atoms)]),
        force=force[None],
        virial=virial,
    )
    labelled.pbc[:] = frame.pbc
    return labelled


def _energy(atoms: Any) -> float:
    """Return the energy whose derivative the forces are, eV."""
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except PropertyNotImplementedError:
        return float(atoms.get_potential_energy())
