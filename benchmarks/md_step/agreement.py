"""Whether the sides evaluate the same model: the largest difference of forces."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.md_step import models
from benchmarks.turns.process import Command


def differences(
    folder: Path, model: Path, *, dp_python: str, precision: str
) -> dict[str, Any]:
    """Compare forces on the same structure, eV/Å.

    Args:
        folder: Holds the structure.
        model: Folder of the models.
        dp_python: Interpreter that has DeePMD-kit.
        precision: In which dpbench evaluates.
    """
    theirs = {
        name: lammps_forces(folder, model / name, dp_python)
        for name in (models.PLAIN, models.COMPRESSED)
    }
    ours = own_forces(folder, model / models.OURS, precision)
    pairs = {
        "dpbench exact - TF plain": (ours["exact"], theirs[models.PLAIN]),
        "dpbench tabulated - TF plain": (ours["tabulated"], theirs[models.PLAIN]),
        "dpbench tabulated - dpbench exact": (ours["tabulated"], ours["exact"]),
        "TF compressed - TF plain": (theirs[models.COMPRESSED], theirs[models.PLAIN]),
    }
    return {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}


def lammps_forces(folder: Path, model: Path, dp_python: str) -> np.ndarray:
    """Return the forces that LAMMPS finds, (atom, 3)."""
    import subprocess

    out = folder / f"{model.stem}.npz"
    told = {
        "model": str(model.resolve()),
        "structure": str((folder / "water.lmp").resolve()),
        "timestep_fs": 0.5,
        "steps": 0,
        "forces": str(out.resolve()),
    }
    command = Command(
        name="forces",
        module="md_step.lammps_side",
        arguments=told,
        folder=folder,
        python=dp_python,
    )
    done = subprocess.run(
        command.words(),
        env=command.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"LAMMPS failed: {done.stderr[-2000:]}")
    with np.load(out) as found:
        return np.array(found["force"])


def own_forces(folder: Path, model: Path, precision: str) -> dict[str, np.ndarray]:
    """Return dpbench's forces with the exact and the tabulated embedding."""
    from dpbench.md.models import load_forces
    from dpbench.md.settings import MDConfig
    from dpbench.md.structures import read_structure

    structure = read_structure(str(folder / "water.extxyz"))
    found = {}
    for name, is_exact in (("exact", True), ("tabulated", False)):
        config = MDConfig(
            model=str(model),
            structure="",
            steps=1,
            precision=precision,  # type: ignore[arg-type]
            exact=is_exact,
        )
        field = load_forces(config, structure.z).field
        coord = torch.from_numpy(np.ascontiguousarray(structure.coord))
        box = torch.from_numpy(np.ascontiguousarray(structure.box)).view(1, 3, 3)
        field.build(coord, box, structure.pbc)
        found[name] = field.evaluate(coord, box).force.numpy()
    return found
