"""Quantum ESPRESSO: single points by pw.x.

Source: the description of pw.x's input, https://www.quantum-espresso.org/Doc/INPUT_PW.html.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from dpbench.errors import ConfigError
from dpbench.explore.labels.driver import Finding, JobResources, Trouble
from dpbench.explore.labels.job import (
    MPI_ABORT,
    died,
    program_of,
    read_run,
    run_job,
    said_version,
)
from dpbench.explore.labels.qe_input import (
    OF_THE_CELL,
    OF_THE_RUN,
    SCRATCH,
    Template,
    default_mass,
    fortran,
    input_text,
    mesh_of,
    read_template,
)
from dpbench.explore.labels.qe_options import QEOptions, Value
from dpbench.explore.labels.qe_pseudo import digests, find_potentials, folders
from dpbench.explore.labels.qe_remedies import (
    KNOWN,
    LADDER,
    electrons_with,
    system_with,
)
from dpbench.explore.labels.qe_theory import theory_of_template
from dpbench.explore.labels.remedies import Remedy, chosen, finding
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames
from dpbench.store.files import remove_tree

INPUT, OUTPUT = "pw.in", "pw.out"

PACKAGE = "Debian: apt-get install quantum-espresso quantum-espresso-data"
"""How pw.x and pseudopotentials are installed."""

ALONE = {
    "OMPI_MCA_ess_singleton_isolated": "1",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self",
}
"""Lets a pw.x of one process start at once: looking for a network and a daemon that it
does not need takes Open MPI 0.3 s, as long as a small cell. Nothing to other MPIs."""

_VERSION = re.compile(r"Program PWSCF\s+v\.\s*(\S+)")
_ERROR = re.compile(r"Error in routine\s+(.+?)\s*(?:\((-?\d+)\))?:\s*\n\s*(.*)")
_NOT_CONVERGED = re.compile(r"convergence NOT achieved after\s+(\d+) iterations")
_SOLVER = re.compile(
    r"diag|c_bands|cegter|regter|potrf|sygv|hegv|orthog|S matrix|cholesky"
    r"|eigenvect|too many bands are not converged|dexx is negative",
    re.IGNORECASE,
)
"""Routines and messages of eigensolvers that give up: another one may not."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class QEDriver:
    """pw.x with one template, for frames of any of its elements."""

    name: ClassVar[str] = "qe"
    code: ClassVar[str] = "qe"

    options: QEOptions
    template: Template
    """With the keys of the options put over those of the file."""
    pseudo_dir: Path
    """Folder of the UPF files."""
    ladder: tuple[Remedy, ...]
    """Remedies that may be tried."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label; ConfigError if pw.x is not there."""
        kept = {
            key: value
            for key, value in self.template.electrons.items()
            if key in ("conv_thr", "real_space", "tqr", "efield", "exxdiag")
        }
        options = self.options
        shift: Any = options.kshift
        if isinstance(shift, tuple):
            shift = list(shift)
        k_points: Any = self.template.k_points and [
            self.template.k_points[0],
            list(self.template.k_points[1]),
        ]
        if options.kspacing is not None:
            k_points = {"spacing": options.kspacing, "shift": shift}
        return {
            "driver": self.name,
            "version": options.version or version_of(options.command),
            "control": _scf_control(self.template),
            "system": {
                key: value
                for key, value in self.template.system.items()
                if not OF_THE_CELL.fullmatch(key)
            },
            "electrons": kept,
            "k_points": k_points,
            "hubbard": self.template.hubbard and list(self.template.hubbard[1]),
            "pseudopotentials": digests(self._files, self.pseudo_dir),
        }

    def foretold(self) -> dict[str, Any]:
        """Return what the input tells of the level of theory."""
        return theory_of_template(self.template, self.pseudo_dir)

    def declared(self) -> dict[str, Any] | None:
        """Return nothing: outputs of pw.x tell their level of theory."""
        return None

    def check_frames(self, frames: Frames) -> None:
        """Check elements and cells."""
        missing = [s for s in frames.symbols if s not in self.template.species]
        if missing:
            raise ConfigError(
                f"label.qe: no pseudopotential for {', '.join(missing)}; expected one "
                "for every element of the frames. Add a line to ATOMIC_SPECIES, or "
                "a key to label.qe.pseudopotentials."
            )
        open_ones = int(np.count_nonzero(np.isnan(frames.box).any(axis=(1, 2))))
        if open_ones:
            raise ConfigError(
                f"label.qe: {open_ones} of {frames.nframes} frames have no cell; pw.x "
                "needs one. Put them into a box with vacuum."
            )

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write ``pw.in``."""
        template = replace(
            self.template,
            electrons=electrons_with(self.template.electrons, remedies),
            system=system_with(self.template.system, remedies),
        )
        spacing = self.options.kspacing
        if spacing is not None:
            mesh = mesh_of(frame, spacing, shift=self.options.shift_of)
            template = replace(template, k_points=mesh)
        text = input_text(frame, template, pseudo_dir=str(self.pseudo_dir))
        (folder / INPUT).write_text(text)

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Run pw.x."""
        command = program_of(
            self.options.command, where="label.qe.command", install=PACKAGE
        )
        # Not where it may start others: by mpirun, or in a script of the user.
        is_alone = Path(command[0]).name == "pw.x"
        run_job(
            [*command, "-in", INPUT],
            folder,
            output=OUTPUT,
            resources=resources,
            environment={k: v for k, v in ALONE.items() if k not in os.environ}
            if is_alone
            else None,
        )
        remove_tree(folder / SCRATCH)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Judge ``pw.out``."""
        return finding(*judge(folder), ladder=self.ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return output and input, which has the coordinates at full precision."""
        return folder / OUTPUT, folder / INPUT

    @property
    def _files(self) -> dict[str, str]:
        return {label: name for label, (_, name) in self.template.species.items()}


