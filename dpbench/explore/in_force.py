"""Which configuration each stage of an iteration went by.

A stage notes the digest of the configuration when it is written. Of older books, which
have no such notes, the entries of the record tell it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dpbench.config import to_mapping
from dpbench.explore.config import ExploreConfig
from dpbench.explore.journal import (
    ConfigEntry,
    Iteration,
    iterations_of,
    read_record,
)
from dpbench.explore.stage_results import config_of

DECIDED: Final = ("train", "explore", "select", "label")
"""Sections that each decide the stage of their name; others decide nothing kept."""


def config_used(
    iteration: Iteration, entries: Sequence[ConfigEntry]
) -> tuple[dict[str, Any], str | None]:
    """Put together what an iteration went by, each section from its stage.

    Args:
        iteration: Some of whose stages are done.
        entries: Of the record, oldest first.

    Returns:
        The configuration in plain values, and its digest if it is an entry as it is.
    """
    entry = _entry_of(iteration, "", entries)
    used = dict(entry.config)
    for section in (*DECIDED, "resources"):
        # The tasks of all stages share [resources]: those of the last count.
        stage = _last_done(iteration) if section == "resources" else section
        if section in used:
            used[section] = _entry_of(iteration, stage, entries).config[section]
    for known in entries:
        if known.config == used:
            return used, known.digest
    return used, None


def unused_sections(root: Path, config: ExploreConfig) -> tuple[str, ...]:
    """Name the sections that all stages which they decide were done without.

    Args:
        root: Folder of the exploration.
        config: In force now.
    """
    plain, entries = to_mapping(config), read_record(root)
    iterations = iterations_of(root)
    found = []
    for section in DECIDED:
        went_by = [
            _entry_of(one, section, entries).config.get(section)
            for one in iterations
            if section in one.done
        ]
        if went_by and plain[section] not in went_by:
            found.append(section)
    return tuple(found)


def _entry_of(
    iteration: Iteration, stage: str, entries: Sequence[ConfigEntry]
) -> ConfigEntry:
    """Return what a stage went by; of one without a note, what the record says."""
    noted = config_of(iteration.folder, stage) if stage else None
    for entry in entries:
        if entry.digest == noted:
            return entry
    return [entry for entry in entries if entry.iteration <= iteration.number][-1]


def _last_done(iteration: Iteration) -> str:
    return [stage for stage in DECIDED if stage in iteration.done][-1]
