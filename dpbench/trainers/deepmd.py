"""DeePMD-kit as a trainer: ``dp --pt train`` and ``dp --tf train``.

Units need no change: DeePMD-kit counts in eV and Å, and its ``lcurve.out`` has RMS
errors of the energy and the virial per atom. A row of it is of one batch, of training
as of validation frames: it is noisier than a row of dpbench's own curves.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal, final

from dpbench.errors import ConfigError
from dpbench.train.history import CurveRow
from dpbench.trainers.foreign import AbstractTrainer, Job, Planned, Seen, Stage
from dpbench.trainers.growing import AbstractFollower
from dpbench.trainers.theirs import Edited, brief, read_mapping
from dpbench.trainers.vouched import check_deepmd

INPUT = "input.json"
CURVE = "lcurve.out"
CHECKPOINT = "model.ckpt"

TRAINING_DATA = ("systems", "batch_size", "auto_prob")
VALIDATION_DATA = (*TRAINING_DATA, "numb_btch", "numb_batch")
"""Keys of the data sections that mean the same for any systems."""

COLUMNS = {
    "rmse_e_trn": "rmse_e_train",
    "rmse_f_trn": "rmse_f_train",
    "rmse_v_trn": "rmse_v_train",
    "rmse_e_val": "rmse_e_validation",
    "rmse_f_val": "rmse_f_validation",
    "rmse_v_val": "rmse_v_validation",
    "lr": "learning_rate",
}
"""Columns of ``lcurve.out`` -> fields of a row."""

FROZEN = {"pytorch": "frozen.pth", "tensorflow": "frozen.pb"}

Kind = Literal["pytorch", "tensorflow"]


@final
class DeepmdTrainer(AbstractTrainer):
    """DeePMD-kit on one of its two training backends."""

    packages = ("deepmd-kit", "torch", "tensorflow", "tensorflow-cpu", "numpy")
    format = "deepmd/npy"

    def __init__(self, kind: Kind) -> None:
        """Choose the backend."""
        self.kind = kind
        is_torch = kind == "pytorch"
        self.name = "deepmd" if is_torch else "deepmd-tf"
        self.title = "DeePMD-kit, PyTorch" if is_torch else "DeePMD-kit, TensorFlow"
        self.backend = "deepmd-pt" if is_torch else "deepmd-tf"
        self._flag = "--pt" if is_torch else "--tf"
        self._frozen = FROZEN[kind]
        self.suffixes = (".dp", Path(self._frozen).suffix)

    def read(self, path: Path) -> dict[str, Any]:
        """Read an input.json (or .yaml)."""
        found = read_mapping(path, what="DeePMD-kit's input.json")
        for section in ("model", "training"):
            if not isinstance(found.get(section), dict):
                raise ConfigError(
                    f"{path}: has no table '{section}'; expected DeePMD-kit's "
                    "input.json of version 2 or later."
                )
        return found

    def plan(self, job: Job) -> Planned:
        """Set data, seed, elements and length; leave the rest."""
        edited = Edited(job.where, job.theirs)
        _refuse_what_no_split_has(edited)
        type_map = _set_elements(edited, job)
        _set_data(edited, job)
        _set_outputs(edited)
        check_deepmd(edited)
        steps = _set_steps(edited, job.steps)
        seed = _set_seed(edited, job.seed)
        outputs: tuple[str, ...] = (self._frozen,)
        stages = [
            self._stage("train", "train", INPUT, makes=""),
            self._stage("freeze", "freeze", "-o", self._frozen, makes=self._frozen),
        ]
        if job.suffix == ".dp":
            outputs = ("m.dp", self._frozen)
            stages.append(
                Stage(
                    name="convert",
                    module="deepmd",
                    arguments=("convert-backend", self._frozen, "m.dp"),
                    makes="m.dp",
                )
            )
        text = json.dumps(edited.tree, indent=1, ensure_ascii=False)
        return Planned(
            files={INPUT: f"{text}\n".encode()},
            used=edited.tree,
            notes=tuple(edited.notes),
            stages=tuple(stages),
            steps=steps,
            seed=seed,
            precision=_precision(edited),
            type_map=type_map,
            outputs=outputs,
        )

    def follow(self, folder: Path) -> "LcurveFollower":
        """Follow ``lcurve.out``."""
        return LcurveFollower(folder)

    def _stage(self, name: str, *arguments: str, makes: str) -> Stage:
        return Stage(
            name=name,
            module="deepmd",
            arguments=(self._flag, *arguments),
            makes=makes,
            env={"DP_INTERFACE_PREC": "high"},
        )


@final
class LcurveFollower(AbstractFollower):
    """Reads DeePMD-kit's ``lcurve.out`` by the names in its header."""

    def paths(self) -> list[Path]:
        """Return the only file."""
        return [self.folder / CURVE]

    def clear(self) -> None:
        """Forget the header and all rows."""
        self.names: list[str] = []
        self.rows: list[CurveRow] = []
        self.loss = math.nan

    def take(self, line: str) -> None:
        """Take the header or a row; what is neither is left out."""
        if line.startswith("#"):
            words = line[1:].split()
            if words and words[0] == "step":
                self.names = words
            return
        words = line.split()
        if not words or len(words) != len(self.names):
            return
        try:
            cells = dict(zip(self.names, map(float, words), strict=True))
            step = int(cells["step"])
        except (ValueError, OverflowError):
            return
        values = {ours: cells.get(theirs, math.nan) for theirs, ours in COLUMNS.items()}
        self.rows.append(CurveRow(step=step, wall_time=math.nan, **values))
        self.loss = cells.get("rmse_trn", cells.get("rmse", math.nan))

    def sum_up(self) -> Seen:
        """Return all rows."""
        if not self.rows:
            return Seen()
        return Seen(
            steps=self.rows[-1].step,
            loss=self.loss,
            rows=tuple(self.rows),
            is_nan=math.isnan(self.loss),
        )


