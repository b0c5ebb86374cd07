"""Table ``[label.command]``: how a program of the user labels."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandOptions:
    """Options of a command that takes a structure and leaves an output."""

    command: str
    """What runs in the folder of each frame, as in a shell without redirections; its
    print-out goes to ``job.out``. A program with a slash in its name is sought from the
    configuration; scripts are best named in ``files`` as well."""
    code: str
    """The CODE argument of ``dpbench ingest`` that reads the outputs: ``vasp``, ``qe``,
    ``cp2k``, ``extxyz``, ``deepmd``, ``dpdata:FORMAT`` ..."""
    outputs: tuple[str, ...]
    """Files that the command leaves and ingest reads, main file first."""
    structure: str = "structure.extxyz"
    """Name of the file that the frame is written to before."""
    format: Literal["extxyz", "poscar"] = "extxyz"
    """What is written there."""
    files: tuple[Path, ...] = ()
    """Files that are copied into each folder; their content decides the label. In them
    ``{{natoms}}`` and the like stand for facts of the frame (``frame_facts``)."""
    done: str = ""
    """Text that the print-out or an output must hold for a converged end; empty = an
    exit status of 0 is enough."""
    version: str = ""
    """Version of the program; part of what decides a label."""
    theory: Path | None = None
    """File of a level of theory (as of ``dpbench ingest --theory``), for outputs that
    tell none."""
    remedies: dict[str, str] = field(default_factory=dict)
    """Name -> command that runs in place of ``command`` in the attempt after one that
    failed, in this order."""

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        if not self.outputs:
            raise ConfigError("outputs = []; expected at least one file. Name it.")
        names = [self.structure, *self.outputs, *(path.name for path in self.files)]
        for name in names:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ConfigError(
                    f"'{name}': lies outside of a frame's folder; expected a name "
                    "inside. Give it relative to that folder."
                )
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(
                f"'{min(twice)}': named twice among structure, outputs and files; "
                "expected each once. Rename one."
            )

    def resolved(self, base: Path) -> "CommandOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""
        first, space, rest = self.command.partition(" ")
        if "/" in first:
            first = str((base / first).resolve())
        theory = None if self.theory is None else (base / self.theory).resolve()
        files = tuple((base / path).resolve() for path in self.files)
        return replace(self, command=first + space + rest, files=files, theory=theory)
