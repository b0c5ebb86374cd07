"""A configuration that differs from the one before: what may, and from where on.

What is done stays done. A section that has changed counts from the first of its stages
whose result nothing has been built on yet; the seed, the dataset and its start cannot
change, since all that follows is made of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.explore.config import ExploreConfig
from dpbench.explore.in_force import DECIDED
from dpbench.explore.journal import (
    ConfigEntry,
    Iteration,
    config_digest,
    iterations_of,
    read_record,
    write_record,
)
from dpbench.store.files import remove_tree

FIXED: Final = ("dataset", "seed", "start")
"""Sections that hold for the whole exploration."""

MOST_KEYS: Final = 5
"""Keys that an error names."""


def remember(root: Path, config: ExploreConfig, *, base: Path) -> tuple[str, ...]:
    """Write the configuration into the books, and drop what it makes obsolete.

    Args:
        root: Folder of the exploration.
        config: The configuration.
        base: Folder that its file names are relative to.

    Returns:
        What has changed since the last one, ``key: old -> new``.

    Raises:
        ConfigError: If something changed that cannot.
        WorkspaceError: If the books are damaged, or cannot be written.
    """
    plain = to_mapping(config)
    entries = read_record(root)
    began = iterations_of(root)
    entry = ConfigEntry(
        iteration=0, digest=config_digest(plain), config=plain, base=str(base)
    )
    if not entries:
        write_record(root, (entry,))
        return ()
    changed = differences(entries[-1].config, plain)
    if not changed:
        return ()
    refuse_fixed(root, changed)
    sections = {key.split(".")[0] for key in changed}
    for iteration in began[-1:]:
        _drop(iteration, sections)
    words = tuple(f"{key}: {old} -> {new}" for key, (old, new) in changed.items())
    first = _first(began, sections)
    write_record(root, (*entries, replace(entry, iteration=first, changed=words)))
    return words


def _first(began: Sequence[Iteration], sections: set[str]) -> int:
    """Return the first iteration that changed sections hold for, wholly or in part."""
    if not began:
        return 0
    last = began[-1]
    found = []
    for section in sections:
        if section in DECIDED:
            found.append(last.number + (section in last.done))
        elif section == "stop":  # what is not gone on with is decided anew
            explored = [one.number for one in began if "explore" in one.done]
            found.append(explored[-1] if explored else last.number)
        else:
            found.append(last.number + ("label" in last.done))
    return min(found)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, under: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Return the keys that differ: {``label.qe.cutoff``: (old, new)}.

    Of a list of tables, the place counts from 0: ``explore.stages[0].steps``.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        one, other = old.get(key), new.get(key)
        if one != other:
            found |= _between(f"{under}{key}", one, other)
    return found


def _between(key: str, one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Look into tables, and into lists of tables such as ``[[explore.stages]]``."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return differences(one, other, under=f"{key}.")
    if not (_are_tables(one) and _are_tables(other)):
        return {key: (one, other)}
    found: dict[str, tuple[Any, Any]] = {}
    for place, (old, new) in enumerate(zip_longest(one, other)):
        if old != new:
            found |= _between(f"{key}[{place}]", old, new)
    return found


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def refuse_fixed(root: Path, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Check that nothing has changed that all results are made of.

    Raises:
        ConfigError: If something has.
    """
    fixed = [key for key in changed if key.split(".")[0] in FIXED]
    if not fixed:
        return
    told = "; ".join(
        f"{key} was {changed[key][0]!r} and is {changed[key][1]!r}"
        for key in fixed[:MOST_KEYS]
    )
    raise ConfigError(
        f"{root}: the exploration was begun with another start: {told}; expected "
        f"{', '.join(FIXED)} as they were. Give 'dataset' another name to begin anew."
    )


def _drop(iteration: Iteration, sections: set[str]) -> None:
    """Take back the last stage of the iteration if a changed section decides it.

    Earlier ones have others built on them, and stay. Finished tasks are read again
    where they still are what is asked for.
    """
    done = iteration.done
    walked = iteration.explore
    if walked is not None and walked.is_idle:
        done = tuple(stage for stage in done if stage != "explore")  # is made again
    last = [stage for stage in DECIDED if stage in done][-1:]
    if "ingest" in done or not set(last) & sections:
        return
    for stage in last:
        (iteration.folder / f"{stage}.json").unlink()
        if stage == "explore":
            remove_tree(iteration.folder / stage)