def _refuse_what_no_split_has(edited: Edited) -> None:
    """Raise ConfigError on what names other data, or needs what is not exported."""
    for path in ("model.model_dict", "training.data_dict"):
        edited.refuse(path, why="is for several tasks; expected one model for one set.")
    for key in ("systems", "set_prefix", "batch_size"):
        edited.refuse(
            f"training.{key}",
            why="is of input.json version 1; expected training.training_data. Let "
            "DeePMD-kit convert it.",
        )
    for net in ("fitting_net.numb_fparam", "fitting_net.numb_aparam"):
        edited.refuse(
            f"model.{net}",
            unless=(0,),
            why="asks for parameters of frames or atoms, which dpbench gives no "
            "foreign trainer.",
        )
    fitting = edited.get("model.fitting_net.type", "ener")
    if fitting != "ener":
        edited.refuse(
            "model.fitting_net.type", why="is no energy; expected 'ener' for energies."
        )
    for key in ("stat_file", "profiling_file"):
        edited.drop(f"training.{key}", why="it may hold what is not of this dataset")
    edited.drop("training.tensorboard", why="the learning curve is in the run's folder")


def _set_elements(edited: Edited, job: Job) -> tuple[str, ...]:
    """Take their type map if it knows all elements, else set it."""
    theirs = edited.get("model.type_map")
    if theirs is None:
        edited.set(
            "model.type_map",
            list(job.data.elements),
            why=f"elements of {job.data.label}",
        )
        return job.data.elements
    is_list = isinstance(theirs, list) and all(isinstance(t, str) for t in theirs)
    if not is_list or not set(job.data.elements) <= set(theirs):
        raise ConfigError(
            f"{job.where}: model.type_map = {brief(theirs)}; expected a list with all "
            f"elements of {job.data.label}: {', '.join(job.data.elements)}. Leave it "
            "out and it is set."
        )
    return tuple(theirs)


def _set_data(edited: Edited, job: Job) -> None:
    """Point both data sections at the split."""
    label = job.data.label
    for section, part, known in (
        ("training_data", "train", TRAINING_DATA),
        ("validation_data", "validation", VALIDATION_DATA),
    ):
        path = f"training.{section}"
        systems = list(getattr(job.data, part))
        if edited.get(path) is None:
            edited.drop(path, why="it is empty")
        for key in ("sys_probs", "rglob_patterns", "set_prefix"):
            edited.drop(f"{path}.{key}", why="it counts other systems")
        probabilities = edited.get(f"{path}.auto_prob")
        if isinstance(probabilities, str) and ";" in probabilities:
            edited.drop(f"{path}.auto_prob", why="it counts other systems")
        if isinstance(edited.get(f"{path}.batch_size"), list):
            edited.refuse(
                f"{path}.batch_size",
                why="is a size for each of other systems; expected one for all.",
            )
        edited.check_keys(path, known)
        if systems:
            shown = f"{len(systems)} systems of {label}:{part}"
            edited.set(f"{path}.systems", systems, why="--dataset", shown=shown)
        else:
            edited.drop(path, why=f"the split of {label} has no {part} frames")


def _set_outputs(edited: Edited) -> None:
    """Keep what it writes where dpbench looks for it."""
    for key, value in (("disp_file", CURVE), ("save_ckpt", CHECKPOINT)):
        if edited.get(f"training.{key}", value) != value:
            edited.set(f"training.{key}", value, why="where dpbench looks for it")


def _set_steps(edited: Edited, steps: int | None) -> int:
    """Set the number of steps; ConfigError if nobody says one."""
    names = ("numb_steps", "stop_batch")
    given = [name for name in names if edited.get(f"training.{name}") is not None]
    if steps is not None:
        for name in ("stop_batch", "numb_epoch", "num_epochs", "num_epoch"):
            edited.drop(f"training.{name}", why="--steps")
        edited.set("training.numb_steps", steps, why="--steps")
        return steps
    found = edited.get(f"training.{given[0]}") if given else None
    if not isinstance(found, int) or found < 1:
        raise ConfigError(
            f"{edited.where}: training.numb_steps = {brief(found)}; expected a number "
            "of steps. Give --steps."
        )
    return found


def _set_seed(edited: Edited, seed: int | None) -> int | None:
    """Set every seed of the configuration, or take theirs."""
    if seed is None:
        found = edited.get("training.seed")
        return found if isinstance(found, int) else None
    for path in ("model.descriptor.seed", "model.fitting_net.seed", "training.seed"):
        if isinstance(edited.get(path.rpartition(".")[0]), dict):
            edited.set(path, seed, why="--seed")
    for i, part in enumerate(edited.get("model.descriptor.list") or ()):
        if isinstance(part, dict) and part.get("seed") != seed:
            part["seed"] = seed
            edited.notes.append(f"model.descriptor.list[{i}].seed = {seed} (--seed)")
    return seed


def _precision(edited: Edited) -> str:
    """Return the precision of the fitting net: DeePMD-kit's default is float64."""
    found = edited.get("model.fitting_net.precision", "default")
    return "float64" if found == "default" else str(found)
