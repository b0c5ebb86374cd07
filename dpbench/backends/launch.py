"""How the worker of a backend is started: one value, passed from cards to the client.

``environments.launch_of`` makes it, ``client.open_backend`` and ``client.run_task``
take it; ``client`` imports it from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What starts a worker: ``python -I serve.py adapter`` under ``env``."""

    name: str
    """Name of the backend, as messages and records say it."""
    python: Path
    """Interpreter of its environment, absolute."""
    adapter: Path
    """Script that opens its models, absolute."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that its worker needs besides those of this process."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of its card; those that a caller gives stand above them."""
    reads_text: bool = False
    """Whether its adapter takes tables and descriptions for text, whatever is in
    them. To any other such a file may be a program."""
    takes_suffix: bool = False
    """Whether its adapter opens a file by the option ``suffix``, whatever its name."""
