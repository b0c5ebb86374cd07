"""Making splits: named parts of a version that no trajectory straddles.

The strategies:

- ``trajectory``: whole trajectories (source files; the one-frame files of a folder
  together) go to one part each. Where there are fewer than parts: ``block``.
- ``block``: every trajectory is cut into one contiguous block a part, with a gap
  between them; frames in a gap belong to no part.
- ``time``: as ``block``, but the first frames of every trajectory go to the first part,
  the last to the last: can the model foretell what comes?
- ``source``: whole source files, files of one frame too.
- ``composition``: whole compositions: can the model do others than it knows?
- ``random``: single frames. ``parameters["neighbours_in_train"]`` tells the share of
  each part's frames that stand beside a training frame.

A split is an immutable object that lists the frames of each part. Its digest is made
of the sorted frame digests of every part, so it does not depend on segments or order.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import SCHEME, as_keys
from dpbench.store.splits.dealing import (
    Duration,
    Gap,
    by_block,
    by_frame,
    by_group,
    by_time,
)
from dpbench.store.splits.filed import (
    DEFAULT_FRACTIONS,
    Split,
    find_split,
    in_order,
    list_splits,
    named_split,
    save_split,
)
from dpbench.store.splits.groups import (
    Group,
    Index,
    find_compositions,
    find_groups,
    find_sources,
    held_out_frames,
)
from dpbench.store.splits.trajectories import find_trajectories
from dpbench.store.splits.twins import join_groups, set_aside
from dpbench.store.splits.units import units

__all__ = [
    "DEFAULT_FRACTIONS",
    "STRATEGIES",
    "Split",
    "Strategy",
    "default_split",
    "find_split",
    "in_order",
    "list_splits",
    "make_split",
    "named_split",
    "neighbours_in_train",
    "save_split",
    "split_digest",
]

Strategy = Literal["trajectory", "block", "source", "composition", "time", "random"]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""All strategies."""

WHOLE_GROUPS = {
    "trajectory": find_groups,
    "source": find_sources,
    "composition": find_compositions,
}
"""Strategies that deal whole groups, and how each finds them."""

SUM_TOLERANCE = 1e-6
"""By how much the sum of fractions may differ from 1."""

CUT = ("block", "time")
"""Strategies that cut trajectories; a gap can be set."""


def make_split(
    version: DatasetVersion,
    *,
    strategy: Strategy = "trajectory",
    seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    hold_out: Mapping[str, Sequence[str]] | None = None,
    gap: Gap = None,
    joined: NDArray[np.int64] | None = None,
    name: str | None = None,
) -> Split:
    """Deal the frames of a version to parts.

    Args:
        version: The version.
        strategy: As the top of this module explains.
        seed: Decides the order in which groups, or blocks, are dealt.
        fractions: Share of each part that ``hold_out`` does not name; default 0.8
            train, 0.1 validation, 0.1 test.
        hold_out: Patterns of source paths that go to a part whole, by part.
        gap: What lies between two blocks; None = a hundredth of the trajectory.
        joined: (pair, 2), twins; None = they were not looked for.
        name: What users shall call it.

    Returns:
        The split, not yet filed.

    Raises:
        DatasetError: If a pattern fits nothing or too much, or a part would be empty.
    """
    _check_strategy(strategy, gap)
    held = held_out_frames(version, hold_out or {})
    shares = _shares(DEFAULT_FRACTIONS if fractions is None else fractions, held)
    dealer = _Dealer(
        version, strategy, shares=shares, seed=seed, gap=gap, joined=joined
    )
    parts = dealer.deal(_not_in(version, held)) if shares else {}
    parts = in_order({part: np.sort(i) for part, i in {**parts, **held}.items()})
    n_dealt = sum(map(len, parts.values()))
    parts = dealer.without_twins(parts)
    _check_parts(version, parts, n_aside=n_dealt - sum(map(len, parts.values())))
    parameters: dict[str, Any] = {
        "fractions": shares,
        "hold_out": {part: list(p) for part, p in (hold_out or {}).items()},
        "n_in_gaps": version.nframes - n_dealt,
        **dealer.told,
    }
    if strategy == "random":
        parameters["neighbours_in_train"] = neighbours_in_train(version, parts)
    return Split(
        digest=split_digest(version, parts),
        dataset_digest=version.digest,
        strategy=dealer.done,
        seed=seed,
        parameters=parameters,
        parts=parts,
        names=() if name is None else (name,),
    )


