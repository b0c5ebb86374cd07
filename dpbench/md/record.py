"""What a run says of itself: md.json, and the summary a user reads."""

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dpbench
from dpbench.config import to_mapping
from dpbench.elements import SYMBOLS
from dpbench.kernels.choice import kernels_in_use
from dpbench.md.dynamics import Dynamics
from dpbench.md.models import LoadedForces
from dpbench.md.progress import ns_per_day
from dpbench.md.simulation import Outcome, Simulation
from dpbench.models.checkpoint import write_whole

FORMAT = 1

PACKAGES = ("numpy", "torch", "numba", "ase")


def make_record(
    simulation: Simulation,
    outcome: Outcome,
    forces: LoadedForces,
    *,
    command: Sequence[str],
) -> dict[str, Any]:
    """Gather what is known of a run that has ended, but for its means."""
    dynamics, config = simulation.dynamics, simulation.config
    state = dynamics.state
    seconds = outcome.seconds_per_step
    atoms = state.natoms * state.nreplicas
    return {
        "format": FORMAT,
        "kind": "dpbench md",
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": state.step,
        "time_ps": state.step * config.baths.timestep / 1000,
        "config": to_mapping(config),
        "model": {
            "digest": forces.digest,
            "evaluation": forces.kind,
            "precision": forces.precision,
            "sel_overflow": forces.sel_overflow,
        },
        "system": {
            "formula": _formula(state.z),
            "natoms": state.natoms,
            "replicas": state.nreplicas,
            "pbc": [bool(flag) for flag in state.pbc],
            "degrees_of_freedom": dynamics.dof,
            "thermostat": config.baths.bath,
            "barostat": (
                f"stochastic cell rescaling, {config.baths.couple}"
                if config.baths.ensemble == "npt"
                else None
            ),
        },
        "speed": {
            "us_per_atom_step": 1e6 * seconds / atoms if seconds else None,
            "ns_per_day": ns_per_day(seconds, config.baths.timestep) or None,
            "seconds": outcome.seconds,
            "list_builds": dynamics.neighbours.builds,
        },
        "pairs_beyond_table": pairs_beyond_table(dynamics),
        "kernels": kernels_in_use(),
        "device": _device(state.device),
        "threads": torch.get_num_threads(),
        "versions": {
            "dpbench": dpbench.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "command": list(command),
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write md.json whole.

    Raises:
        ModelError: If the file cannot be written.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def summary_text(record: dict[str, Any]) -> str:
    """Word the end of a run for a terminal."""
    system, summary, speed = record["system"], record["summary"], record["speed"]
    lines = [
        f"{record['status']}: {record['steps']} steps, {record['time_ps']:g} ps of "
        f"{system['formula']}"
        + (f", {system['replicas']} replicas" if system["replicas"] > 1 else "")
    ]
    for name, label, unit in (
        ("temperature", "temperature", "K"),
        ("pressure", "pressure", "bar"),
        ("volume", "volume", "Å^3"),
        ("potential", "potential energy", "eV"),
    ):
        found = summary[name]
        if found["mean"] is not None:
            is_constant = name == "volume" and system["barostat"] is None
            value = f"{found['mean']:.6g}" if is_constant else _with_error(found)
            lines.append(f"{label:<18}{value} {unit}")
    if summary["drift_mev_per_atom_ps"] is not None:
        drift = summary["drift_mev_per_atom_ps"]
        lines.append(f"{'drift':<18}{drift:.3g} meV/atom/ps of the conserved energy")
    if speed["us_per_atom_step"] is not None:
        lines.append(
            f"{'speed':<18}{speed['us_per_atom_step']:.3g} us/atom/step, "
            f"{speed['ns_per_day']:.3g} ns/day, "
            f"{speed['list_builds']} neighbour lists"
        )
    model = record["model"]
    lines.append(
        f"{'model':<18}{model['evaluation']}, {model['precision']}, {record['device']}"
    )
    used = ", ".join(f"{family} {name}" for family, name in record["kernels"].items())
    lines.append(f"{'kernels':<18}{used}")
    if record["pairs_beyond_table"]:
        lines.append(f"{'warning':<18}{closeness(record)}")
    return "\n".join(lines)


def pairs_beyond_table(dynamics: Dynamics) -> int:
    """Return how often, over all steps, a pair was closer than the table reaches."""
    # An edge stands for either end of a pair.
    return (dynamics.extended + 1) // 2


def closeness(record: dict[str, Any]) -> str:
    """Word the warning of pairs closer than the table reaches."""
    return (
        f"{record['pairs_beyond_table']} times a pair was closer than the model's "
        "table reaches; its straight continuation served it"
    )


def _with_error(found: dict[str, Any]) -> str:
    if found["error"] is None:
        return f"{found['mean']:.6g}"
    digits = max(0, min(6, 1 - int(np.floor(np.log10(max(found["error"], 1e-6))))))
    return f"{found['mean']:.{digits}f} +- {found['error']:.{digits}f}"


def _formula(z: np.ndarray) -> str:
    counts = Counter(SYMBOLS[int(number)] for number in z)
    return "".join(
        f"{symbol}{count if count > 1 else ''}"
        for symbol, count in sorted(counts.items())
    )


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type
