"""ABACUS: single points from the user's INPUT, potentials and orbitals.

Source: ABACUS documentation, https://abacus.deepmodeling.com, "Full List of INPUT
Keywords" and "Converge".
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

from dpbench.errors import ConfigError
from dpbench.explore.labels.abacus_input import (
    input_text,
    kpt,
    read_parameters,
    stru,
)
from dpbench.explore.labels.abacus_options import AbacusOptions
from dpbench.explore.labels.driver import Finding, JobResources, Trouble
from dpbench.explore.labels.frame_demands import (
    demand_elements,
    demand_full_periodicity,
)
from dpbench.explore.labels.given_files import digest_of, text_of
from dpbench.explore.labels.job import died, program_of, read_run, run_job
from dpbench.explore.labels.meshes import divisions
from dpbench.explore.labels.remedies import Remedy, chosen, finding
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames
from dpbench.io.readers.tables import scaled
from dpbench.units import RYDBERG

OUTPUT = "abacus.out"
LOG = Path("OUT.ABACUS", "running_scf.log")

SINGLE_POINT = {
    "suffix": "ABACUS",
    "calculation": "scf",
    "cal_force": "1",
    "cal_stress": "1",
    "pseudo_dir": "./",
    "orbital_dir": "./",
    "stru_file": "STRU",
    "kpoint_file": "KPT",
    "out_chg": "0",
}
"""Parameters that every frame gets."""

OLD_NAMES = ("force", "stress", "atom_file", "out_charge", "md_type", "md_nstep")
"""What older versions call them, or what belongs to another task."""

NOT_DECIDING = (
    *("scf_nmax", "niter", "mixing_type", "mixing_beta", "mixing_ndim", "mixing_gg0"),
    *("mixing_beta_mag", "ks_solver", "kpar", "bndpar", "diago_proc", "out_level"),
    *(*SINGLE_POINT, *OLD_NAMES),
)
"""Parameters that move the way to a label and not the label."""

_SCF = frozenset({Trouble.UNCONVERGED, Trouble.TIMED_OUT})

LADDER = (
    Remedy(
        name="more_steps",
        helps=_SCF,
        words="scf_nmax three times as large, at least 200",
    ),
    Remedy(
        name="smaller_mixing",
        helps=_SCF | {Trouble.BROKEN},
        words="mixing_beta 0.1, mixing_ndim 12, mixing_gg0 1.0",
    ),
)
"""Remedies; none of them moves the converged result."""

_NOT_CONVERGED = re.compile(
    r"convergence has not been achieved|SCF IS NOT CONVERGED|NOT CONVERGED", re.I
)
_CONVERGED = re.compile(r"charge density convergence is achieved|#SCF IS CONVERGED#")
_NOTICE = re.compile(r"(?s)NOTICE.*?!{10,}\s*\n(.*?)\n\s*!{10,}")
_BROKEN = re.compile(r"diag|hegv|syev|genelpa|scalapack|cg ", re.I)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AbacusDriver:
    """ABACUS with one INPUT, for frames of the elements that it has potentials of."""

    name: ClassVar[str] = "abacus"
    code: ClassVar[str] = "dpdata:abacus/scf"

    options: AbacusOptions
    parameters: Mapping[str, str]
    """Those of INPUT."""
    ladder: tuple[Remedy, ...]
    """Remedies that may be tried."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label."""
        options = self.options
        points: Any = None
        if options.kspacing is not None:
            points = {"spacing": options.kspacing}
        elif options.kpt is not None:
            points = text_of(options.kpt, where="label.abacus.kpt").split()
        decides = {k: v for k, v in self.parameters.items() if k not in NOT_DECIDING}
        return {
            "driver": self.name,
            "version": options.version,
            "input": dict(sorted(decides.items())),
            "kpoints": points,
            "pseudopotentials": _digests(options.pseudopotentials),
            "orbitals": _digests(options.orbitals),
        }

    def foretold(self) -> dict[str, Any]:
        """Return what INPUT and the names of the potentials tell of the theory."""
        titles = {
            symbol: {"title": path.name, "hash": None}
            for symbol, path in sorted(self.options.pseudopotentials.items())
        }
        told: dict[str, Any] = {"code": self.name, "pseudopotentials": titles}
        cutoff = scaled(self.parameters.get("ecutwfc", ""), RYDBERG)
        return told if cutoff is None else {**told, "cutoff": cutoff}

    def declared(self) -> dict[str, Any] | None:
        """Return nothing: outputs of ABACUS tell their level of theory."""
        return None

    def check_frames(self, frames: Frames) -> None:
        """Check elements and cells."""
        known = self.options.pseudopotentials
        demand_elements(frames, known, where="label.abacus.pseudopotentials")
        demand_full_periodicity(frames, where="label.abacus")

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write INPUT, KPT and STRU, and bring the files that STRU names."""
        del attempt
        options = self.options
        parameters = {k: v for k, v in self.parameters.items() if k not in OLD_NAMES}
        parameters |= SINGLE_POINT | {"ntype": str(len(frame.symbols))}
        for name in remedies:
            parameters = _remedied(parameters, name)
        (folder / "INPUT").write_text(input_text(parameters))
        kinds = frame.symbols
        for files in (options.pseudopotentials, options.orbitals):
            for symbol in kinds if files else ():
                shutil.copyfile(files[symbol], folder / files[symbol].name)
        text = stru(
            frame,
            potentials={k: options.pseudopotentials[k].name for k in kinds},
            orbitals={k: options.orbitals[k].name for k in kinds if options.orbitals},
        )
        (folder / "STRU").write_text(text)
        if options.kspacing is not None:
            (folder / "KPT").write_text(kpt(divisions(frame, options.kspacing)))
        elif options.kpt is not None:
            text = text_of(options.kpt, where="label.abacus.kpt")
            (folder / "KPT").write_text(text)

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Run ABACUS."""
        del attempt
        command = program_of(self.options.command, where="label.abacus.command")
        run_job(command, folder, output=OUTPUT, resources=resources)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Judge the log."""
        return finding(*judge(folder), ladder=self.ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return the log; INPUT, KPT and STRU are found from it."""
        return (folder / LOG,)


