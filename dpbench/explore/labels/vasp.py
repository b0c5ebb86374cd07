"""VASP: single points from the user's INCAR, KPOINTS and POTCARs.

Source: the VASP wiki, pages INCAR, POSCAR, NELM, ALGO, AMIX, BMIX.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from dpbench.errors import ConfigError, SourceError
from dpbench.explore.labels.driver import Finding, JobResources, LabelError, Trouble
from dpbench.explore.labels.frame_demands import (
    demand_elements,
    demand_full_periodicity,
)
from dpbench.explore.labels.given_files import digest_of, text_of
from dpbench.explore.labels.job import died, last_words, program_of, read_run, run_job
from dpbench.explore.labels.meshes import divisions
from dpbench.explore.labels.remedies import Remedy, chosen, finding
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.vasp_input import (
    elements,
    foretold,
    incar,
    kpoints,
    magmom,
    poscar,
    read_tags,
    title_of,
)
from dpbench.explore.labels.vasp_options import VaspOptions
from dpbench.frames import Frames
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.vasp.outcar import read_outcar

OUTPUT = "vasp.out"
OUTCAR, XML = "OUTCAR", "vasprun.xml"

SINGLE_POINT = {"IBRION": "-1", "NSW": "0", "ISIF": "2"}
"""Tags that every frame gets: no ionic step, stress computed."""

UNKEPT = {"LWAVE": ".FALSE.", "LCHARG": ".FALSE."}
"""Tags that every frame gets, because what they write would fill a disk."""

OF_A_PATH = ("POTIM", "SMASS", "TEBEG", "TEEND", "MDALGO", "ISTART", "ICHARG", "NBLOCK")
"""Tags that mean nothing in a single point from nothing."""

NOT_DECIDING = (
    *("NCORE", "NPAR", "KPAR", "NSIM", "LPLANE", "NELM", "NELMIN", "NELMDL"),
    *("ALGO", "IALGO", "AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "MAXMIX", "TIME"),
    *("SYSTEM", "NWRITE", "LORBIT"),
)
"""Tags that move the way to a label and not the label."""

_SCF = frozenset({Trouble.UNCONVERGED, Trouble.TIMED_OUT})
_BOTH = _SCF | {Trouble.BROKEN}

LADDER = (
    Remedy(
        name="more_steps",
        helps=_SCF,
        words="NELM three times as large, at least 200; ALGO = Normal",
    ),
    Remedy(
        name="smaller_mixing",
        helps=_BOTH,
        words="ALGO = Normal with AMIX = 0.1, BMIX = 0.0001 (and the same for spins)",
    ),
    Remedy(name="all_bands", helps=_BOTH, words="ALGO = All, TIME = 0.1"),
)
"""Remedies; none of them moves the converged result."""

_BROKEN = re.compile(
    r"EDDDAV|ZBRENT|ZPOTRF|ZHEGV|BRMIX|PSSYEVX|RSPHER|EDDRMM|subspace rotation"
    r"|internal error in|Sub-Space-Matrix is not hermitian"
)
"""Messages of eigensolvers and mixers that give up."""

_REFUSED = re.compile(
    r"(?m)^.*(?:ERROR: .*|I REFUSE TO CONTINUE.*|VERY BAD NEWS.*|Error reading item.*"
    r"|No initial positions read in.*|triple product of the basis vectors.*)$"
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class VaspDriver:
    """VASP with one INCAR, for frames of the elements that it has POTCARs of."""

    name: ClassVar[str] = "vasp"
    code: ClassVar[str] = "vasp"

    options: VaspOptions
    tags: Mapping[str, str]
    """Those of INCAR."""
    ladder: tuple[Remedy, ...]
    """Remedies that may be tried."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label."""
        options = self.options
        decides = {k: v for k, v in self.tags.items() if k not in NOT_DECIDING}
        points: Any = {"incar": True}
        if options.kspacing is not None:
            points = {"spacing": options.kspacing}
        elif options.kpoints is not None:
            points = text_of(options.kpoints, where="label.vasp.kpoints").split("\n")[
                1:
            ]
        return {
            "driver": self.name,
            "version": options.version,
            "incar": dict(sorted(decides.items())),
            "kpoints": points,
            "magmom": dict(sorted(options.magmom.items())),
            "potcar": {
                symbol: digest_of(path, where="label.vasp.potcar")
                for symbol, path in sorted(options.potcar.items())
            },
        }

    def foretold(self) -> dict[str, Any]:
        """Return what INCAR and the POTCARs tell of the level of theory."""
        potcars = [
            text_of(path, where="label.vasp.potcar")
            for _, path in sorted(self.options.potcar.items())
        ]
        return foretold(self.tags, potcars)

    def declared(self) -> dict[str, Any] | None:
        """Return nothing: outputs of VASP tell their level of theory."""
        return None

    def check_frames(self, frames: Frames) -> None:
        """Check elements and cells."""
        demand_elements(frames, self.options.potcar, where="label.vasp.potcar")
        demand_full_periodicity(frames, where="label.vasp")

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write INCAR, KPOINTS, POSCAR and POTCAR."""
        del attempt
        options = self.options
        if np.linalg.det(frame.box[0]) < 0:
            raise LabelError(
                "label.vasp: a left-handed cell; VASP takes right-handed ones alone. "
                "Exchange two of its vectors."
            )
        tags = {k: v for k, v in self.tags.items() if k not in OF_A_PATH}
        tags |= SINGLE_POINT | UNKEPT
        if options.magmom:
            tags["MAGMOM"] = magmom(frame, options.magmom)
        for name in remedies:
            tags = _remedied(tags, name)
        (folder / "INCAR").write_text(incar(tags))
        (folder / "POSCAR").write_text(poscar(frame))
        parts = [
            text_of(options.potcar[symbol], where="label.vasp.potcar")
            for symbol in elements(frame)
        ]
        (folder / "POTCAR").write_text("".join(parts))
        if options.kspacing is not None:
            mesh = divisions(frame, options.kspacing)
            (folder / "KPOINTS").write_text(kpoints(mesh))
        elif options.kpoints is not None:
            text = text_of(options.kpoints, where="label.vasp.kpoints")
            (folder / "KPOINTS").write_text(text)

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Run VASP."""
        del attempt
        command = program_of(self.options.command, where="label.vasp.command")
        run_job(command, folder, output=OUTPUT, resources=resources)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Judge OUTCAR and what VASP printed."""
        return finding(*judge(folder), ladder=self.ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return OUTCAR, with vasprun.xml where it was written."""
        found = tuple(folder / n for n in (OUTCAR, XML) if (folder / n).is_file())
        return found or (folder / OUTCAR,)


