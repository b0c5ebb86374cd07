"""Table ``[label.ase]``: how a calculator of ASE labels."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class AseOptions:
    """Options of any calculator that follows ASE's interface."""

    calculator: str
    """Where its class or factory is imported from, ``package.module:Name``, e.g.
    ``ase.calculators.emt:EMT`` or ``gpaw:GPAW``."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What it is called with."""
    files: tuple[Path, ...] = ()
    """Files whose content decides the label: parameters, weights, potentials."""
    paths: tuple[str, ...] = ()
    """Names of arguments that are files or folders beside the configuration."""
    keep: bool = False
    """Whether one calculator serves all frames of a process: for those that are slow
    to load. One that starts from what it found last labels a frame by its history."""
    isolated: bool = False
    """Whether each label has a process of its own, which can be stopped when its time
    is over, and whose death costs nothing else; it takes a second to start."""
    python: Path | None = None
    """Interpreter of an environment that has the calculator, ASE and numpy (Python
    3.11 or newer); ``isolated`` follows. None = this one."""
    attempts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Remedies: name -> arguments that change in the attempt after one that did not
    converge, in this order. They must not move the label."""
    theory: Path | None = None
    """File of a level of theory (as of ``dpbench ingest --theory``); None = the name
    of the calculator and its arguments."""
    version: str = ""
    """Version of what computes, where the Python package does not tell it."""

    def __post_init__(self) -> None:
        """Check what does not need the calculator."""
        module, _, name = self.calculator.partition(":")
        if not name.isidentifier() or not all(map(str.isidentifier, module.split("."))):
            raise ConfigError(
                f"calculator = '{self.calculator}'; expected package.module:Name, e.g. "
                "'ase.calculators.emt:EMT'."
            )
        if self.keep and (self.isolated or self.python is not None):
            raise ConfigError(
                "keep and isolated: both given; expected one of them. A process of its "
                "own serves one frame."
            )
        for key in self.paths:
            if not isinstance(self.arguments.get(key), str):
                raise ConfigError(
                    f"paths: '{key}' is no argument that names a file; expected one of "
                    f"{', '.join(self.arguments) or 'arguments, which has none'}."
                )

    def resolved(self, base: Path) -> "AseOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""
        named = {key: str((base / self.arguments[key]).resolve()) for key in self.paths}
        return replace(
            self,
            arguments={**self.arguments, **named},
            files=tuple((base / path).resolve() for path in self.files),
            # not resolved: the link of a virtual environment is what makes it one
            python=None if self.python is None else (base / self.python).absolute(),
            theory=None if self.theory is None else (base / self.theory).resolve(),
        )
