"""CP2K: single points from a template.

Source: the CP2K manual, https://manual.cp2k.org.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

from dpbench.errors import ConfigError
from dpbench.explore.labels.cp2k_input import Section, parse
from dpbench.explore.labels.cp2k_options import Cp2kOptions
from dpbench.explore.labels.cp2k_template import (
    DATA_KEYS,
    canonical,
    input_of,
    is_xtb,
    kinds_of,
    uses_ot,
)
from dpbench.explore.labels.driver import Finding, JobResources, Trouble
from dpbench.explore.labels.frame_demands import demand_cells, demand_elements
from dpbench.explore.labels.given_files import digest_of, text_of
from dpbench.explore.labels.job import died, program_of, read_run, run_job, said_version
from dpbench.explore.labels.remedies import Remedy, chosen, finding
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames
from dpbench.io.readers.cp2k.input import theory_of_input

INPUT, OUTPUT = "cp2k.inp", "cp2k.out"

DATA_VARIABLE = "CP2K_DATA_DIR"
"""Environment variable that CP2K itself reads."""

SYSTEM_DATA = ("/usr/share/cp2k/data", "/usr/share/cp2k", "/opt/cp2k/data")
"""Where packages put basis sets and potentials."""

_VERSION = re.compile(r"CP2K version\s+(\S+)")
_ABORT = re.compile(r"\[ABORT\].*?\n(.*?)\n \*{20,}", re.S)
_FLAG_MAN = re.compile(r"(?m)^ \*[ |/\\_]*(?:O/\|)?[ |/\\_]*|\*\s*$")
_SOLVER = re.compile(r"cholesky|diagonali|eigenv|syevd|heevd|potrf|orthog", re.I)
_SCF = frozenset({Trouble.UNCONVERGED, Trouble.TIMED_OUT})

MORE_STEPS = Remedy(
    name="more_steps", helps=_SCF, words="MAX_SCF three times as large, at least 200"
)
OT_LADDER = (
    Remedy(
        name="outer_loop",
        helps=_SCF,
        words="20 outer loops of 30 steps in place of one",
    ),
    Remedy(
        name="conjugate_gradient", helps=_SCF, words="OT with MINIMIZER CG for DIIS"
    ),
    Remedy(
        name="full_preconditioner",
        helps=_SCF | {Trouble.BROKEN},
        words="OT with PRECONDITIONER FULL_ALL and ENERGY_GAP 0.01",
    ),
)
"""Remedies of the orbital transformation; none of them moves the converged result."""

MIXING_LADDER = (
    MORE_STEPS,
    Remedy(
        name="smaller_mixing",
        helps=_SCF | {Trouble.BROKEN},
        words="Broyden mixing with ALPHA 0.1 and NBROYDEN 8",
    ),
)
"""Remedies of diagonalisation; none of them moves the converged result."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Cp2kDriver:
    """CP2K with one template, for frames of the elements that it has kinds of."""

    name: ClassVar[str] = "cp2k"
    code: ClassVar[str] = "cp2k"

    options: Cp2kOptions
    template: Section
    ladder: tuple[Remedy, ...]
    """Remedies that may be tried."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label."""
        return {
            "driver": self.name,
            "version": self.options.version or version_of(self.options.command),
            "template": canonical(self.template),
            "files": self._digests(),
        }

    def foretold(self) -> dict[str, Any]:
        """Return what the template tells of the level of theory."""
        told = theory_of_input(self.options.template.read_text())
        return {"code": self.name, **told} if told else {}

    def declared(self) -> dict[str, Any] | None:
        """Return nothing: logs of CP2K tell their level of theory."""
        return None

    def check_frames(self, frames: Frames) -> None:
        """Check elements and cells."""
        kinds = kinds_of(self.template)
        if kinds and not is_xtb(self.template):
            demand_elements(frames, kinds, where="label.cp2k.template: &KIND")
        demand_cells(frames, where="label.cp2k")

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write the input, and the files that it names."""
        del attempt
        for path in self.options.files:
            shutil.copyfile(path, folder / path.name)
        (folder / INPUT).write_text(input_of(self.template, frame, remedies))

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Run CP2K."""
        del attempt
        command = program_of(self.options.command, where="label.cp2k.command")
        data = self.options.data
        run_job(
            [*command, "-i", INPUT],
            folder,
            output=OUTPUT,
            resources=resources,
            environment={DATA_VARIABLE: str(data)} if data is not None else None,
        )

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Judge the log."""
        return finding(*judge(folder), ladder=self.ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return log and input."""
        return folder / OUTPUT, folder / INPUT

    def _digests(self) -> dict[str, str | None]:
        """Return the digest of each file that the template names; None = not here."""
        found: dict[str, str | None] = {
            path.name: digest_of(path, where="label.cp2k.files")
            for path in self.options.files
        }
        for path, key in DATA_KEYS:
            section = self.template.find("FORCE_EVAL", "DFT", *path)
            for name in [] if section is None else section.values_of(key):
                if Path(name).name not in found:
                    found[Path(name).name] = self._digest_of_data(name)
        return dict(sorted(found.items()))

    def _digest_of_data(self, name: str) -> str | None:
        if self.options.data is not None:
            places = [self.options.data]
        else:
            given = os.environ.get(DATA_VARIABLE)
            places = [*([Path(given)] if given else []), *map(Path, SYSTEM_DATA)]
        # an absolute name stands for itself
        paths = [place / name for place in places]
        found = [path for path in paths if path.is_file()]
        return digest_of(found[0], where="label.cp2k") if found else None


