"""Splits that keep twins on one side, and say what their parts have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpbench.errors import DatasetError
from dpbench.io.leakage.compare import compare, too_many, twin_pairs
from dpbench.io.leakage.prints import Prints, prints_of
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.dealing import Gap
from dpbench.store.splits.making import Split, Strategy, make_split, save_split
from dpbench.store.splits.trajectories import find_trajectories

NOT_ASKED = "the split was made with --skip-twins"
"""Why twins were not looked for."""

MOST_UNASKED = 100_000
"""Frames that are fingerprinted without having been asked to: a minute or two."""

LIKENESS_PAIRS = 5000
"""Pairs of frames that ``likeness`` looks at, or somewhat more."""


def make_checked_split(
    version: DatasetVersion,
    *,
    strategy: Strategy = "trajectory",
    seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    hold_out: Mapping[str, Sequence[str]] | None = None,
    gap: Gap = None,
    name: str | None = None,
    skip_twins: bool = False,
    most: int | None = None,
) -> Split:
    """Make a split that parts no twins, and measure what each part shares with train.

    Every frame is read once, unless its prints are kept. Where frames cannot be read,
    the split is made all the same, and says that twins were not looked for.

    Args:
        version: The version.
        strategy: As in ``make_split``; so are the others.
        seed: Decides the order of dealing.
        fractions: Share of each part.
        hold_out: Patterns of source paths by part.
        gap: Frames, or a time, between two blocks.
        name: What users shall call it.
        skip_twins: Read no frames; copies and twins may then be parted.
        most: Frames to fingerprint for which the caller has time; above it twins are
            not looked for, copies are. None = any number.

    Returns:
        The split, not yet filed.

    Raises:
        DatasetError: If it cannot be made.
    """
    prints, why_not = None, NOT_ASKED
    if not skip_twins:
        prints, why_not = _prints(version, most)
    split = make_split(
        version,
        strategy=strategy,
        seed=seed,
        fractions=fractions,
        hold_out=hold_out,
        gap=gap,
        joined=None if prints is None else twin_pairs(prints),
        name=name,
    )
    if prints is not None and prints.invariant is None:
        split.parameters["twins"] = "copies kept on one side, twins not looked for"
    elif prints is not None and strategy == "random":
        split.parameters["likeness"] = likeness(version, prints)
    return replace(split, leakage=between_parts(version, split, prints, why_not))


def with_leakage(version: DatasetVersion, split: Split) -> Split:
    """Measure what the parts of a split have in common, and leave the parts alone.

    Args:
        version: The version.
        split: Its split, as the user stated it.
    """
    prints, why_not = _prints(version, MOST_UNASKED)
    return replace(split, leakage=between_parts(version, split, prints, why_not))


def checked_default_split(version: DatasetVersion, seed: int = 0) -> Split:
    """Return the split that dpbench makes by itself for ``seed``, filed.

    Raises:
        DatasetError: If the version has too few frames for three parts.
        WorkspaceError: If it cannot be written.
    """
    split = make_checked_split(version, seed=seed, most=MOST_UNASKED)
    save_split(version, split)
    return split


def between_parts(
    version: DatasetVersion,
    split: Split,
    prints: Prints | None = None,
    why_not: str = "their frames are not read here",
) -> dict[str, Any]:
    """Count what every part has in common with ``train``, as plain JSON by part.

    Args:
        version: The version.
        split: Its split.
        prints: Of all frames of the version; None leaves exact and invariant open.
        why_not: Why there are no prints.
    """
    train = split.parts.get("train", np.zeros(0, dtype=np.int64))
    own = None if prints is None else prints.select(train)
    found = {}
    for part, index in split.parts.items():
        if part == "train":
            continue
        theirs = None if prints is None else prints.select(index)
        both = compare((version, train, own), (version, index, theirs), why_not=why_not)
        found[part] = both.facts()
    return found


def _prints(version: DatasetVersion, most: int | None) -> tuple[Prints | None, str]:
    """Return the prints of a version, and why something is missing."""
    try:
        prints = prints_of(version, np.arange(version.nframes), most=most)
    except DatasetError as error:
        return None, str(error)
    return prints, "" if prints.invariant is not None else too_many(most)


def likeness(version: DatasetVersion, prints: Prints) -> float | None:
    """Measure how much more alike neighbouring frames are than others.

    Args:
        version: The version.
        prints: Of all its frames.

    Returns:
        Median difference of the fingerprints of neighbours, as a share of the median
        difference of any two frames of the same trajectory and composition: near 1
        where the order of frames means nothing, small along a trajectory. None
        without such pairs, or where all frames are equal.
    """
    if prints.invariant is None:
        return None
    key = np.unique(prints.invariant.keys, return_inverse=True)[1].reshape(-1)
    trajectory, position = find_trajectories(version).of(version)
    order = np.lexsort((position, key, trajectory))
    shuffled = np.lexsort(
        (np.random.default_rng(0).random(len(order)), key, trajectory)
    )
    medians = []
    for rank in (order, shuffled):
        same = (trajectory[rank[1:]] == trajectory[rank[:-1]]) & (
            key[rank[1:]] == key[rank[:-1]]
        )
        chosen = np.flatnonzero(same)[:: max(1, int(same.sum()) // LIKENESS_PAIRS)]
        vectors = prints.invariant.vectors
        difference = vectors[rank[chosen + 1]] - vectors[rank[chosen]]
        size = np.sqrt((difference.astype(np.float64) ** 2).sum(axis=1))
        medians.append(float(np.median(size)) if len(size) else 0.0)
    return medians[0] / medians[1] if medians[1] > 0 else None
