"""Iterations as immutable objects of the workspace's registry.

Each names its models, dataset versions and labels by digest, with what was explored,
selected, labelled and rejected, and why; ``dpbench registry rebuild`` finds it again.
"""

from typing import Any, Final

from dpbench import __version__
from dpbench.config import finite, to_mapping
from dpbench.explore.in_force import config_used
from dpbench.explore.journal import Iteration, config_digest, read_record
from dpbench.explore.session import Session
from dpbench.store import catalog
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

KIND: Final = "exploration"
"""Kind of such a run in the registry."""

FORMAT: Final = 1
"""Format of the object."""


def file_iteration(session: Session, iteration: Iteration) -> str:
    """File an iteration whose stages are done, unless it is; return its digest.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    train, select, ingest = iteration.train, iteration.select, iteration.ingest
    version = ingest.version if ingest else train.dataset if train else ""
    config, digest = config_used(iteration, read_record(session.root))
    # The time of the version, and not that of filing: whatever files the same
    # iteration once more writes the same object.
    made = open_dataset(session.workspace, version, allow_retracted=True)
    payload = {
        "format": FORMAT,
        "kind": KIND,
        "run_id": f"{session.config.dataset}/{iteration.folder.name}",
        "created_at": made.payload["created_at"],
        "dpbench": __version__,
        "dataset": session.config.dataset,
        "iteration": iteration.number,
        "config": config,
        "config_digest": digest or config_digest(config),
        "train": _plain(train),
        "explore": _plain(iteration.explore),
        "select": _plain(select),
        "label": _plain(iteration.label),
        "ingest": _plain(ingest),
    }
    return catalog.register_run(session.workspace, payload)


def filed_iterations(workspace: Workspace, dataset: str) -> list[dict[str, Any]]:
    """Read the iterations of an exploration from the registry, by their number.

    One that was gone on with, because the configuration had changed, was filed twice:
    the one that came farther counts.
    """
    found: dict[int, dict[str, Any]] = {}
    for payload in catalog.runs(workspace):
        if payload.get("kind") != KIND or payload.get("dataset") != dataset:
            continue
        known = found.get(payload["iteration"])
        if known is None or payload["ingest"] is not None:
            found[payload["iteration"]] = payload
    return [found[number] for number in sorted(found)]


def _plain(result: Any) -> Any:
    """Turn a result into plain values; what is not a number becomes None."""
    return None if result is None else finite(to_mapping(result))
