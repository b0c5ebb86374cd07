"""Keeping judgements: derived files, which may be deleted at any time."""

import hashlib
import json
import logging
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.config import canonical_json, from_mapping, to_mapping
from dpbench.io.quality.flags import FLAGS, RULES, Quality
from dpbench.io.quality.thresholds import Thresholds
from dpbench.store.dataset import DatasetVersion

FOLDER = "derived/quality"
"""Folder of the judgements in a workspace."""

LOG = logging.getLogger("dpbench")


def load(version: DatasetVersion, thresholds: Thresholds) -> Quality | None:
    """Load the judgement of a version; None if there is none that can be read."""
    path = _path(version, thresholds)
    try:
        # Opened here: np.load leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = {
                name.removeprefix("value_"): arrays[name]
                for name in arrays.files
                if name.startswith("value_")
            }
            head = json.loads(arrays["head"].tobytes())
            flags = arrays["flags"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        LOG.warning("%s: cannot be read (%s); it is made again", path, error)
        return None
    if any(len(array) != version.nframes for array in (flags, *values.values())):
        LOG.warning("%s: is of another number of frames; it is made again", path)
        return None
    return Quality(
        flags=flags,
        values=values,
        checks=head["checks"],
        thresholds=from_mapping(Thresholds, head["thresholds"], where=str(path)),
    )


def save(version: DatasetVersion, quality: Quality) -> None:
    """Keep a judgement; a workspace that cannot be written goes without."""
    path = _path(version, quality.thresholds)
    head = {"checks": quality.checks, "thresholds": to_mapping(quality.thresholds)}
    arrays: dict[str, Any] = {
        "flags": quality.flags,
        "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        **{f"value_{name}": array for name, array in quality.values.items()},
    }
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        LOG.info("%s: not kept (%s)", path, error)


def _path(version: DatasetVersion, thresholds: Thresholds) -> Path:
    """Name a judgement by the frames and their order, the rules and the thresholds.

    Versions of one content digest may list their frames in another order, and have them
    from other sources: files of one frame each, or one trajectory.
    """
    columns = {
        "order": version.frame_digests,
        "source_of": version.source_of.astype(np.int64),
        "step": version.step.astype(np.int64),
        "charge": version.charge.astype(np.float64),
        "multiplicity": version.multiplicity.astype(np.int64),
    }
    key = {
        "digest": version.digest,
        **{
            name: hashlib.sha256(np.ascontiguousarray(column).tobytes()).hexdigest()
            for name, column in columns.items()
        },
        "sources": [
            (source.id, source.path, source.time_step, source.theory_id)
            for source in version.sources
        ],
        "quarantined": dict(version.payload["quarantined"]),
        "rules": RULES,
        "flags": list(FLAGS),
        "thresholds": to_mapping(thresholds),
    }
    name = hashlib.sha256(canonical_json(key)).hexdigest()
    return version.workspace.root / FOLDER / f"{name}.npz"
