"""How users name data: ``water``, ``water-v2``, ``water-v2:test``."""

import re
from dataclasses import dataclass

from dpbench.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSIONED = re.compile(r"(?P<name>.+)-v(?P<number>[0-9]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetReference:
    """A dataset, perhaps one version of it, perhaps one part of its split."""

    name: str
    """Name of the dataset."""
    number: int | None = None
    """Version; None = the newest."""
    part: str | None = None
    """Part of the split, e.g. ``test``; None = all frames."""

    def __str__(self) -> str:
        """Write the reference as users do."""
        number = "" if self.number is None else f"-v{self.number}"
        part = "" if self.part is None else f":{self.part}"
        return f"{self.name}{number}{part}"


def parse_reference(text: str) -> DatasetReference:
    """Read ``NAME[-vN][:PART]``.

    Raises:
        ConfigError: If it is not of that form.
    """
    dataset, colon, part = text.partition(":")
    match = _VERSIONED.fullmatch(dataset)
    name = match["name"] if match else dataset
    number = int(match["number"]) if match else None
    is_bad_part = bool(colon) and not _NAME.fullmatch(part)
    if not _NAME.fullmatch(name) or number == 0 or is_bad_part:
        raise ConfigError(
            f"dataset '{text}': is not of the form NAME[-vN][:PART]; expected e.g. "
            "'water', 'water-v2' or 'water-v2:test'. See 'dpbench dataset list'."
        )
    return DatasetReference(name=name, number=number, part=part or None)


def refuse_part(reference: DatasetReference) -> None:
    """Check that a reference means a whole version, where no part can be taken.

    Raises:
        ConfigError: If it names a part.
    """
    if reference.part is not None:
        whole = str(reference).partition(":")[0]
        raise ConfigError(
            f"dataset '{reference}': names a part; expected a whole version here. "
            f"Say '{whole}'. Parts are taken by 'dpbench evaluate', 'dpbench dataset "
            "export' and 'dpbench dataset leakage'."
        )


def check_name(name: str) -> str:
    """Return ``name`` if a new dataset may have it.

    Raises:
        ConfigError: If it may not.
    """
    match = _VERSIONED.fullmatch(name)
    if match and _NAME.fullmatch(name):
        raise ConfigError(
            f"dataset '{name}': names a version, and versions are made by ingest; "
            f"expected a plain name. Say --dataset {match['name']}: ingest adds the "
            "next version to it."
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"dataset '{name}': is no name; expected letters, digits, '.', '_' and "
            "'-', starting with a letter or digit. Choose another with --dataset."
        )
    return name


def check_part(name: str) -> str:
    """Return ``name`` if a part of a split may have it.

    Raises:
        ConfigError: If it may not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"part '{name}': is no name; expected letters, digits, '.', '_' and '-', "
            "such as 'test' or 'ood'."
        )
    return name


def name_from(text: str) -> str:
    """Make a dataset name of a folder's name: ``My run (2)`` gives ``My-run-2``."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")
    match = _VERSIONED.fullmatch(name)
    return (f"{match['name']}_v{match['number']}" if match else name) or "dataset"
