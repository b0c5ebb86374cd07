"""A configuration that differs from the one before: what may, and from where on.

What is done stays done. A section that has changed counts from the first of its stages
whose result nothing has been built on yet; the seed, the dataset and its start cannot
change, since all that follows is made of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.explore.config import ExploreConfig
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

DECIDED: Final = ("train", "explore", "select", "label")
"""Sections that each decide the stage of their name; others decide nothing kept."""

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
    number = began[-1].number if began else 0
    entry = ConfigEntry(
        iteration=number if entries else 0,
        digest=config_digest(plain),
        config=plain,
        base=str(base),
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
    last = ConfigEntry(
        iteration=number,
        digest=entry.digest,
        config=plain,
        base=str(base),
        changed=words,
    )
    write_record(root, (*entries, last))
    return words


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, under: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Return the keys that differ: {``label.qe.cutoff``: (old, new)}."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        one, other = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= differences(one, other, under=f"{under}{key}.")
        elif one != other:
            found[f"{under}{key}"] = (one, other)
    return found


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
    if walked is not None and not any(one.nframes for one in walked.walks):
        done = tuple(stage for stage in done if stage != "explore")  # is made again
    last = [stage for stage in DECIDED if stage in done][-1:]
    if "ingest" in done or not set(last) & sections:
        return
    for stage in last:
        (iteration.folder / f"{stage}.json").unlink()
        if stage == "explore":
            remove_tree(iteration.folder / stage)
