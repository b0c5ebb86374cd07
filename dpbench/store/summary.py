"""What a workspace holds, and what a version is made of, as plain dicts."""

from collections import Counter
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.dataset import DatasetVersion
from dpbench.store.events import current_names, retractions
from dpbench.store.segment import layout
from dpbench.store.splits.making import list_splits
from dpbench.store.workspace import Workspace


def list_datasets(workspace: Workspace) -> list[dict[str, Any]]:
    """List the datasets by name, each with the figures of its newest version.

    That is the newest version that is not retracted; of a dataset whose versions were
    all retracted, the newest one.

    Raises:
        WorkspaceError: If the registry cannot be read.
    """
    catalog.synchronise(workspace)
    names, retracted = current_names(workspace), retractions(workspace)
    version = tables.version
    newest = (
        select(version.c.dataset, func.max(version.c.number).label("number"))
        .group_by(version.c.dataset)
        .subquery()
    )
    query = select(version).join(
        newest,
        (version.c.dataset == newest.c.dataset) & (version.c.number == newest.c.number),
    )
    with catalog.transaction(workspace, write=False) as connection:
        rows = {
            row["dataset"]: dict(row) for row in connection.execute(query).mappings()
        }
        for key, row in rows.items():
            if row["id"] in retracted:
                held = _newest_that_holds(connection, key, set(retracted))
                row.update(held, n_versions=row["number"])
    return sorted(
        (
            {
                "name": names.get(key, key),
                "label": f"{names.get(key, key)}-v{row['number']}",
                "versions": row.get("n_versions", row["number"]),
                "retracted": row["id"] in retracted,
                **{key: row[key] for key in ("n_frames", "n_atoms", "n_quarantined")},
                **{key: row[key] for key in ("digest", "created_at")},
            }
            for key, row in rows.items()
        ),
        key=itemgetter("name"),
    )


def _newest_that_holds(
    connection: Connection, key: str, retracted: set[str]
) -> dict[str, Any]:
    """Return the row of the newest version that was not retracted; {} if all were."""
    version = tables.version
    query = (
        select(version)
        .where(version.c.dataset == key)
        .order_by(version.c.number.desc())
    )
    rows = connection.execute(query).mappings()
    return next((dict(row) for row in rows if row["id"] not in retracted), {})


def describe(version: DatasetVersion) -> dict[str, Any]:
    """Say what a version is made of; reads manifests and facts, no arrays.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    return {
        "name": version.name,
        "label": version.label,
        "digest": version.digest,
        "created_at": version.payload["created_at"],
        "note": version.payload["note"],
        "n_frames": version.nframes,
        "n_atoms": version.payload["n_atoms"],
        "elements": list(version.symbols),
        "compositions": version.compositions,
        "labels": label_counts(version),
        "charges": _counts_told(version.charge[version.charge != 0]),
        "multiplicities": _counts_told(version.multiplicity[version.multiplicity > 1]),
        "quarantined": version.payload["quarantined"],
        "versions": _history(version),
        "theories": _theories(version),
        "mixed_theory": version.payload.get("mixed_theory") or [],
        "sources": [_source(version, i) for i in range(len(version.sources))],
        "splits": [
            {
                "digest": split.digest,
                "names": list(split.names),
                "strategy": split.strategy,
                "seed": split.seed,
                "sizes": split.sizes,
                "parameters": split.parameters,
                "leakage": split.leakage,
            }
            for split in list_splits(version)
        ],
    }


def describe_quarantine(version: DatasetVersion) -> list[dict[str, Any]]:
    """List the frames that were kept out, with what can be read of them.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    kept_out = version.quarantine()
    frames = kept_out.frames
    rows = []
    for i in range(frames.nframes):
        energy = float(frames.energy[i])
        force = frames.force[frames.atoms_of(i)]
        largest = float(np.sqrt((force**2).sum(axis=1)).max(initial=0))
        rows.append(
            {
                "reason": kept_out.reasons[i],
                "path": kept_out.paths[i],
                "step": int(kept_out.step[i]),
                "n_atoms": int(frames.natoms[i]),
                "energy": energy if np.isfinite(energy) else None,
                "force_max": largest if np.isfinite(largest) else None,
            }
        )
    return rows


def label_counts(version: DatasetVersion) -> dict[str, int]:
    """Count the frames that have each label (a cell, as ``box``; ``aparam`` if any)."""
    bits = version.facts["labels"]
    counts = {
        name: int(np.count_nonzero(bits & bit))
        for name, bit in layout.LABEL_BITS.items()
    }
    with_numbers = int(np.count_nonzero(bits & layout.APARAM_BIT))
    return counts | ({"aparam": with_numbers} if with_numbers else {})


def _history(version: DatasetVersion) -> list[dict[str, Any]]:
    catalog.synchronise(version.workspace)
    retracted = retractions(version.workspace)
    row = tables.version
    query = select(row).where(row.c.dataset == version.key).order_by(row.c.number)
    with catalog.transaction(version.workspace, write=False) as connection:
        rows = connection.execute(query).mappings().all()
    picked = ("n_frames", "digest", "created_at", "n_quarantined", "note")
    return [
        {
            "label": f"{version.name}-v{row['number']}",
            **{key: row[key] for key in picked},
            "retracted": row["id"] in retracted,
        }
        for row in rows
    ]


def _counts_told(values: NDArray[Any]) -> dict[str, int]:
    """Count the frames of each value that is told."""
    told, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return {f"{t:g}": int(n) for t, n in zip(told.tolist(), counts, strict=True)}


def _theories(version: DatasetVersion) -> list[dict[str, Any]]:
    frames: Counter[str] = Counter()
    for source in version.sources:
        frames[source.theory_id] += source.n_frames
    return [
        {"id": key, "n_frames": frames[key], "theory": theory}
        for key, theory in version.theories.items()
        if frames[key] or not version.nframes
    ]


def _source(version: DatasetVersion, index: int) -> dict[str, Any]:
    source = version.sources[index]
    return {
        "path": source.path,
        "sha256": source.sha256,
        "format": source.format,
        "code": source.code,
        "code_version": source.code_version,
        "theory": source.theory_id,
        "complete": source.complete,
        "n_frames": source.n_frames,
        "n_read": source.n_read,
        "quarantined": source.quarantined,
        "notes": list(source.notes),
        "origin": source.origin,
    }
