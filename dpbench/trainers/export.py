"""A split in the format of a foreign trainer: training and validation, never the test.

Energies are the labels as they stand in the dataset: total energies, eV. No frame of an
isolated atom is added; what a trainer subtracts, it fits to the training frames.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import TrainingError
from dpbench.io.exchange.content import Content
from dpbench.io.exchange.export import export_dataset
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split
from dpbench.store.splits.parts import open_part
from dpbench.store.workspace import Workspace

FOLDER = "data"
"""Where the parts lie, in the folder of a run."""

XYZ = "data.xyz"
"""File of the format ``extxyz``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """Two parts of a split as files."""

    label: str
    """The version, e.g. ``almg-v1``."""
    elements: tuple[str, ...]
    """All elements of the two parts, by atomic number."""
    trained: tuple[str, ...]
    """Elements of the training part."""
    train: tuple[str, ...]
    """Systems or files of the training part, relative to the run's folder."""
    validation: tuple[str, ...]
    """Of the validation part; empty where the split has none."""
    sizes: dict[str, int]
    """Frames of ``train`` and ``validation``."""
    has_virial: bool
    """Whether every training frame has a virial."""


def export_split(
    workspace: Workspace,
    version: DatasetVersion,
    split: Split,
    *,
    format_name: str,
    folder: Path,
) -> Exported:
    """Write the training and validation frames below ``folder / "data"``.

    Args:
        workspace: Where the dataset is.
        version: The dataset.
        split: The split.
        format_name: ``deepmd/npy`` or ``extxyz``.
        folder: Of the run.

    Raises:
        TrainingError: If there is nothing to train on, or labels are missing.
        WorkspaceError: If the files cannot be written.
    """
    found: dict[str, tuple[str, ...]] = {"train": (), "validation": ()}
    elements: dict[str, tuple[str, ...]] = dict(found)
    has_virial = False
    sizes = {part: len(split.parts.get(part, ())) for part in found}
    if not sizes["train"]:
        raise TrainingError(
            f"{version.label}: the split has no training frames; expected some. Make "
            f"another with 'dpbench dataset split {version.label}'."
        )
    for part in [part for part, size in sizes.items() if size]:
        reference = f"{version.label}:{part}"
        content = Content(open_part(workspace, reference, split=split.digest))
        _check_labels(content, reference)
        elements[part] = content.elements
        if part == "train":
            has_virial = bool(content.survey.has_virial.all())
        target = folder / FOLDER / part
        target.parent.mkdir(exist_ok=True)
        export_dataset(workspace, reference, format_name, target, split=split.digest)
        found[part] = _files(target, folder)
    return Exported(
        label=version.label,
        elements=_by_number(elements["train"] + elements["validation"]),
        trained=elements["train"],
        train=found["train"],
        validation=found["validation"],
        sizes=sizes,
        has_virial=has_virial,
    )


def _check_labels(content: Content, reference: str) -> None:
    """Foreign trainers take what is missing for zero, or stop in the middle."""
    for name in ("energy", "force"):
        has: NDArray[np.bool_] = getattr(content.survey, f"has_{name}")
        if not has.all():
            raise TrainingError(
                f"{reference}: {int((~has).sum())} of {len(has)} frames have no "
                f"{name}; expected it of all, for foreign trainers differ in what they "
                "make of missing labels. Train on a version without those frames."
            )


def _files(target: Path, folder: Path) -> tuple[str, ...]:
    """Name the systems of an export, or its one file, relative to ``folder``."""
    systems = sorted(path.parent for path in target.rglob("type.raw"))
    chosen = systems or [target / XYZ]
    return tuple(path.relative_to(folder).as_posix() for path in chosen)


def _by_number(elements: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(elements), key=SYMBOLS.index))
