"""A command of the user: any program that takes a structure and leaves an output."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from dpbench.config import canonical_json
from dpbench.errors import ConfigError
from dpbench.explore.labels.command_options import CommandOptions
from dpbench.explore.labels.driver import Finding, JobResources, Trouble
from dpbench.explore.labels.frame_facts import check_template, filled
from dpbench.explore.labels.job import last_words, program_of, read_run, run_job
from dpbench.explore.labels.remedies import Remedy, finding
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.vasp_input import poscar
from dpbench.frames import Frames
from dpbench.io.readers import CODES, DPDATA_PREFIX
from dpbench.io.text import read_text
from dpbench.io.theory_file import read_theory_file
from dpbench.io.writers.extxyz import frame_text
from dpbench.store.files import sha256_of_file

PRINTED = "job.out"
"""What the command printed."""

COMMAND_FILE = "command.json"
"""The command line of this attempt."""

_HELPS = frozenset(
    {Trouble.UNCONVERGED, Trouble.DIED, Trouble.TIMED_OUT, Trouble.BROKEN}
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CommandDriver:
    """A command in a folder with the structure and the user's files."""

    name: ClassVar[str] = "command"

    options: CommandOptions
    theory: dict[str, Any] | None
    """Level of theory that was declared; None = the outputs tell it."""

    @property
    def code(self) -> str:
        """The reader of the outputs."""
        return self.options.code

    def identity(self) -> dict[str, Any]:
        """Return command, files by content, and what the user told of it."""
        options = self.options
        program = program_of(options.command, where="label.command.command")[0]
        own = Path(program).resolve()
        is_own = "/" in options.command.partition(" ")[0]
        rest = options.command.partition(" ")[2]
        return {
            "driver": self.name,
            "version": options.version,
            "command": [sha256_of_file(own) if is_own else own.name, rest],
            "files": {path.name: sha256_of_file(path) for path in options.files},
            "structure": [options.structure, options.format],
            "code": options.code,
            "outputs": list(options.outputs),
            "theory": _digest(self.theory),
        }

    def foretold(self) -> dict[str, Any]:
        """Return the level of theory that was declared."""
        return dict(self.theory or {})

    def declared(self) -> dict[str, Any] | None:
        """Return the level of theory that was declared."""
        return self.theory

    def check_frames(self, frames: Frames) -> None:
        """Check that a POSCAR can be written."""
        if self.options.format == "poscar":
            open_ones = int(np.count_nonzero(np.isnan(frames.box).any(axis=(1, 2))))
            if open_ones:
                raise ConfigError(
                    f"label.command.format = 'poscar': {open_ones} of {frames.nframes} "
                    "frames have no cell; expected one. Write extxyz."
                )

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write the structure, and the files with the frame's facts in them."""
        options = self.options
        text = poscar(frame) if options.format == "poscar" else ""
        if options.format == "extxyz":
            text = frame_text(frame, 0, f"attempt={attempt}")
        (folder / options.structure).write_text(text)
        for path in options.files:
            target = folder / path.name
            template = _text(path)
            if template is None:
                target.write_bytes(path.read_bytes())
            else:
                target.write_text(filled(template, frame))
            target.chmod(path.stat().st_mode)
        named = [options.remedies[r] for r in remedies if r in options.remedies]
        command = named[-1] if named else options.command
        (folder / COMMAND_FILE).write_text(json.dumps(command))

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Run the command of this attempt."""
        line = json.loads((folder / COMMAND_FILE).read_text())
        command = program_of(line, where="label.command.command")
        run_job(command, folder, output=PRINTED, resources=resources)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Look at exit status, outputs and the words that mean a good end."""
        ladder = [
            Remedy(name=name, helps=_HELPS, words=line)
            for name, line in self.options.remedies.items()
        ]
        return finding(*self._judge(folder), ladder=ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return the files that were named."""
        return tuple(folder / name for name in self.options.outputs)

    def _judge(self, folder: Path) -> tuple[Trouble, str]:
        options, run = self.options, read_run(folder)
        if run is None:
            return Trouble.DIED, "the command: the run has no end"
        words = f"its last words: {last_words(folder / PRINTED)}"
        if run.timed_out:
            return Trouble.TIMED_OUT, f"the command {run.in_words()}; {words}"
        if run.status:
            return Trouble.DIED, f"the command {run.in_words()}; {words}"
        missing = [name for name in options.outputs if not (folder / name).is_file()]
        if missing:
            return Trouble.BROKEN, f"the command left no {missing[0]}; {words}"
        places = [folder / PRINTED, *self.outputs(folder)]
        if options.done and not any(options.done in read_text(p) for p in places):
            return (
                Trouble.UNCONVERGED,
                f"no '{options.done}' in what the command left; {words}",
            )
        return Trouble.NONE, ""


def build(settings: LabelSettings) -> CommandDriver:
    """Make the driver of settings with absolute paths.

    Raises:
        ConfigError: If a file is missing, asks for an unknown fact, or no reader fits.
    """
    options = settings.command
    if options is None:
        raise ConfigError(
            "label.command: missing; expected the command, the reader of its outputs "
            "and their names. Add a table [label.command]."
        )
    if options.code not in CODES and not options.code.startswith(DPDATA_PREFIX):
        raise ConfigError(
            f"label.command.code = '{options.code}': no reader; expected one of "
            f"{', '.join(CODES)} or dpdata:FORMAT. Correct it."
        )
    for path in options.files:
        if not path.is_file():
            raise ConfigError(
                f"label.command.files: {path}: is no file. Correct the path."
            )
        text = _text(path)
        if text is not None:
            check_template(text, where=str(path))
    theory = None if options.theory is None else read_theory_file(options.theory)
    return CommandDriver(options=options, theory=theory)


def _text(path: Path) -> str | None:
    """Return the text of a file; None if it is none."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def _digest(theory: dict[str, Any] | None) -> str | None:
    if theory is None:
        return None
    return hashlib.sha256(canonical_json(theory)).hexdigest()
