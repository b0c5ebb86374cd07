"""NequIP and Allegro as a trainer: ``nequip-train``.

Its configuration is one of Hydra, whose ``_target_`` entries name what is run: dpbench
changes where the data are, the seeds, the elements and the length, adds a log and a
checkpoint of the last weights, and runs it in the sandbox. Its units are dpbench's; it
measures stresses in eV/Å^3, which a curve of virials per atom has no column for.
"""

import csv
import math
from pathlib import Path
from typing import Any, final

import yaml

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
from dpbench.trainers.vouched import check_nequip

CONFIG = "nequip"
CHECKPOINT = "checkpoints/last.ckpt"
PACKAGE = "m.nequip.zip"
METRICS = "log/csv/metrics.csv"

EPOCH_LOSS = "train_loss_epoch/weighted_sum"

DATA_MODULE = "nequip.data.datamodule.ASEDataModule"

DATA_KEYS = (
    "_target_",
    "seed",
    "train_file_path",
    "val_file_path",
    "transforms",
    "key_mapping",
    "include_keys",
    "exclude_keys",
    "train_dataloader",
    "val_dataloader",
    "stats_manager",
)
"""Keys of the data section that mean the same for any files."""

LOGGER = {
    "_target_": "lightning.pytorch.loggers.csv_logs.CSVLogger",
    "save_dir": ".",
    "name": "log",
    "version": "csv",
    "flush_logs_every_n_steps": 1,
}

LAST_WEIGHTS = {
    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
    "dirpath": "checkpoints",
    "save_last": True,
    "save_top_k": 0,
    "mode": "max",  # of nothing: lightning tells callbacks apart by it
}

COLUMNS = {
    "train_metric_epoch/per_atom_energy_rmse": "rmse_e_train",
    "train_metric_epoch/forces_rmse": "rmse_f_train",
    "val0_epoch/per_atom_energy_rmse": "rmse_e_validation",
    "val0_epoch/forces_rmse": "rmse_f_validation",
}
"""Columns of the metrics -> fields of a row; there where theirs asks for them."""

DESCRIBE = f"""
import json
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.utils.global_state import set_global_state
set_global_state()
model = load_saved_model("{CHECKPOINT}")
count = sum(p.numel() for p in model.parameters() if p.requires_grad)
with open("{MODEL_FACTS}", "w") as file:
    json.dump({{"parameters": count}}, file)
"""
"""Runs in NequIP's environment, which alone may unpickle the checkpoint."""


@final
class NequipTrainer(AbstractTrainer):
    """NequIP, and Allegro as an extension of it."""

    name = "nequip"
    title = "NequIP"
    backend = "nequip"
    packages = ("nequip", "nequip-allegro", "torch", "e3nn", "lightning", "numpy")
    format = "extxyz"
    suffixes = (".nequip.zip", ".ckpt")
    runs_configuration = True

    def read(self, path: Path) -> dict[str, Any]:
        """Read the YAML that ``nequip-train`` takes."""
        found = read_mapping(path, what="a configuration of nequip-train")
        for section in ("data", "trainer", "training_module"):
            if not isinstance(found.get(section), dict):
                raise ConfigError(
                    f"{path}: has no table '{section}'; expected a configuration of "
                    "nequip-train 0.7 or later."
                )
        return found

    def plan(self, job: Job) -> Planned:
        """Set data, seeds, elements and length; leave the rest."""
        edited = Edited(job.where, job.theirs)
        edited.refuse(
            "defaults",
            why="names other files of Hydra; expected one file that holds all.",
        )
        edited.set("run", ["train"], why="the test part is not handed out")
        _set_data(edited, job)
        type_map = _set_elements(edited, job)
        seed = _set_seed(edited, job.seed)
        steps = _set_steps(edited, job)
        edited.set("trainer.logger", [LOGGER], why="the learning curve", shown="CSV")
        edited.drop("trainer.default_root_dir", why="all is kept in the run's folder")
        edited.drop("hydra", why="all is kept in the run's folder")
        callbacks = [*(edited.get("trainer.callbacks") or []), LAST_WEIGHTS]
        shown = f"theirs and a checkpoint, {CHECKPOINT}"
        edited.set("trainer.callbacks", callbacks, why="the last weights", shown=shown)
        kind = "cpu" if job.device == "cpu" else "gpu"
        edited.set("trainer.accelerator", kind, why="--device")
        for key in ("devices", "num_nodes"):
            edited.set(f"trainer.{key}", 1, why="one process and one device")
        check_nequip(edited)
        text = yaml.safe_dump(edited.tree, sort_keys=False, allow_unicode=True)
        is_package = job.suffix == ".nequip.zip"
        return Planned(
            files={f"{CONFIG}.yaml": text.encode()},
            used=edited.tree,
            notes=tuple(edited.notes),
            stages=_stages(is_package=is_package),
            steps=steps,
            seed=seed,
            precision=str(edited.get("training_module.model.model_dtype", "unknown")),
            type_map=type_map,
            outputs=(PACKAGE, CHECKPOINT) if is_package else (CHECKPOINT,),
        )

    def follow(self, folder: Path) -> "MetricsFollower":
        """Follow the metrics."""
        return MetricsFollower(folder)