def build(settings: LabelSettings) -> QEDriver:
    """Make the driver of settings with absolute paths.

    Raises:
        ConfigError: If template or pseudopotentials are missing or do not fit.
    """
    options = settings.qe
    if options is None:
        raise ConfigError(
            "label.qe: missing; expected at least a template or k-points, cut-off and "
            'pseudopotentials. Add a table [label.qe] with template = "pw.in".'
        )
    template = template_of(options)
    files = {label: name for label, (_, name) in template.species.items()}
    base = Path() if options.template is None else options.template.parent
    places = folders(options.pseudo_dir, template.control.get("pseudo_dir"), base=base)
    return QEDriver(
        options=options,
        template=template,
        pseudo_dir=find_potentials(files, places).absolute(),
        ladder=chosen(LADDER, options.remedies, known=KNOWN, where="label.qe.remedies"),
    )


def template_of(options: QEOptions) -> Template:
    """Read the template and put the keys of the options over it.

    Raises:
        ConfigError: If it cannot be read, or cut-off or pseudopotentials are missing.
    """
    template = Template()
    if options.template is not None:
        try:
            text = options.template.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"label.qe.template: {options.template}: cannot be read ({error}). "
                "Name an input of pw.x."
            ) from error
        template = read_template(text, where=str(options.template))
    masses = {label: mass for label, (mass, _) in template.species.items()}
    species = template.species | {
        label: (masses.get(label) or default_mass(label), name)
        for label, name in options.pseudopotentials.items()
    }
    template = replace(
        template,
        control=template.control | _written(options.control),
        system=template.system | _written(options.system),
        electrons=template.electrons | _written(options.electrons),
        species=species,
        k_points=_k_points(options, template),
    )
    if "ecutwfc" not in template.system:
        raise ConfigError(
            "label.qe: no cut-off; expected ecutwfc (Ry) in the template or in "
            "[label.qe.system]. Add it."
        )
    if not species:
        raise ConfigError(
            "label.qe: no pseudopotentials; expected ATOMIC_SPECIES in the template, "
            'or [label.qe.pseudopotentials] with lines such as Al = "Al.UPF". Add them.'
        )
    return template


def version_of(command: str) -> str:
    """Ask pw.x for its version: it prints it before it misses its input.

    Raises:
        ConfigError: If it is not there, or says nothing.
    """
    words = program_of(command, where="label.qe.command", install=PACKAGE)
    with tempfile.TemporaryDirectory(prefix="dpbench-pw-") as folder:
        (Path(folder) / INPUT).write_text("")
        version, said = said_version(
            [*words, "-in", INPUT], _VERSION, folder=Path(folder)
        )
    if version is None:
        raise ConfigError(
            f"label.qe.command = {command!r}: printed no 'Program PWSCF v.' but "
            f"{said}; expected pw.x. Name it, or set label.qe.version where it runs on "
            "other machines."
        )
    return version


def judge(folder: Path) -> tuple[Trouble, str]:
    """Say what came of a run of pw.x, and why in one line."""
    run = read_run(folder)
    if run is None:
        return Trouble.DIED, "pw.x: the run has no end"
    text = (folder / OUTPUT).read_text(errors="replace")
    scf = _NOT_CONVERGED.search(text)
    if scf is not None:
        return (
            Trouble.UNCONVERGED,
            f"pw.x: self-consistency not reached in {scf[1]} iterations",
        )
    if run.timed_out:
        return Trouble.TIMED_OUT, f"pw.x: {run.in_words()}"
    if "convergence has been achieved" in text and "JOB DONE" in text[-2000:]:
        return Trouble.NONE, ""
    error = _ERROR.search(text)
    if error is not None:
        words = f"{error[1]}: {' '.join(error[3].split())}"
        is_solver = _SOLVER.search(words) is not None
        trouble = Trouble.BROKEN if is_solver else Trouble.REFUSED
        return trouble, f"pw.x: error in routine {words}"
    if MPI_ABORT in text and "Program PWSCF" not in text:
        return Trouble.REFUSED, "pw.x: gave up before its first line: see the cell"
    return died("pw.x", run, folder / OUTPUT)


def _written(entries: dict[str, Value]) -> dict[str, str]:
    return {key.lower(): fortran(value) for key, value in entries.items()}


def _k_points(
    options: QEOptions, template: Template
) -> tuple[str, tuple[str, ...]] | None:
    """Return the card for all frames; with a spacing, each frame gets its own."""
    if options.kmesh is not None:
        shift = options.shift_of(options.kmesh)
        return "automatic", (" ".join(map(str, [*options.kmesh, *shift])),)
    if options.kspacing is None and template.k_points is None:
        raise ConfigError(
            f"label.qe.template: {options.template}: has no card K_POINTS; expected "
            "one, or label.qe.kspacing. Add it."
        )
    return template.k_points


def _scf_control(template: Template) -> dict[str, str]:
    """Return the keys of &control that reach the input."""
    found = {k: v for k, v in template.control.items() if k not in OF_THE_RUN}
    found.pop("verbosity", None)
    return found
