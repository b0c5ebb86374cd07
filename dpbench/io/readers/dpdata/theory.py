"""Level of theory of what dpdata reads: one scan of the text a code."""

from pathlib import Path
from typing import Any

from dpbench.frames import Frames
from dpbench.io.readers import molecular_theory, periodic_theory
from dpbench.io.readers.cp2k.theory import theory_of_log
from dpbench.io.readers.qe.theory import theory_of_output
from dpbench.io.readers.told_theory import Told
from dpbench.io.readers.vasp.settings import outcar_settings, theory_of

_SCANS = {
    "gaussian": molecular_theory.gaussian,
    "orca": molecular_theory.orca,
    "psi4": molecular_theory.psi4,
    "fhi_aims": periodic_theory.fhi_aims,
    "siesta": periodic_theory.siesta,
}
"""Scans that need the text alone, by code."""


def _native(code: str, text: str) -> dict[str, Any]:
    """Use the scans of the native readers for what is read through dpdata."""
    if code == "qe" and "Program PWSCF" in text:
        return theory_of_output(text, mesh=None)
    if code == "cp2k" and "CP2K|" in text:
        return theory_of_log(text)
    if code == "vasp" and text.lstrip().startswith("vasp."):
        return theory_of(outcar_settings(text[: max(text.find("Iteration"), 0)]))
    return {}


def told(
    code: str, text: str, frames: Frames, *, version: str | None, path: Path
) -> Told:
    """Scan the text of an output.

    Args:
        code: The code, as ``Gate.code`` names it.
        text: Its output or log; empty if there is none.
        frames: What dpdata read, for the elements.
        version: The code's version, as printed.
        path: The file, or the folder of a task.

    Returns:
        Code and version at least, if the code is known; nothing at all for a format
        of no code's own.
    """
    if code == "unknown" or not text:
        return Told()
    if code == "abacus":
        folder = path if path.is_dir() else path.parent
        found = periodic_theory.abacus(text, folder=folder)
    elif code in _SCANS:
        found = _SCANS[code](text, frames.symbols)
    else:
        found = Told(theory=_native(code, text))
    theory: dict[str, Any] = {"code": code, "code_version": version}
    theory |= {key: v for key, v in found.theory.items() if v is not None}
    return Told(theory=theory, charge=found.charge, multiplicity=found.multiplicity)
