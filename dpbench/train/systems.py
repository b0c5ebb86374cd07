"""The systems that an input.json names, as a dataset with a split."""

import glob
from collections.abc import Sequence
from pathlib import Path

from dpbench.errors import ConfigError
from dpbench.io.ingest import ingest
from dpbench.io.leakage.split import with_leakage
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import name_from
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from dpbench.train.input_json import InputJson


def ingest_systems(
    workspace: Workspace, found: InputJson, config_path: Path
) -> tuple[str, str]:
    """Ingest the systems of an input.json, and file the split that it states.

    Training systems become the part ``train``, validation systems ``validation``;
    what an older version of the dataset holds beside them is ``unused``.

    Args:
        workspace: Where the dataset goes; it is named after the file's folder.
        found: The file as read.
        config_path: The file.

    Returns:
        Label of the version, and digest of the split.

    Raises:
        ConfigError: If it names no training system, or one is not there.
        SourceError: If a system cannot be read.
    """
    if not found.systems:
        raise ConfigError(
            f"{config_path}: training.training_data names no systems; expected some. "
            "Add them, or name a dataset with --dataset."
        )
    train = [_locate(path, config_path) for path in found.systems]
    validation = [_locate(path, config_path) for path in found.validation_systems]
    name = name_from(config_path.absolute().parent.name)
    report = ingest(workspace, "deepmd", [*train, *validation], dataset=name)
    version = open_dataset(workspace, report.label or name)
    held = {
        "validation": _sources_under(version, validation),
        "unused": _sources_outside(version, [*train, *validation]),
    }
    split = make_split(
        version,
        fractions={"train": 1.0},
        hold_out={part: patterns for part, patterns in held.items() if patterns},
    )
    save_split(version, with_leakage(version, split))
    return version.label, split.digest


def _locate(path: str, config_path: Path) -> Path:
    """Find a system: as DeePMD-kit does from here, else from the file's folder."""
    if "#" in path:
        raise ConfigError(
            f"{config_path}: system {path} is a part of an HDF5 file; expected a "
            "folder, other kinds are not supported here yet. Ingest the file with "
            "'dpbench ingest deepmd', then name the dataset with --dataset."
        )
    for root in (Path.cwd(), config_path.absolute().parent):
        if (root / path).exists():
            return (root / path).resolve()
    raise ConfigError(
        f"{config_path}: system {path} is neither under {Path.cwd()} nor beside the "
        "file. Correct the path, or name a dataset with --dataset."
    )


def _sources_under(version: DatasetVersion, folders: Sequence[Path]) -> list[str]:
    """Patterns of the sources that lie in any of ``folders``."""
    return [
        glob.escape(source.path)
        for source in version.sources
        if _lies_in(source.path, folders)
    ]


def _sources_outside(version: DatasetVersion, folders: Sequence[Path]) -> list[str]:
    """Patterns of the sources that lie in none of ``folders``."""
    return [
        glob.escape(source.path)
        for source in version.sources
        if not _lies_in(source.path, folders)
    ]


def _lies_in(path: str, folders: Sequence[Path]) -> bool:
    return any(Path(path).resolve().is_relative_to(folder) for folder in folders)