def default_split(version: DatasetVersion, seed: int = 0) -> Split:
    """Return the split that dpbench makes by itself for ``seed``, filed.

    Raises:
        DatasetError: If the version has too few frames for three parts.
        WorkspaceError: If it cannot be written.
    """
    split = make_split(version, seed=seed)
    save_split(version, split)
    return split


def neighbours_in_train(
    version: DatasetVersion, parts: Mapping[str, Index]
) -> dict[str, float]:
    """Measure how much a split parts neighbours.

    Args:
        version: The version.
        parts: Frames of each part.

    Returns:
        For every part but ``train`` the share of its frames of which the frame before
        or after in the same trajectory is a training frame.
    """
    trajectory, position = find_trajectories(version).of(version)
    order = np.lexsort((position, trajectory))
    is_train = np.zeros(version.nframes, dtype=np.bool_)
    is_train[parts.get("train", np.zeros(0, dtype=np.int64))] = True
    train = is_train[order]
    beside = np.zeros(version.nframes, dtype=np.bool_)
    same = trajectory[order[1:]] == trajectory[order[:-1]]
    beside[order[1:]] |= same & train[:-1]
    beside[order[:-1]] |= same & train[1:]
    return {
        part: float(beside[index].mean()) if len(index) else 0.0
        for part, index in parts.items()
        if part != "train"
    }


class _Dealer:
    """Deals frames to parts and keeps account of what it did."""

    def __init__(
        self,
        version: DatasetVersion,
        strategy: Strategy,
        *,
        shares: Mapping[str, float],
        seed: int,
        gap: Gap,
        joined: NDArray[np.int64] | None,
    ) -> None:
        self._version, self._strategy = version, strategy
        self._shares, self._seed = shares, seed
        self._gap, self._joined = gap, joined
        pairs = np.zeros((0, 2), dtype=np.int64) if joined is None else joined
        self._unit_of = units(version.nframes, pairs)
        self.done: str = strategy
        self.told: dict[str, Any] = {}

    def deal(self, frames: Index) -> dict[str, Index]:
        """Deal frames by the strategy."""
        strategy, shares, seed = self._strategy, self._shares, self._seed
        if strategy == "random":
            return by_frame(
                frames,
                shares,
                seed,
                digests=self._version.frame_digests,
                unit_of=self._unit_of,
            )
        if strategy in WHOLE_GROUPS:
            found = WHOLE_GROUPS[strategy](self._version, frames)
            groups = join_groups(found, self._unit_of)
            self.told["n_groups"] = len(found)
            if len(groups) < len(found):
                self.told["n_groups_less_twins"] = len(groups)
            if len(groups) >= len(shares):
                return by_group(groups, shares, seed)
            self._refuse_or_cut(len(groups), len(found))
        return self._cut(find_groups(self._version, frames))

    def without_twins(self, parts: dict[str, Index]) -> dict[str, Index]:
        """Take twins out of all parts but the last that has them."""
        if self._joined is None:
            self.told["twins"] = "not looked for"
            return parts
        parts, count = set_aside(parts, self._unit_of)
        self.told["twins"] = "kept on one side"
        self.told["n_set_aside"] = count
        return parts

    def _cut(self, trajectories: Sequence[Group]) -> dict[str, Index]:
        shares, gap = self._shares, self._gap
        told = str(gap) if isinstance(gap, Duration) else gap
        self.told["gap"] = "1 % of the trajectory" if gap is None else told
        if self._strategy == "time":
            return by_time(trajectories, in_time(shares), gap=gap)
        self.done = "block"
        return by_block(trajectories, shares, self._seed, gap=gap)

    def _refuse_or_cut(self, count: int, n_found: int) -> None:
        strategy, shares = self._strategy, self._shares
        twins = f" ({n_found} before those that hold the same structures were joined)"
        if strategy == "trajectory":
            noun = "trajectory is" if count == 1 else "trajectories are"
            self.told["asked"] = (
                f"whole trajectories, but {count} {noun} too few for {len(shares)} "
                "parts: each was cut into blocks"
            )
            return
        raise DatasetError(
            f"{self._version.label}: has {count} groups to deal by {strategy}"
            f"{twins if count < n_found else ''}; expected one for each of "
            f"{len(shares)} parts at least. Name fewer parts with --fractions, or take "
            "--strategy block."
        )


