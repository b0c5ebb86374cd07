"""GFN-xTB of one frame by tblite, in this process.

Tight binding is no DFT; it labels a water box in a tenth of a second, which is what
tests and first tries of a loop need.

Source: tblite documentation, https://tblite.readthedocs.io, Python API.
"""

from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ConfigError
from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.failure import Failure
from dpbench.explore.labels.tblite_options import TbliteOptions
from dpbench.frames import Frames, uniform
from dpbench.units import BOHR, BOLTZMANN, HARTREE

DISPERSION = {"GFN1-xTB": "DFT-D3", "GFN2-xTB": "DFT-D4", "IPEA1-xTB": "DFT-D3"}
"""Dispersion that is part of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Convergence:
    """How the self-consistent charges are sought; does not move their solution."""

    max_iterations: int
    damping: float
    """Share of the new charges that each step mixes in."""


def interface() -> Any:
    """Return tblite's module.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return import_module("tblite.interface")
    except ImportError as error:
        raise ConfigError(
            "label.driver = 'tblite': tblite is not installed here; expected its "
            "Python package. Install it: pip install 'dpbench[xtb]'."
        ) from error


def code_version() -> str:
    """Return the version of tblite; ConfigError if it is not installed."""
    interface()
    return metadata.version("tblite")


def single_point(
    frame: Frames, options: TbliteOptions, convergence: Convergence
) -> Frames | Failure:
    """Label one frame.

    Args:
        frame: One frame; with a cell along all three directions, or with none.
        options: What to compute.
        convergence: How.

    Returns:
        The frame with energy, force and (with a cell) virial, or why it has none.
    """
    module = interface()
    try:
        result = _calculator(module, frame, options, convergence).singlepoint()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        is_slow = "not converged" in reason.lower()
        trouble = Trouble.UNCONVERGED if is_slow else Trouble.BROKEN
        return Failure(trouble=trouble, reason=reason)
    return _labelled(frame, result, has_virial=bool(frame.pbc.all()))


def _calculator(
    module: Any, frame: Frames, options: TbliteOptions, convergence: Convergence
) -> Any:
    """Set tblite up for one frame; lengths in bohr, k T in hartree."""
    is_periodic = bool(frame.pbc.all())
    calculator = module.Calculator(
        options.method,
        frame.z.astype(np.int32),
        frame.coord.astype(np.float64) / BOHR,
        charge=float(options.charge),
        uhf=options.unpaired,
        lattice=frame.box[0] / BOHR if is_periodic else None,
        periodic=np.full(3, True) if is_periodic else None,
    )
    calculator.set("verbosity", 0)
    calculator.set("accuracy", options.accuracy)
    temperature = options.electronic_temperature * BOLTZMANN / HARTREE
    calculator.set("temperature", temperature)
    calculator.set("max-iter", convergence.max_iterations)
    calculator.set("mixer-damping", convergence.damping)
    return calculator


def level_of_theory(options: TbliteOptions) -> dict[str, Any]:
    """Tell the level of theory, in the keys of a ``--theory`` file."""
    return {
        "code": "tblite",
        "code_version": code_version(),
        "functional": options.method,
        "dispersion": DISPERSION[options.method],
        "kpoints": {"mesh": [1, 1, 1], "shift": [0, 0, 0]},
        "smearing": "fermi-dirac",
        "smearing_width": options.electronic_temperature * BOLTZMANN,
        "energy_kind": "free energy",
        "details": {"accuracy": options.accuracy},
    }


def _labelled(frame: Frames, result: Any, *, has_virial: bool) -> Frames:
    """Bring tblite's hartree and bohr into a frame; its virial is dE/dstrain."""
    gradient: NDArray[np.float64] = np.asarray(result.get("gradient"), np.float64)
    virial = None
    if has_virial:
        virial = -np.asarray(result.get("virial"), np.float64)[None] * HARTREE
    return uniform(
        z=frame.z,
        coord=frame.coord[None],
        box=frame.box if has_virial else None,
        energy=np.array([float(result.get("energy")) * HARTREE]),
        force=-gradient[None] * (HARTREE / BOHR),
        virial=virial,
    )