@final
class MetricsFollower(AbstractFollower):
    """Reads Lightning's table of metrics, which may be written anew with more columns.

    Several lines of a step hold different columns of it.
    """

    def paths(self) -> list[Path]:
        """Return the only file."""
        return [self.folder / METRICS]

    def clear(self) -> None:
        """Forget the header and all steps."""
        self.names: list[str] = []
        self.merged: dict[int, dict[str, float]] = {}
        self.loss: float | None = None

    def take(self, line: str) -> None:
        """Take the header, or numbers of a step; what is neither is left out."""
        try:
            cells = next(csv.reader([line]), [])
        except csv.Error:
            return
        if not self.names:
            self.names = cells
            return
        values = _numbers(dict(zip(self.names, cells, strict=False)))
        step = values.get("step", math.nan)
        if not math.isfinite(step):
            return
        self.merged.setdefault(int(step) + 1, {}).update(values)
        self.loss = values.get(
            "train_loss_step/weighted_sum", values.get(EPOCH_LOSS, self.loss)
        )

    def sum_up(self) -> Seen:
        """Return the rows of whole epochs."""
        rows = [
            _row(step, values)
            for step, values in sorted(self.merged.items())
            # An epoch is whole when its training loss stands beside its validation.
            if EPOCH_LOSS in values
            and any(name.startswith("val0_epoch/") for name in values)
        ]
        return Seen(
            steps=max(self.merged, default=0),
            loss=self.loss,
            rows=tuple(rows),
            is_nan=self.loss is not None and math.isnan(self.loss),
        )


def _stages(*, is_package: bool) -> tuple[Stage, ...]:
    words = ("-cp", "{folder}", "-cn", CONFIG, "hydra.run.dir=hydra-output")
    train = Stage(
        name="train",
        module="nequip.scripts.train",
        arguments=words,
        makes=CHECKPOINT,
    )
    package = Stage(
        name="package",
        module="nequip.scripts.package",
        arguments=("build", CHECKPOINT, PACKAGE),
        makes=PACKAGE,
    )
    describe = Stage(
        name="describe",
        module="",
        arguments=("-c", DESCRIBE),
        makes=MODEL_FACTS,
        is_needed=False,
    )
    return (train, *([package] if is_package else []), describe)


def _numbers(cells: dict[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, cell in cells.items():
        try:
            found[name] = float(cell)
        except (TypeError, ValueError):
            continue
    return found


def _row(step: int, values: dict[str, float]) -> CurveRow:
    numbers = {ours: values.get(name, math.nan) for name, ours in COLUMNS.items()}
    return CurveRow(
        step=step,
        learning_rate=math.nan,
        rmse_v_train=math.nan,
        rmse_v_validation=math.nan,
        wall_time=math.nan,
        **numbers,
    )


def _set_data(edited: Edited, job: Job) -> None:
    """Point the data module at the split."""
    target = edited.get("data._target_")
    if target != DATA_MODULE:
        raise ConfigError(
            f"{job.where}: data._target_ = {brief(target)}; expected {DATA_MODULE}, "
            "which reads the exported files."
        )
    if not job.data.validation:
        raise ConfigError(
            f"{job.where}: NequIP needs validation frames, and the split of "
            f"{job.data.label} has none. Make another with 'dpbench dataset split'."
        )
    for key in ("split_dataset", "test_file_path", "test_dataloader",
                "predict_file_path", "predict_dataloader"):  # fmt: skip
        edited.drop(f"data.{key}", why="the data are those of --dataset")
    edited.check_keys("data", DATA_KEYS)
    for key, part in (("train", "train"), ("val", "validation")):
        path = getattr(job.data, part)[0]
        edited.set(f"data.{key}_file_path", path, why=f"{job.data.label}:{part}")


def _set_elements(edited: Edited, job: Job) -> tuple[str, ...]:
    """Take their types if they know all elements; set them where there are none."""
    path = "training_module.model.type_names"
    found = edited.get(path)
    if isinstance(found, str) and found.startswith("${") and found.endswith("}"):
        path = found[2:-1]
        found = edited.get(path)
    if found is None:
        names = list(job.data.elements)
        edited.set(path, names, why=f"elements of {job.data.label}")
        return job.data.elements
    is_list = isinstance(found, list) and all(isinstance(name, str) for name in found)
    if not is_list or not set(job.data.elements) <= set(found):
        raise ConfigError(
            f"{job.where}: {path} = {brief(found)}; expected a list with all elements "
            f"of {job.data.label}: {', '.join(job.data.elements)}."
        )
    return tuple(found)


def _set_seed(edited: Edited, seed: int | None) -> int | None:
    """Set every seed that is a number; those that refer to another follow it."""
    paths = ("seed", "data.seed", "training_module.model.seed")
    if seed is None:
        found = [edited.get(path) for path in paths]
        return next((value for value in found if isinstance(value, int)), None)
    for path in paths:
        if not isinstance(edited.get(path), str):
            edited.set(path, seed, why="--seed")
    return seed


def _set_steps(edited: Edited, job: Job) -> int:
    """Count epochs, so that the last one is validated; return the steps."""
    size = edited.get("data.train_dataloader.batch_size", 1)
    if not isinstance(size, int) or size < 1:
        raise ConfigError(
            f"{job.where}: data.train_dataloader.batch_size = {brief(size)}; expected "
            "a number."
        )
    batches = math.ceil(job.data.sizes["train"] / size)
    if job.steps is not None:
        for key in ("max_steps", "max_time", "min_epochs", "min_steps"):
            edited.drop(f"trainer.{key}", why="--steps")
        edited.set(
            "trainer.max_epochs",
            math.ceil(job.steps / batches),
            why=f"--steps {job.steps}, at {batches} steps an epoch",
        )
    epochs = edited.get("trainer.max_epochs")
    if not isinstance(epochs, int) or epochs < 1:
        raise ConfigError(
            f"{job.where}: trainer.max_epochs = {brief(epochs)}; expected a number of "
            "epochs. Give --steps."
        )
    return batches * epochs
