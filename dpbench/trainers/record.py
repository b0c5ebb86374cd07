"""What the record of a foreign run says: the keys of dpbench's own runs, and the cost.

Source: ``dpbench.train.provenance``, whose keys these are.
"""

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

import dpbench
from dpbench.backends.cards import load_card
from dpbench.backends.environments import Environment, backends_folder, read_environment
from dpbench.backends.sandbox import sandbox_kind
from dpbench.io.leakage.split import between_parts
from dpbench.io.leakage.trace import trace_of
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split
from dpbench.train.history import CurveRow
from dpbench.train.provenance import row_values, surroundings
from dpbench.trainers.foreign import MODEL_FACTS, AbstractTrainer, Planned
from dpbench.trainers.process import Cost

LARGEST = 1 << 20
"""Bytes of the facts that a trainer's environment may tell of a model."""

NOT_TRAINED = ("davg", "dstd", "bias_atom_e", "out_bias", "out_std", "case_embd")
"""Arrays of a portable DeePMD-kit model that statistics decide, not training."""


def data_facts(version: DatasetVersion, split: Split) -> dict[str, Any]:
    """Name dataset and split, and what their parts have in common."""
    used = sorted({source.theory_id for source in version.sources})
    mixed = version.mixed_theory
    return {
        "dataset": {
            "name": version.name,
            "number": version.number,
            "digest": version.digest,
            "theories": used,
            **({"mixed_theory": list(mixed)} if mixed else {}),
        },
        "split": {
            "digest": split.digest,
            "names": list(split.names),
            "strategy": split.strategy,
            "seed": split.seed,
            "parts": split.sizes,
        },
        "training_frames": trace_of(version, split.part("train")),
        "leakage": dict(split.leakage or between_parts(version, split)),
    }


def config_facts(
    path: Path, theirs: Mapping[str, Any], plan: Planned
) -> dict[str, Any]:
    """Keep their configuration as it was, as it was used, and what was changed."""
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "theirs": dict(theirs),
        "used": dict(plan.used),
        "set": list(plan.notes),
    }


def environment_facts(trainer: AbstractTrainer, workspace_root: Path) -> dict[str, Any]:
    """Say what program trains: versions, licence, and how it is confined."""
    card = load_card(trainer.backend, own_cards=workspace_root / "backends")
    found = read_environment(card.environment, backends_folder())
    packages = found.fingerprint.packages if isinstance(found, Environment) else {}
    named = {name.lower().replace("_", "-"): value for name, value in packages.items()}
    return {
        "trainer": trainer.name,
        "trainer_title": trainer.title,
        "engine": trainer.title,
        "backend": trainer.backend,
        "licence": card.licence,
        "versions": {
            "dpbench": dpbench.__version__,
            "python": found.fingerprint.python if found else platform.python_version(),
            **{name: named[name] for name in trainer.packages if name in named},
        },
        "environment": None if found is None else found.fingerprint.digest,
        **surroundings("cpu"),  # accelerators are the trainer's to tell
        "sandbox": sandbox_kind(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
    }


def cost_facts(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Say what each stage took; the memory is that of its largest process."""
    return {
        name: {
            "wall_s": cost.wall_s,
            "cpu_s": cost.cpu_s,
            "peak_bytes": cost.peak_bytes,
        }
        for name, cost in costs.items()
    }


def curve_facts(rows: Sequence[CurveRow]) -> dict[str, Any]:
    """Sum up a learning curve as dpbench's own runs do."""
    scored = [row for row in rows if not math.isnan(row.rmse_f_validation)]
    best = min(scored, key=lambda row: row.rmse_f_validation, default=None)
    return {
        "rows": len(rows),
        "last": row_values(rows[-1]) if rows else None,
        "best_validation_force": None if best is None else row_values(best),
    }


def model_facts_of(folder: Path) -> dict[str, Any]:
    """Return what is known of the model: parameters and cutoff, where they are told.

    What the trainer's environment wrote is taken as numbers alone.
    """
    told: dict[str, Any] = {}
    path = folder / MODEL_FACTS
    if path.is_file() and path.stat().st_size <= LARGEST:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            told = {}
    facts: dict[str, Any] = {"parameters": None, "rcut": None}
    if isinstance(told, dict):
        for name, kinds in (("parameters", int), ("rcut", (int, float))):
            value = told.get(name)
            if isinstance(value, kinds) and not isinstance(value, bool):
                facts[name] = value
    if facts["parameters"] is None:
        facts["parameters"] = portable_parameters(folder / "m.dp")
    return facts


def portable_parameters(path: Path) -> int | None:
    """Count the trained numbers of a ``.dp``; None if there is none to read."""
    try:
        with h5py.File(path, "r") as file:
            tree = json.loads(file.attrs["json"])
            return _count(tree.get("model", {}), file)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _count(node: Any, file: h5py.File) -> int:
    if isinstance(node, list):
        return sum(_count(item, file) for item in node)
    if not isinstance(node, dict):
        return 0
    total = 0
    for key, value in node.items():
        if key != "@variables":
            total += _count(value, file)
            continue
        for name, dataset in value.items():
            is_trained = name not in NOT_TRAINED and not name.startswith(
                ("fparam_", "aparam_", "default_")
            )
            if is_trained and isinstance(dataset, str):
                total += int(file[dataset].size)
    return total
