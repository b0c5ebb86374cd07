"""Splits as they are filed: named parts of a version, found by name or digest."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store import catalog
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import as_keys
from dpbench.store.masks import from_ranges, to_ranges

FORMAT = 2
"""Version of the split object. 1 had neither ``name`` nor ``leakage``."""

DEFAULT_FRACTIONS: Mapping[str, float] = {
    "train": 0.8,
    "validation": 0.1,
    "test": 0.1,
}
"""Shares of the parts where a user names none."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Named, disjoint parts of one dataset version."""

    digest: str
    """``dpb1:...`` over the dataset's digest and the frames of every part."""
    dataset_digest: str
    """Digest of the version."""
    strategy: str
    """What was done, which may not be what was asked."""
    seed: int
    """Seed of the order in which groups were dealt."""
    parameters: dict[str, Any]
    """Fractions, hold-outs, gap, twins, and what was asked if it could not be done."""
    parts: dict[str, NDArray[np.int64]]
    """Frame indices in version order, rising, by part."""
    names: tuple[str, ...] = ()
    """What users call it."""
    leakage: dict[str, Any] | None = field(default=None)
    """What every part shares with ``train``, as ``io.leakage_split`` found it when the
    split was made: plain JSON by part; None = it was not measured then."""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of frames of each part."""
        return {name: len(index) for name, index in self.parts.items()}

    @property
    def label(self) -> str:
        """Its name, else the start of its digest."""
        return self.names[0] if self.names else self.digest[:17]

    def part(self, name: str) -> NDArray[np.int64]:
        """Return the frame indices of a part.

        Raises:
            DatasetError: If there is no such part.
        """
        if name not in self.parts:
            raise DatasetError(
                f"split {self.label}: has no part '{name}'; it has "
                f"{', '.join(self.parts)}. See 'dpbench dataset split'."
            )
        return self.parts[name]


def save_split(version: DatasetVersion, split: Split) -> str:
    """File a split of ``version`` and return the digest of its object.

    Raises:
        DatasetError: If its name is none, or another split of the version has it.
        WorkspaceError: If it cannot be written.
    """
    if len(split.names) > 1:
        raise DatasetError(
            f"split {split.digest[:17]}: has the names {', '.join(split.names)}; "
            "expected one at a time. File it once for each."
        )
    name = split.names[0] if split.names else None
    if name is not None:
        _check_name(version, name, split.digest)
    payload = {
        "format": FORMAT,
        "digest": split.digest,
        "name": name,
        "dataset_digest": split.dataset_digest,
        "version": version.object_id,
        "dataset": version.label,
        "strategy": split.strategy,
        "seed": split.seed,
        "parameters": split.parameters,
        "sizes": split.sizes,
        "parts": {part: to_ranges(index) for part, index in split.parts.items()},
        "leakage": split.leakage,
    }
    return catalog.register_split(version.workspace, payload)


def list_splits(version: DatasetVersion) -> list[Split]:
    """Read all filed splits of a version, in the order of their objects' names.

    A split that was filed more than once, under two names or before its leakage was
    measured, is listed once with all its names.

    Raises:
        DatasetError: If a split's object is damaged.
    """
    mine = catalog.split_payloads(version.workspace, version.digest)
    by_digest: dict[str, list[dict[str, Any]]] = {}
    for payload in mine:
        by_digest.setdefault(payload["digest"], []).append(payload)
    return [_merged(version, same) for same in by_digest.values()]


def find_split(version: DatasetVersion, digest: str | None = None) -> Split | None:
    """Find a filed split of a version.

    Args:
        version: The version.
        digest: Digest of the split; None = the only one there is.

    Returns:
        The split, or None if there is no such split.

    Raises:
        DatasetError: If ``digest`` is None and there are several.
    """
    found = {split.digest: split for split in list_splits(version)}
    if digest is not None:
        return found.get(digest)
    if len(found) > 1:
        raise DatasetError(
            f"{version.label}: has {len(found)} splits ({_known(found.values())}); "
            "expected one. Name the one to use with --split."
        )
    return next(iter(found.values()), None)


def named_split(version: DatasetVersion, wanted: str) -> Split:
    """Find the split of a version that is called ``wanted``.

    Args:
        version: The version.
        wanted: A split's name, or its digest or the start of one, with or without its
            scheme. A name wins over the start of a digest.

    Raises:
        DatasetError: If there is no such split, or several.
    """
    splits = list_splits(version)
    found = [split for split in splits if wanted in split.names]
    found = found or [
        split
        for split in splits
        if split.digest.startswith(wanted)
        or split.digest.partition(":")[2].startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    raise DatasetError(
        f"split {wanted}: {len(found)} splits of {version.label} are called so; it "
        f"has {_known(splits) or 'none'}. Make one with 'dpbench dataset split "
        f"{version.label}'."
    )


def in_order(parts: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Name train, validation and test first, the others by name."""
    first = list(DEFAULT_FRACTIONS)
    order = sorted(parts, key=lambda n: (first.index(n) if n in first else 9, n))
    return {name: parts[name] for name in order}


def _check_name(version: DatasetVersion, name: str, digest: str) -> None:
    if not _NAME.fullmatch(name):
        raise DatasetError(
            f"split '{name}': is no name; expected letters, digits, '.', '_' and '-', "
            "starting with a letter or digit, such as 'by-run'."
        )
    for split in list_splits(version):
        if name in split.names and split.digest != digest:
            raise DatasetError(
                f"split '{name}': is the name of another split of {version.label} "
                f"({split.digest[:17]}); names are never given twice. Choose another."
            )


def _known(splits: Iterable[Split]) -> str:
    return ", ".join(
        f"{split.names[0]} ({split.digest[:17]})" if split.names else split.digest[:17]
        for split in splits
    )


def _merged(version: DatasetVersion, same: list[dict[str, Any]]) -> Split:
    """Build one split of its payloads; the one that says most speaks."""
    for payload in same:
        if payload["format"] > FORMAT:
            raise DatasetError(
                f"split {payload['digest'][:17]} of {version.label}: has format "
                f"{payload['format']}; this dpbench reads formats up to {FORMAT}. "
                "Update dpbench."
            )
    told = max(same, key=lambda p: (p.get("leakage") is not None, p["format"]))
    names = sorted({p["name"] for p in same if p.get("name")})
    return replace(_from_payload(version, told), names=tuple(names))


def _from_payload(version: DatasetVersion, payload: dict[str, Any]) -> Split:
    """Build a split; one made on the same content in another order is carried over."""
    parts = {name: from_ranges(r) for name, r in payload["parts"].items()}
    if payload["version"] != version.object_id:
        here = _places(version, payload["version"])
        parts = {name: np.sort(here[index]) for name, index in parts.items()}
    return Split(
        digest=payload["digest"],
        dataset_digest=payload["dataset_digest"],
        strategy=payload["strategy"],
        seed=payload["seed"],
        parameters=payload["parameters"],
        parts=in_order(parts),
        leakage=payload.get("leakage"),
    )


def _places(version: DatasetVersion, other_id: str) -> NDArray[np.int64]:
    """(frame of the other), where each frame of a version of equal content is here."""
    other = DatasetVersion(version.workspace, other_id)
    order = np.argsort(as_keys(version.frame_digests), kind="stable")
    rank = np.argsort(as_keys(other.frame_digests), kind="stable")
    here = np.empty(version.nframes, dtype=np.int64)
    here[rank] = order
    return here
