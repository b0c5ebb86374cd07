"""What a model file says about its making; plain JSON values."""

import importlib.metadata
import math
import platform
from collections.abc import Sequence
from typing import Any

import torch

import dpbench
from dpbench.config import to_mapping
from dpbench.fingerprint import git_state, hardware_fingerprint, installed_packages
from dpbench.io.leakage.trace import trace_of
from dpbench.kernels.choice import kernels_in_use
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split
from dpbench.train.budget import Length
from dpbench.train.config import TrainConfig
from dpbench.train.engine import Engine
from dpbench.train.history import CurveRow
from dpbench.train.loop import LoopState, Plan
from dpbench.train.pipeline import Data

CURVE_POINTS = 48
"""Most points of the learning curve that a model file carries; the run has them all."""

PACKAGES = ("numpy", "torch", "numba", "h5py")
"""Packages whose versions can change a training."""


def start_provenance(
    config: TrainConfig,
    version: DatasetVersion,
    split: Split,
    *,
    run_id: str,
    device: torch.device,
    command: Sequence[str],
) -> dict[str, Any]:
    """Say what is known before the first step."""
    used = sorted({source.theory_id for source in version.sources})
    return {
        "run_id": run_id,
        "dataset": {
            "name": version.name,
            "number": version.number,
            "digest": version.digest,
            "theories": used,
            **(
                {"mixed_theory": list(mixed)} if (mixed := version.mixed_theory) else {}
            ),
        },
        "split": {
            "digest": split.digest,
            "names": list(split.names),
            "strategy": split.strategy,
            "seed": split.seed,
            "parts": split.sizes,
        },
        # Where this dataset is not, its frames are known again by files and steps.
        "training_frames": trace_of(version, split.part("train")),
        "seed": config.training.seed,
        "config": to_mapping(config),
        "precision": config.training.precision,
        "threads": torch.get_num_threads(),
        "device": describe_device(device),
        "versions": versions(),
        "environment": installed_packages(),
        **surroundings(str(device)),
        "command": list(command),
    }


def surroundings(device: str) -> dict[str, Any]:
    """Say which code of dpbench runs on which machine.

    Args:
        device: Torch's name of the device that computes.
    """
    commit, dirty = git_state()
    return {
        "code": {"commit": commit, "dirty": dirty},
        "hardware": to_mapping(hardware_fingerprint(device=device)),
    }


def kernel_provenance(engine: Engine, data: Data) -> dict[str, Any]:
    """Say what computes, for how many processes, in what memory."""
    return {
        "engine": engine.name,
        **({} if engine.reason is None else {"engine_reason": engine.reason}),
        "ranks": data.ranks.size,
        "memory_budget_bytes": data.budget.total,
    }


def plan_provenance(plan: Plan, length: Length) -> dict[str, Any]:
    """Say how long the run shall be, and why."""
    return {"plan": to_mapping(plan) | {"reason": length.reason}}


def end_provenance(
    state: LoopState, rows: Sequence[CurveRow], *, data: Data
) -> dict[str, Any]:
    """Say what came out, and what it ran on."""
    return {
        "kernels": kernels_in_use(),
        # Of rank 0, where there are several.
        "resident_share": round(data.train_maker.resident_share, 6),
        "resident_bytes": data.budget.taken,
        "steps": state.step,
        "wall_time_s": round(state.seconds, 3),
        # Of this session alone, where the run was resumed.
        "data_wait_fraction": round(
            state.waited / max(state.seconds - state.began_at, 1e-9), 6
        ),
        **(
            {}
            if state.table_error is None
            else {
                "table_error": state.table_error,  # largest of the run, eV/Å
                "table_intervals": state.table_intervals,
            }
        ),
        "weights": "last",
        "curve": {
            "rows": len(rows),
            "last": row_values(rows[-1]) if rows else None,
            "best_validation_force": _best(rows),
            "points": [row_values(row) for row in _thinned(rows)],
        },
    }


def _thinned(rows: Sequence[CurveRow]) -> list[CurveRow]:
    """At most ``CURVE_POINTS`` rows of the curve, the last among them."""
    step = -(-len(rows) // CURVE_POINTS) if rows else 1
    return list(rows[::-1][::step][::-1])


def row_values(row: CurveRow) -> dict[str, float | int | None]:
    """Return a row of the learning curve with None for what is missing."""
    values = to_mapping_with_nan(row)
    return {name: None if _is_nan(value) else value for name, value in values.items()}


def to_mapping_with_nan(row: CurveRow) -> dict[str, float | int]:
    """Return the fields of a row as they are."""
    return {name: getattr(row, name) for name in CurveRow.__dataclass_fields__}


def versions() -> dict[str, str]:
    """Versions of what a training depends on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "dpbench": dpbench.__version__,
        "python": platform.python_version(),
        **found,
    }


def describe_device(device: torch.device) -> str:
    """Name a device: ``cpu``, or what CUDA calls it."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type


def _best(rows: Sequence[CurveRow]) -> dict[str, float | int | None] | None:
    scored = [row for row in rows if not _is_nan(row.rmse_f_validation)]
    if not scored:
        return None
    return row_values(min(scored, key=lambda row: row.rmse_f_validation))


def _is_nan(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)
