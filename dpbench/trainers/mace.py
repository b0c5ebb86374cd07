"""MACE as a trainer: ``mace_run_train``.

Its energies and forces are eV and eV/Å, as dpbench's. A point of its learning curve is
an epoch, pooled over the validation frames; training errors are not in it, only the
loss. It measures stresses in eV/Å^3, which have no counterpart in a curve of virials
per atom: that column stays empty unless virials are measured.
"""

import json
import math
from pathlib import Path
from typing import Any, final

from dpbench.errors import ConfigError
from dpbench.train.history import CurveRow
from dpbench.trainers.foreign import (
    MODEL_FACTS,
    AbstractTrainer,
    Job,
    Planned,
    Seen,
    Stage,
)
from dpbench.trainers.growing import AbstractFollower
from dpbench.trainers.theirs import Edited, brief, read_mapping
from dpbench.trainers.vouched import check_mace

CONFIG = "mace.json"
NAME = "m"

BATCH_SIZE, EPOCHS, SEED = 10, 2048, 123
"""MACE's own defaults."""

OTHER_DATA = ("test_file", "test_dir", "statistics_file", "valid_fraction", "heads")
"""Keys that name data or numbers of other data; the test part is never handed out."""

PRETRAINED = (
    "foundation_model",
    "pt_train_file",
    "pt_valid_file",
    "multiheads_finetuning",
)
"""Keys that start from a model that was not made here."""

PLACES = {
    "name": NAME,
    "work_dir": ".",
    "log_dir": "logs",
    "model_dir": ".",
    "checkpoints_dir": "checkpoints",
    "results_dir": "results",
}
"""Where it writes; the rest of its folders follow."""

KEYS = {
    "energy_key": "energy",
    "forces_key": "forces",
    "stress_key": "stress",
    "virials_key": "virial",
}
"""What labels are called in the exported files."""

DESCRIBE = f"""
import json, sys, torch
torch.set_num_threads(1)
model = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
facts = {{
    "parameters": sum(p.numel() for p in model.parameters()),
    "rcut": float(model.r_max),
    "atomic_numbers": [int(z) for z in model.atomic_numbers],
}}
with open("{MODEL_FACTS}", "w") as file:
    json.dump(facts, file)
"""
"""Runs in MACE's environment, which alone may unpickle the model."""


@final
class MaceTrainer(AbstractTrainer):
    """MACE."""

    name = "mace"
    title = "MACE"
    backend = "mace"
    packages = ("mace-torch", "torch", "e3nn", "ase", "numpy")
    format = "extxyz"
    suffixes = (".model",)

    def read(self, path: Path) -> dict[str, Any]:
        """Read the YAML or JSON that ``mace_run_train --config`` takes."""
        return read_mapping(path, what="a configuration of mace_run_train")

    def plan(self, job: Job) -> Planned:
        """Set data, seed, places and length; leave the rest."""
        edited = Edited(job.where, job.theirs)
        check_mace(edited)
        for key in PRETRAINED:
            edited.refuse(
                key,
                unless=(False,),
                why="starts from a model that was not made here. Leave it out.",
            )
        for key in OTHER_DATA:
            edited.drop(key, why="the data are those of --dataset")
        edited.drop("config", why="this is the configuration")
        _set_data(edited, job)
        for key, value in PLACES.items():
            _place(edited, key, value)
        for key in ("wandb", "restart_latest", "dry_run", "distributed"):
            edited.drop(key, why="dpbench keeps the run")
        if job.device != "cpu" or "device" in edited.tree:
            edited.set("device", job.device.partition(":")[0], why="--device")
        seed = _set_seed(edited, job.seed)
        steps = _set_steps(edited, job)
        text = json.dumps(edited.tree, indent=1, ensure_ascii=False)
        model = f"{NAME}_stagetwo.model" if _has_stage_two(edited) else f"{NAME}.model"
        return Planned(
            files={CONFIG: f"{text}\n".encode()},
            used=edited.tree,
            notes=tuple(edited.notes),
            stages=(
                Stage(
                    name="train",
                    module="mace.cli.run_train",
                    arguments=("--config", CONFIG),
                    makes=model,
                    env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
                ),
                Stage(
                    name="describe",
                    module="",
                    arguments=("-c", DESCRIBE, model),
                    makes=MODEL_FACTS,
                    is_needed=False,
                ),
            ),
            steps=steps,
            seed=seed,
            precision=str(edited.get("default_dtype", "float64")),
            type_map=job.data.elements,
            outputs=(model,),
        )

    def follow(self, folder: Path) -> "ResultsFollower":
        """Follow the results file."""
        return ResultsFollower(folder)