def build(settings: LabelSettings) -> AbacusDriver:
    """Make the driver of settings with absolute paths.

    Raises:
        ConfigError: If INPUT or another file is missing, or nothing tells the
            k-points.
    """
    options = settings.abacus
    if options is None:
        raise ConfigError(
            "label.abacus: missing; expected at least input and pseudopotentials. Add "
            'a table [label.abacus] with input = "INPUT" and pseudopotentials = '
            '{ Al = "Al.upf" }.'
        )
    parameters = read_parameters(text_of(options.input, where="label.abacus.input"))
    has_points = options.kpt is not None or options.kspacing is not None
    if not has_points and parameters.get("gamma_only") not in ("1", "true"):
        raise ConfigError(
            "label.abacus: no k-points; expected kpt, kspacing, or gamma_only 1 in "
            f"{options.input}. Add one."
        )
    if parameters.get("basis_type", "pw") == "lcao" and not options.orbitals:
        raise ConfigError(
            f"label.abacus.orbitals: none, and {options.input} asks for basis_type "
            "lcao; expected a file for each element. Add them."
        )
    _digests(options.pseudopotentials)
    _digests(options.orbitals)
    return AbacusDriver(
        options=options,
        parameters=parameters,
        ladder=chosen(
            LADDER, options.remedies, known=LADDER, where="label.abacus.remedies"
        ),
    )


def judge(folder: Path) -> tuple[Trouble, str]:
    """Say what came of a run of ABACUS, and why in one line."""
    run = read_run(folder)
    if run is None:
        return Trouble.DIED, "ABACUS: the run has no end"
    path = folder / LOG
    text = path.read_text(errors="replace") if path.is_file() else ""
    printed = (folder / OUTPUT).read_text(errors="replace")
    if _NOT_CONVERGED.search(text):
        return Trouble.UNCONVERGED, "ABACUS: self-consistency not reached in scf_nmax"
    if run.timed_out:
        return Trouble.TIMED_OUT, f"ABACUS: {run.in_words()}"
    has_ended = re.search(r"(?m)^\s*(?:Finish|Total)\s+Time\s*:", text)
    if _CONVERGED.search(text) and has_ended:
        return Trouble.NONE, ""
    notice = _NOTICE.search(printed) or _NOTICE.search(text)
    if notice is not None:
        words = " ".join(notice[1].split())[:300]
        is_solver = _BROKEN.search(words) is not None
        return (Trouble.BROKEN if is_solver else Trouble.REFUSED), f"ABACUS: {words}"
    return died("ABACUS", run, folder / OUTPUT)


def _remedied(parameters: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the parameters as one remedy wants them."""
    changed = dict(parameters)
    if name == "more_steps":
        steps = changed.get("scf_nmax", changed.pop("niter", "100"))
        least = 3 * int(steps) if steps.isdecimal() else 0
        changed["scf_nmax"] = str(max(200, least))
    elif name == "smaller_mixing":
        changed |= {"mixing_beta": "0.1", "mixing_ndim": "12", "mixing_gg0": "1.0"}
    return changed


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {
        symbol: digest_of(path, where=f"label.abacus: {symbol}")
        for symbol, path in sorted(files.items())
    }