def build(settings: LabelSettings) -> VaspDriver:
    """Make the driver of settings with absolute paths.

    Raises:
        ConfigError: If INCAR or a POTCAR is missing, a POTCAR is of another element,
            or nothing tells the k-points.
    """
    options = settings.vasp
    if options is None:
        raise ConfigError(
            "label.vasp: missing; expected at least incar and potcar. Add a table "
            '[label.vasp] with incar = "INCAR" and potcar = { Al = "POTCAR.Al" }.'
        )
    tags = read_tags(text_of(options.incar, where="label.vasp.incar"))
    has_points = options.kpoints is not None or options.kspacing is not None
    if not has_points and "KSPACING" not in tags:
        raise ConfigError(
            "label.vasp: no k-points; expected kpoints, kspacing, or KSPACING in "
            f"{options.incar}. Add one."
        )
    for symbol, path in options.potcar.items():
        _check_potcar(symbol, path)
    return VaspDriver(
        options=options,
        tags=tags,
        ladder=chosen(
            LADDER, options.remedies, known=LADDER, where="label.vasp.remedies"
        ),
    )


def judge(folder: Path) -> tuple[Trouble, str]:
    """Say what came of a run of VASP, and why in one line."""
    run = read_run(folder)
    if run is None:
        return Trouble.DIED, "VASP: the run has no end"
    printed = (folder / OUTPUT).read_text(errors="replace")
    path = folder / OUTCAR
    text = path.read_text(errors="replace") if path.is_file() else ""
    if run.timed_out:
        return Trouble.TIMED_OUT, f"VASP: {run.in_words()}"
    broken = _BROKEN.search(printed)
    if "General timing and accounting" in text:
        return _verdict(path)
    if broken is not None:
        return Trouble.BROKEN, f"VASP: {broken[0]}: {last_words(folder / OUTPUT)}"
    refused = _REFUSED.search(printed)
    if refused is not None:
        return Trouble.REFUSED, f"VASP: {' '.join(refused[0].strip(' |').split())}"
    return died("VASP", run, folder / OUTPUT)


def _verdict(outcar: Path) -> tuple[Trouble, str]:
    """Judge an OUTCAR that has its end: VASP 5 says that it converged at NELM, too."""
    try:
        verdict = read_outcar(outcar).verdict
    except SourceError as error:
        return Trouble.UNREADABLE, str(error)
    if Quarantine.UNCONVERGED in verdict:
        return Trouble.UNCONVERGED, "VASP: EDIFF not reached in NELM steps"
    return Trouble.NONE, ""


def _remedied(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the tags as one remedy wants them."""
    changed = dict(tags)
    if name == "more_steps":
        steps = changed.get("NELM", "60")
        least = 3 * int(steps) if steps.isdecimal() else 0
        changed |= {"NELM": str(max(200, least)), "ALGO": "Normal"}
    elif name == "smaller_mixing":
        changed |= {"ALGO": "Normal", "AMIX": "0.1", "BMIX": "0.0001"}
        if changed.get("ISPIN") == "2":
            changed |= {"AMIX_MAG": "0.4", "BMIX_MAG": "0.0001"}
    elif name == "all_bands":
        changed |= {"ALGO": "All", "TIME": "0.1"}
    if name in ("more_steps", "smaller_mixing", "all_bands"):
        changed.pop("IALGO", None)
    return changed


def _check_potcar(symbol: str, path: Path) -> None:
    """Check that a POTCAR is of the element that it is given for."""
    title = title_of(text_of(path, where="label.vasp.potcar"))
    words = title.split()
    found = words[1].partition("_")[0] if len(words) > 1 else ""
    if found and found != symbol:
        raise ConfigError(
            f"label.vasp.potcar: {path}: is of {found} ('{title}'), given for "
            f"{symbol}; expected one of {symbol}. Correct the path."
        )