def build(settings: LabelSettings) -> Cp2kDriver:
    """Make the driver of settings with absolute paths.

    Raises:
        ConfigError: If the template or a file beside it is missing or does not fit.
    """
    options = settings.cp2k
    if options is None:
        raise ConfigError(
            "label.cp2k: missing; expected at least a template. Add a table "
            '[label.cp2k] with template = "cp2k.inp".'
        )
    text = text_of(options.template, where="label.cp2k.template")
    for path in options.files:
        digest_of(path, where="label.cp2k.files")
    template = parse(text, where=str(options.template))
    if template.find("FORCE_EVAL", "DFT") is None:
        raise ConfigError(
            f"label.cp2k.template: {options.template}: has no &FORCE_EVAL with &DFT; "
            "expected an input of CP2K's DFT or tight binding. Name one."
        )
    ladder = OT_LADDER if uses_ot(template) else MIXING_LADDER
    return Cp2kDriver(
        options=options,
        template=template,
        ladder=chosen(
            ladder, options.remedies, known=ladder, where="label.cp2k.remedies"
        ),
    )


def version_of(command: str) -> str:
    """Ask CP2K for its version.

    Raises:
        ConfigError: If it is not there, or says nothing.
    """
    words = program_of(command, where="label.cp2k.command")
    version, said = said_version([*words, "--version"], _VERSION)
    if version is None:
        raise ConfigError(
            f"label.cp2k.command = {command!r}: printed no 'CP2K version' but {said}; "
            "expected CP2K. Name it, or set label.cp2k.version where it runs elsewhere."
        )
    return version


def judge(folder: Path) -> tuple[Trouble, str]:
    """Say what came of a run of CP2K, and why in one line."""
    run = read_run(folder)
    if run is None:
        return Trouble.DIED, "CP2K: the run has no end"
    text = (folder / OUTPUT).read_text(errors="replace")
    if "SCF run NOT converged" in text or "outer SCF loop FAILED" in text:
        return Trouble.UNCONVERGED, "CP2K: self-consistency not reached"
    if run.timed_out:
        return Trouble.TIMED_OUT, f"CP2K: {run.in_words()}"
    has_label = "ENERGY| Total FORCE_EVAL" in text and "PROGRAM ENDED AT" in text
    if has_label and "SCF run converged" in text:
        return Trouble.NONE, ""
    abort = _ABORT.search(text)
    if abort is not None:
        # the message stands right of a small man with a flag
        words = " ".join(_FLAG_MAN.sub(" ", abort[1]).split())
        is_solver = _SOLVER.search(words) is not None
        return (Trouble.BROKEN if is_solver else Trouble.REFUSED), f"CP2K: {words}"
    return died("CP2K", run, folder / OUTPUT)
