"""Splits: named parts of a version that no trajectory straddles.

A split is an immutable object that lists the frames of each part. Its digest is made
of the sorted frame digests of every part, so it does not depend on segments or order.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.store import catalog, objects
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import SCHEME, as_keys
from dpbench.store.masks import from_ranges, to_ranges
from dpbench.store.split_groups import (
    by_block,
    by_group,
    find_groups,
    held_out_frames,
)

FORMAT = 1
"""Version of the split object."""

DEFAULT_FRACTIONS: Mapping[str, float] = {
    "train": 0.8,
    "validation": 0.1,
    "test": 0.1,
}
"""Shares of the parts where a user names none."""

Strategy = Literal["trajectory", "block"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Named, disjoint parts of one dataset version."""

    digest: str
    """``dpb1:...`` over the dataset's digest and the frames of every part."""
    dataset_digest: str
    """Digest of the version."""
    strategy: str
    """``trajectory`` or ``block``; what was done, which may not be what was asked."""
    seed: int
    """Seed of the order in which groups were dealt."""
    parameters: dict[str, Any]
    """Fractions, hold-outs, gap, and what was asked if it could not be done."""
    parts: dict[str, NDArray[np.int64]]
    """Frame indices in version order, rising, by part."""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of frames of each part."""
        return {name: len(index) for name, index in self.parts.items()}

    def part(self, name: str) -> NDArray[np.int64]:
        """Return the frame indices of a part.

        Raises:
            DatasetError: If there is no such part.
        """
        if name not in self.parts:
            raise DatasetError(
                f"split {self.digest[:17]}: has no part '{name}'; it has "
                f"{', '.join(self.parts)}. See 'dpbench dataset split'."
            )
        return self.parts[name]


def make_split(
    version: DatasetVersion,
    *,
    strategy: Strategy = "trajectory",
    seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    hold_out: Mapping[str, Sequence[str]] | None = None,
) -> Split:
    """Deal the frames of a version to parts.

    Whole trajectories (source files; the one-frame files of a folder together) go to
    one part each. With ``block``, or where there are fewer trajectories than parts,
    every trajectory is cut into one contiguous block a part, with a gap of a hundredth
    of its frames, at least one, between them; frames in a gap belong to no part.

    Args:
        version: The version.
        strategy: ``trajectory`` or ``block``.
        seed: Decides the order in which trajectories, or blocks, are dealt.
        fractions: Share of each part, by name; default 0.8 train, 0.1 validation,
            0.1 test. Parts that ``hold_out`` names are left out of it.
        hold_out: Patterns of source paths by part: these sources go there whole.

    Returns:
        The split, not yet filed.

    Raises:
        DatasetError: If a pattern fits nothing, two fit one source, or a part would
            be empty.
    """
    _check_strategy(strategy)
    held = held_out_frames(version, hold_out or {})
    shares = _shares(DEFAULT_FRACTIONS if fractions is None else fractions, held)
    taken = np.zeros(version.nframes, dtype=np.bool_)
    for index in held.values():
        taken[index] = True
    rest = np.flatnonzero(~taken)
    groups = find_groups(version, rest)
    parameters: dict[str, Any] = {
        "fractions": shares,
        "hold_out": {name: list(p) for name, p in (hold_out or {}).items()},
    }
    done: str = strategy
    if strategy == "trajectory" and len(groups) < len(shares):
        done = "block"
        parameters["asked"] = f"trajectory; {len(groups)} for {len(shares)} parts"
    deal = by_block if done == "block" else by_group
    parts = deal(groups, shares, seed) if shares else {}
    parts = in_order({name: np.sort(i) for name, i in {**parts, **held}.items()})
    _check_parts(version, parts)
    parameters["n_in_gaps"] = version.nframes - sum(len(i) for i in parts.values())
    return Split(
        digest=_split_digest(version, parts),
        dataset_digest=version.digest,
        strategy=done,
        seed=seed,
        parameters=parameters,
        parts=parts,
    )


def save_split(version: DatasetVersion, split: Split) -> str:
    """File a split of ``version`` and return the digest of its object.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    payload = {
        "format": FORMAT,
        "digest": split.digest,
        "dataset_digest": split.dataset_digest,
        "version": version.object_id,
        "dataset": version.label,
        "strategy": split.strategy,
        "seed": split.seed,
        "parameters": split.parameters,
        "sizes": split.sizes,
        "parts": {name: to_ranges(index) for name, index in split.parts.items()},
    }
    return catalog.register_split(version.workspace, payload)


