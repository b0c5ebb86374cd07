"""Every error that dpbench raises on purpose.

DpbenchError
├── ConfigError       a configuration value or key, or a command's argument
├── WorkspaceError    the workspace folder, its registry or its disk
├── DatasetError      a dataset, version, split or segment
├── SourceError       a file of a DFT code that cannot be read
├── ModelError        a model file, or a model used outside what it knows
├── TrainingError     a training run that cannot start or go on
├── SimulationError   molecular dynamics that cannot start or go on
├── EvaluationError   a task or record of the evaluation
└── BackendError      a foreign program in an environment of its own
    ├── BackendRefused    it says that it does not do this
    ├── BackendCrashed    its worker is gone
    └── BackendTimeout    its worker was stopped because it took too long

A message reads *where: what was found; what was expected. What to do.* The command
line prints it as one line and exits 1; anything else that rises is a bug.
"""

import errno
from typing import Final

USER_ERRNOS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Trouble with the disk or its rights is the user's to mend, and not a bug."""


class DpbenchError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(DpbenchError):
    """A configuration key or value that cannot be used."""


class WorkspaceError(DpbenchError):
    """The workspace, its registry or its disk cannot be used."""


class DatasetError(DpbenchError):
    """A dataset, version, split or segment that is missing or damaged."""


class SourceError(DpbenchError):
    """A source file that yields no frame, or cannot be read at all."""


class ModelError(DpbenchError):
    """A model file that is damaged, or a model used outside what it knows."""


class NeighbourSlotsError(ModelError):
    """An atom with more neighbours than the model has slots (``sel``) for."""


class TrainingError(DpbenchError):
    """A training run that cannot start or go on."""


class SimulationError(DpbenchError):
    """A run of molecular dynamics that cannot start or go on."""


class EvaluationError(DpbenchError):
    """An evaluation task or result record that cannot be made or read."""


class BackendError(DpbenchError):
    """A backend that is missing or damaged, or answers what it should not."""


class BackendRefused(BackendError):  # noqa: N818 -- says what happened
    """A backend that says that it does not do what was asked."""


class BackendCrashed(BackendError):  # noqa: N818 -- says what happened
    """A backend whose worker is gone."""


class BackendTimeout(BackendError):  # noqa: N818 -- says what happened
    """A backend whose worker was stopped because it took too long."""
