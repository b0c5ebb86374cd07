"""Environment variables of processes that run in another environment."""

import os
from collections.abc import Mapping

OURS = (
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
)
"""Variables that lead Python to our packages and must not lead another's there."""

OWN_PATHS = "DPBENCH_PYTHONPATH"
"""Carries PYTHONPATH of an adopted installation to its worker, which is started with
``-I`` and would ignore it under its own name."""


def worker_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process of another environment.

    Args:
        env: What it needs besides those of this process.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, **env}


def for_isolated_python(variables: Mapping[str, str]) -> dict[str, str]:
    """Rename PYTHONPATH so that an interpreter started with ``-I`` gets it."""
    return {
        OWN_PATHS if name == "PYTHONPATH" else name: value
        for name, value in variables.items()
    }