def list_splits(version: DatasetVersion) -> list[Split]:
    """Read all filed splits of a version, in the order of their objects' names.

    Raises:
        DatasetError: If a split's object is damaged.
    """
    payloads = objects.all_of(version.workspace, "split").values()
    mine = [p for p in payloads if p["dataset_digest"] == version.digest]
    return [_from_payload(version, payload) for payload in mine]


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
        names = ", ".join(name[:17] for name in found)
        raise DatasetError(
            f"{version.label}: has {len(found)} splits ({names}); expected one. "
            "Name the one to use."
        )
    return next(iter(found.values()), None)


def default_split(version: DatasetVersion, seed: int = 0) -> Split:
    """Return the split that dpbench makes by itself for ``seed``, filed.

    Raises:
        DatasetError: If the version has too few frames for three parts.
        WorkspaceError: If it cannot be written.
    """
    split = make_split(version, seed=seed)
    save_split(version, split)
    return split


def _from_payload(version: DatasetVersion, payload: dict[str, Any]) -> Split:
    """Build a split; one made on the same content in another order is made again."""
    if payload["version"] != version.object_id:
        return _remade(version, payload)
    return Split(
        digest=payload["digest"],
        dataset_digest=payload["dataset_digest"],
        strategy=payload["strategy"],
        seed=payload["seed"],
        parameters=payload["parameters"],
        parts=in_order({n: from_ranges(r) for n, r in payload["parts"].items()}),
    )


def _remade(version: DatasetVersion, payload: dict[str, Any]) -> Split:
    """Carry a split over to a version of equal content by its frames' digests."""
    other = DatasetVersion(version.workspace, payload["version"])
    order = np.argsort(as_keys(version.frame_digests), kind="stable")
    rank = np.argsort(as_keys(other.frame_digests), kind="stable")
    here = np.empty(version.nframes, dtype=np.int64)
    here[rank] = order
    parts = {
        name: np.sort(here[from_ranges(r)]) for name, r in payload["parts"].items()
    }
    return Split(
        digest=payload["digest"],
        dataset_digest=payload["dataset_digest"],
        strategy=payload["strategy"],
        seed=payload["seed"],
        parameters=payload["parameters"],
        parts=in_order(parts),
    )


def in_order(parts: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Name train, validation and test first, the others by name."""
    first = list(DEFAULT_FRACTIONS)
    order = sorted(parts, key=lambda n: (first.index(n) if n in first else 9, n))
    return {name: parts[name] for name in order}


def _check_strategy(strategy: str) -> None:
    if strategy not in get_args(Strategy):
        raise DatasetError(
            f"split strategy '{strategy}' is unknown; expected one of "
            f"{', '.join(get_args(Strategy))}."
        )


def _shares(
    fractions: Mapping[str, float], held: Mapping[str, Any]
) -> dict[str, float]:
    """Share out among the parts that are not held out, so that they sum to one."""
    open_parts = {name: float(f) for name, f in fractions.items() if name not in held}
    if any(not 0 <= f <= 1 for f in open_parts.values()):
        raise DatasetError(f"fractions {dict(fractions)}: expected numbers in 0 to 1.")
    total = sum(open_parts.values())
    if not total:
        return {}
    return {name: f / total for name, f in open_parts.items() if f > 0}


def _check_parts(
    version: DatasetVersion, parts: Mapping[str, NDArray[np.int64]]
) -> None:
    empty = [name for name, index in parts.items() if len(index) == 0]
    if empty or not parts:
        raise DatasetError(
            f"{version.label}: its {version.nframes} frames are too few for the parts "
            f"of the split; '{empty[0] if empty else 'train'}' would be empty. "
            "Ingest more, or name fewer parts with --fractions."
        )


def _split_digest(
    version: DatasetVersion, parts: Mapping[str, NDArray[np.int64]]
) -> str:
    digests = version.frame_digests
    content = {
        "dataset": version.digest,
        "parts": {
            name: hashlib.sha256(np.sort(as_keys(digests[index])).tobytes()).hexdigest()
            for name, index in parts.items()
        },
    }
    return f"{SCHEME}:{hashlib.sha256(canonical_json(content)).hexdigest()}"