@final
class ResultsFollower(AbstractFollower):
    """Reads MACE's results: an object of JSON a line."""

    def paths(self) -> list[Path]:
        """Return the file that MACE names after its seed."""
        return sorted((self.folder / "results").glob(f"{NAME}_run-*_train.txt"))

    def clear(self) -> None:
        """Forget steps and rows."""
        self.rows: list[CurveRow] = []
        self.steps = 0
        self.loss: float | None = None

    def take(self, line: str) -> None:
        """Take a step, or an epoch; what is neither is left out."""
        try:
            entry = json.loads(line, parse_int=float)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        if entry.get("mode") == "opt":
            value = entry.get("loss")
            self.steps += 1
            self.loss = float(value) if isinstance(value, int | float) else math.nan
        elif entry.get("mode") == "eval" and entry.get("epoch") is not None:
            self.rows.append(_row(self.steps, entry))

    def sum_up(self) -> Seen:
        """Return all rows."""
        return Seen(
            steps=self.steps,
            loss=self.loss,
            rows=tuple(self.rows),
            is_nan=self.loss is not None and math.isnan(self.loss),
        )


def _row(step: int, entry: dict[str, Any]) -> CurveRow:
    def number(name: str) -> float:
        value = entry.get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    return CurveRow(
        step=step,
        learning_rate=math.nan,
        rmse_e_train=math.nan,
        rmse_f_train=math.nan,
        rmse_v_train=math.nan,
        rmse_e_validation=number("rmse_e_per_atom"),
        rmse_f_validation=number("rmse_f"),
        rmse_v_validation=number("rmse_virials_per_atom"),
        wall_time=math.nan,
    )


def _set_data(edited: Edited, job: Job) -> None:
    """Point it at the split, and name the labels."""
    label = job.data.label
    if not job.data.validation:
        raise ConfigError(
            f"{job.where}: MACE needs validation frames, and the split of {label} has "
            "none. Make another with 'dpbench dataset split'."
        )
    edited.set("train_file", job.data.train[0], why=f"{label}:train")
    edited.set("valid_file", job.data.validation[0], why=f"{label}:validation")
    for key, value in KEYS.items():
        edited.set(key, value, why="as the exported files name it")
    if not job.data.has_virial and edited.get("compute_stress"):
        edited.set("compute_stress", False, why="not all frames have a virial")
    energies = edited.get("E0s")
    if energies is None or str(energies).lower() in ("isolated", "foundation"):
        edited.set(
            "E0s",
            "average",
            why="there are no frames of isolated atoms; least squares over training "
            "frames",
        )
    elif isinstance(energies, str) and energies.endswith(".json"):
        edited.refuse(
            "E0s", why="is a file; expected 'average', or the energies themselves."
        )


def _place(edited: Edited, key: str, value: str) -> None:
    """Set where it writes; said only where theirs was another place."""
    if edited.get(key, value) != value:
        edited.set(key, value, why="where dpbench looks for it")
    edited.tree[key] = value


def _set_seed(edited: Edited, seed: int | None) -> int:
    if seed is not None:
        edited.set("seed", seed, why="--seed")
        return seed
    found = edited.get("seed", SEED)
    if not isinstance(found, int):
        raise ConfigError(f"{edited.where}: seed = {brief(found)}; expected a number.")
    return found


def _set_steps(edited: Edited, job: Job) -> int:
    """MACE counts epochs: set as many as the steps need; return the steps."""
    size = edited.get("batch_size", BATCH_SIZE)
    frames = job.data.sizes["train"]
    if not isinstance(size, int) or not 0 < size <= frames:
        raise ConfigError(
            f"{edited.where}: batch_size = {brief(size)}; expected a number from 1 to "
            f"the {frames} training frames, for MACE drops a batch that is not full."
        )
    batches = frames // size
    if job.steps is not None:
        epochs = math.ceil(job.steps / batches)
        edited.set(
            "max_num_epochs",
            epochs,
            why=f"--steps {job.steps}, at {batches} steps an epoch",
        )
    epochs = edited.get("max_num_epochs", EPOCHS)
    if not isinstance(epochs, int) or epochs < 1:
        raise ConfigError(
            f"{edited.where}: max_num_epochs = {brief(epochs)}; expected a number."
        )
    first = edited.get("start_swa", edited.get("start_stage_two"))
    if job.steps is not None and isinstance(first, int) and first >= epochs:
        for key in ("swa", "stage_two", "start_swa", "start_stage_two"):
            edited.drop(key, why=f"it would begin after the last of {epochs} epochs")
    return batches * epochs


def _has_stage_two(edited: Edited) -> bool:
    return bool(edited.get("swa") or edited.get("stage_two"))