def in_time(shares: Mapping[str, float]) -> dict[str, float]:
    """Put parts in the order of time: train, validation, test, the others by name."""
    empty = np.zeros(0, dtype=np.int64)
    return {name: shares[name] for name in in_order(dict.fromkeys(shares, empty))}


def _not_in(version: DatasetVersion, held: Mapping[str, Index]) -> Index:
    """Frames that are held out for no part."""
    is_open = np.ones(version.nframes, dtype=np.bool_)
    for index in held.values():
        is_open[index] = False
    return np.flatnonzero(is_open)


def _check_strategy(strategy: str, gap: Gap) -> None:
    if strategy not in STRATEGIES:
        raise DatasetError(
            f"split strategy '{strategy}' is unknown; expected one of "
            f"{', '.join(STRATEGIES)}."
        )
    size = gap.fs if isinstance(gap, Duration) else gap
    if size is not None and (size < 0 or strategy not in (*CUT, "trajectory")):
        unit = "" if isinstance(gap, Duration) else " frames"
        raise DatasetError(
            f"gap of {gap}{unit} with strategy '{strategy}'; expected a gap of 0 or "
            f"more with {' or '.join(CUT)}. Leave --gap away, or change the strategy."
        )


def _shares(
    fractions: Mapping[str, float], held: Mapping[str, Any]
) -> dict[str, float]:
    """Share out among the parts that are not held out, so that they sum to one."""
    open_parts = {name: float(f) for name, f in fractions.items() if name not in held}
    if any(not 0 <= f <= 1 for f in open_parts.values()):
        raise DatasetError(f"fractions {dict(fractions)}: expected numbers in 0 to 1.")
    if fractions and abs(sum(fractions.values()) - 1) > SUM_TOLERANCE:
        raise DatasetError(
            f"fractions {dict(fractions)}: sum to {sum(fractions.values()):g}; "
            "expected 1. Change one of them, or name one part more."
        )
    total = sum(open_parts.values())
    if not total:
        return {}
    return {name: f / total for name, f in open_parts.items() if f > 0}


def _check_parts(
    version: DatasetVersion, parts: Mapping[str, Index], *, n_aside: int
) -> None:
    empty = [name for name, index in parts.items() if len(index) == 0]
    if not empty and parts:
        return
    aside = f" after {n_aside} twins of frames in later parts were set aside"
    raise DatasetError(
        f"{version.label}: its {version.nframes} frames are too few for the parts "
        f"of the split; '{empty[0] if empty else 'train'}' would be empty"
        f"{aside if n_aside else ''}. Ingest more, or name fewer parts with "
        "--fractions."
    )


def split_digest(version: DatasetVersion, parts: Mapping[str, Index]) -> str:
    """Name a split by the version's digest and the frames of every part."""
    digests = version.frame_digests
    content = {
        "dataset": version.digest,
        "parts": {
            name: hashlib.sha256(np.sort(as_keys(digests[index])).tobytes()).hexdigest()
            for name, index in parts.items()
        },
    }
    return f"{SCHEME}:{hashlib.sha256(canonical_json(content)).hexdigest()}"
