"""Driver of calculators of ASE, in this process or in one of its own."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import dpbench
from dpbench.errors import ConfigError
from dpbench.explore.labels import ase_child, in_process
from dpbench.explore.labels.ase_options import AseOptions
from dpbench.explore.labels.ase_single_point import (
    factory,
    package_version,
    single_point,
)
from dpbench.explore.labels.driver import Driver, Finding, JobResources, Trouble
from dpbench.explore.labels.given_files import digest_of
from dpbench.explore.labels.job import program_of, run_job
from dpbench.explore.labels.remedies import Remedy
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames
from dpbench.io.theory_file import read_theory_file
from dpbench.store.files import sha256_of_tree


def build(settings: LabelSettings) -> Driver:
    """Return the driver of these settings.

    Raises:
        ConfigError: If no calculator is named.
    """
    if settings.ase is None:
        raise ConfigError(
            "label.driver = 'ase': there is no table [label.ase]; expected one with at "
            "least calculator = 'package.module:Name'. Add it."
        )
    return AseDriver(options=settings.ase)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AseDriver:
    """Labels frames by a calculator of ASE."""

    name: ClassVar[str] = "ase"
    code: ClassVar[str] = in_process.CODE

    options: AseOptions

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label."""
        if self.options.python is None:
            factory(self.options.calculator)
        return {
            "driver": self.name,
            "calculator": self.options.calculator,
            "version": self._version(),
            "arguments": self._arguments_by_content(),
            "files": {
                path.name: digest_of(path, where="label.ase.files")
                for path in self.options.files
            },
        }

    def foretold(self) -> dict[str, Any]:
        """Return the level of theory."""
        return self.declared()

    def declared(self) -> dict[str, Any]:
        """Return the level of theory: an extended XYZ file tells none."""
        if self.options.theory is not None:
            return read_theory_file(self.options.theory)
        arguments = self._arguments_by_content()
        plain = {k: v for k, v in arguments.items() if isinstance(v, str | int | float)}
        return {
            "code": "ase",
            "code_version": self._version(),
            "functional": self.options.calculator,
            "energy_kind": "total energy",
            "details": plain,
        }

    def check_frames(self, frames: Frames) -> None:
        """Check that the calculator and its files are there."""
        del frames
        self.identity()

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Keep the frame that is asked for."""
        del attempt
        in_process.write_frame(frame, folder, remedies=remedies)

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Compute the label, here or in a process of its own."""
        del attempt
        frame, remedies = in_process.read_frame(folder)
        arguments = dict(self.options.arguments)
        for name in remedies:
            arguments |= self.options.attempts.get(name, {})
        if self._is_apart:
            self._run_apart(folder, frame, arguments, resources)
            return
        found = single_point(
            frame,
            self.options.calculator,
            arguments,
            folder=folder,
            keep=self.options.keep,
        )
        in_process.keep(folder, found)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Say what came of it."""
        found = ase_child.answer(folder)
        if found is not None:
            in_process.keep(folder, found)
        ladder = [
            Remedy(
                name=name,
                helps=frozenset({Trouble.UNCONVERGED, Trouble.BROKEN}),
                words=", ".join(f"{key} = {value}" for key, value in changes.items()),
            )
            for name, changes in self.options.attempts.items()
        ]
        return in_process.finding_of(folder, ladder=ladder, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return the file that holds the label."""
        return (folder / in_process.LABEL,)

    @property
    def _is_apart(self) -> bool:
        return self.options.isolated or self.options.python is not None

    def _run_apart(
        self,
        folder: Path,
        frame: Frames,
        arguments: dict[str, Any],
        resources: JobResources,
    ) -> None:
        calculator = self.options.calculator
        ase_child.ask(folder, frame, calculator=calculator, arguments=arguments)
        python = str(self.options.python or sys.executable)
        # an environment of its own has no dpbench
        package = str(Path(dpbench.__file__).resolve().parent.parent)
        paths = [package, os.environ.get("PYTHONPATH", "")]
        program = program_of(shlex.quote(python), where="label.ase.python")
        run_job(
            [*program, "-m", "dpbench.explore.labels.ase_child"],
            folder,
            output=in_process.OUTPUT,
            resources=resources,
            environment={"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        )

    def _version(self) -> str:
        return self.options.version or package_version(self.options.calculator)

    def _arguments_by_content(self) -> dict[str, Any]:
        """Return the arguments; files by what they hold and not by where they lie."""
        arguments = dict(self.options.arguments)
        for key in self.options.paths:
            path = Path(arguments[key])
            arguments[key] = (
                sha256_of_tree(path)
                if path.is_dir()
                else digest_of(path, where=f"label.ase.arguments.{key}")
            )
        return arguments
