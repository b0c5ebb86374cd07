"""From what a user typed, ``water-v2:test``, to frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import parse_reference
from dpbench.store.splits.filed import Split, find_split, named_split
from dpbench.store.workspace import Workspace

WHOLE = "all"
"""Name of the part that is the whole version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """Frames of a version."""

    version: DatasetVersion
    """The version."""
    split: Split | None
    """The split that the part belongs to; None for the whole version."""
    part: str
    """Part of the split, or ``all``."""
    frames: NDArray[np.int64]
    """Frame indices in version order."""

    @property
    def label(self) -> str:
        """``water-v2``, or ``water-v2:test``."""
        name = self.version.label
        return name if self.split is None else f"{name}:{self.part}"


def open_part(workspace: Workspace, text: str, *, split: str | None = None) -> Selected:
    """Open ``water``, ``water-v2`` or ``water-v2:test``.

    Args:
        workspace: Where the dataset is.
        text: As the user typed it.
        split: Name or start of the digest of the split that the part belongs to; None =
            the only one that there is.

    Raises:
        ConfigError: If the text is no reference.
        DatasetError: If there is no such dataset, split or part.
    """
    reference = parse_reference(text)
    version = open_dataset(workspace, reference, with_part=True)
    if reference.part in (None, WHOLE):
        frames = np.arange(version.nframes)
        return Selected(version=version, split=None, part=WHOLE, frames=frames)
    part = str(reference.part)
    found = find_split(version) if split is None else named_split(version, split)
    if found is None:
        raise DatasetError(
            f"{text}: {version.label} has no split yet; expected one with a part "
            f"'{part}'. Make it with 'dpbench dataset split {version.label}'."
        )
    frames = found.part(part)
    return Selected(version=version, split=found, part=part, frames=frames)
