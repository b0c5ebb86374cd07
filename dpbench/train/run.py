"""Training from a dataset to a model file: the front end of the loop."""

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dpbench.errors import TrainingError
from dpbench.models.checkpoint import model_digest, save_model
from dpbench.models.potential import DeepPotential
from dpbench.store import catalog
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig
from dpbench.train.curve import draw_curve
from dpbench.train.engine import Engine
from dpbench.train.history import CURVE_FILE, CurveFile, CurveRow, Errors
from dpbench.train.init_model import Init
from dpbench.train.interrupt import stop_on_interrupt
from dpbench.train.loop import Hooks, LoopState, Watcher, run_loop
from dpbench.train.optimisers.solution import solution_model
from dpbench.train.progress import Reporter, Silent
from dpbench.train.provenance import end_provenance, row_values
from dpbench.train.ranks import Ranks
from dpbench.train.roofline import Tally, counted, reached, summed, words
from dpbench.train.runs import check_writable, logging_to
from dpbench.train.session import Session, begin, go_on
from dpbench.train.shared_engine import SharedEngine
from dpbench.train.state import checkpoint_path, prune, save_checkpoint

MODEL_FILE = "m.pth"
"""Name of the model that a training leaves."""

RUN_FILE = "run.json"
"""Data, configuration and plan of a run, in its folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """What a training run did."""

    run_id: str
    """Name of the run."""
    run_folder: Path
    """Checkpoints, learning curve and log."""
    model_path: Path | None
    """The model file; None if the run was interrupted."""
    model_digest: str | None
    """The model's content."""
    dataset: str
    """The dataset's version."""
    split_digest: str
    """The split."""
    sizes: dict[str, int]
    """Frames of each part of the split."""
    steps: int
    """Steps done."""
    planned_steps: int
    """Steps of the whole run."""
    seconds: float
    """Time trained, over all sessions."""
    interrupted: bool
    """Whether the run was asked to stop before its end."""
    last: CurveRow | None
    """Last point of the learning curve."""
    roofline: dict[str, Any]
    """FLOPs of a step and the part of the machine's peak that was reached, or why they
    are not counted; empty on other ranks than the first."""

    def summary(self) -> str:
        """Word the outcome for a person; the model's path comes last."""
        lines = [
            f"{self.steps} of {self.planned_steps} steps in {self.seconds:.0f} s on "
            f"{self.dataset}; run {self.run_id}",
        ]
        if self.last is not None:
            for part in ("train", "validation"):
                values = [getattr(self.last, f"rmse_{k}_{part}") for k in "efv"]
                lines.append(
                    f"{part + ' RMSE':<16} energy {values[0] * 1000:.3g} meV/atom, "
                    f"force {values[1]:.3g} eV/Å, virial {values[2] * 1000:.3g} "
                    "meV/atom"
                )
        if self.roofline:
            lines.append(f"speed            {words(self.roofline)}")
        lines.append(f"learning curve   {self.run_folder / 'curve.png'}")
        if self.model_path is None:
            lines.append(
                "stopped; go on with: dpbench train --resume "
                + shlex.quote(str(self.run_folder))
            )
        else:
            lines.append(str(self.model_path))
        return "\n".join(line.replace("nan", "-") for line in lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "run_id": self.run_id,
            "run_folder": str(self.run_folder),
            "model": None if self.model_path is None else str(self.model_path),
            "model_digest": self.model_digest,
            "dataset": self.dataset,
            "split": {"digest": self.split_digest, "parts": self.sizes},
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "last": None if self.last is None else row_values(self.last),
            "roofline": self.roofline,
        }


def train(
    workspace: Workspace,
    config: TrainConfig | None,
    *,
    dataset: str | None,
    out: Path,
    resume: str | Path | None = None,
    device: str = "auto",
    progress: Reporter | None = None,
    command: Sequence[str] = (),
    ranks: Ranks | None = None,
    init: Init | None = None,
) -> TrainReport:
    """Train a model, and file it.

    The trainer reads frames of the parts ``train`` and ``validation`` only. The last
    weights are the model: there is no selection by validation error.

    Args:
        workspace: Where the dataset is.
        config: The configuration; None with ``resume``.
        dataset: ``NAME[-vN]``; None with ``resume``.
        out: Folder for ``m.pth``, or a file name that ends with ``.pth``.
        resume: Run, run folder or checkpoint to go on with, bit for bit on the CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Told how far the run is.
        command: The command line, for the record.
        ranks: Who trains together; rank 0 alone writes and speaks. None = no other.
        init: A model to start from, its bias refitted.

    Returns:
        What was done; no model if it was interrupted, and on all ranks but the first.

    Raises:
        DpbenchError: If the run cannot start or go on.
    """
    ranks = ranks or Ranks()
    reporter = (progress if ranks.is_first else None) or Silent()
    target = out if out.suffix == ".pth" else out / MODEL_FILE
    place: dict[str, Any] = {"device": choose_device(device, ranks), "ranks": ranks}
    ranks.from_first(lambda: check_writable(target))
    if resume is not None:
        session = go_on(workspace, resume, **place)
    else:
        place |= {"command": command, "init": init}
        session = _begin(workspace, config, dataset, **place)
    for note in session.notes:
        reporter.note(note)
    tally = Tally()
    with logging_to(session.folder) if ranks.is_first else nullcontext():
        _run(session, reporter, tally)
    tally = summed(ranks.gather(tally))
    if not ranks.is_first:
        return _report(session, None, None)
    _draw(session)
    session.provenance["roofline"] = _speed(session, tally)
    if session.state.interrupted:
        _tell(session, session.provenance)
        return _report(session, None, None)
    return _report(session, target, _file(workspace, session, target))


def _begin(
    workspace: Workspace,
    config: TrainConfig | None,
    dataset: str | None,
    **options: Any,
) -> Session:
    """Begin a new run, which needs a configuration and a dataset."""
    if config is None or dataset is None:
        raise TypeError("give config and dataset, or resume")
    return begin(workspace, config, dataset=dataset, **options)


def _draw(session: Session) -> None:
    """Draw the learning curve, if it has a point."""
    if session.state.rows:
        title = f"{session.version.label}, run {session.run_id}"
        draw_curve(session.state.rows, session.folder / "curve.png", title=title)


def _speed(session: Session, tally: Tally) -> dict[str, Any]:
    """Say what this session's steps cost and reached; see ``roofline.reached``."""
    return reached(
        session.model,
        tally,
        engine=session.engine.name,
        seconds=session.state.seconds - session.state.began_at,
        intervals=session.state.table_intervals
        or session.config.training.table_intervals,
        optimiser=session.config.optimiser.type,
        ranks=session.ranks.size,
    )


def choose_device(name: str, ranks: Ranks | None = None) -> torch.device:
    """Find the device to train on; ``auto`` is CUDA where there is one.

    Each of several ranks takes the CUDA device of its number on its machine.

    Raises:
        TrainingError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks is not None and not ranks.is_alone and name == "cuda":
        name = f"cuda:{ranks.place.local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(
            f"device {name}: unknown; expected auto, cpu, cuda or cuda:N."
        ) from error
    count = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda"):
        raise TrainingError(f"device {name}: expected auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise TrainingError(
            f"device {name}: torch finds {count} CUDA devices. Use --device cpu."
        )
    return device


class _Recorder:
    """Hands on what the loop says, and keeps the learning curve's file."""

    def __init__(self, reporter: Reporter, file: CurveFile) -> None:
        self._reporter, self._file = reporter, file

    def step(self, done: int, loss: float | None) -> None:
        self._reporter.step(done, loss)

    def row(self, row: CurveRow) -> None:
        self._file.append(row)
        self._reporter.row(row)


def _tell(session: Session, provenance: dict[str, Any]) -> None:
    """Write what is known of a run into its folder."""
    told = json.dumps(provenance, indent=1, ensure_ascii=False)
    with disk_errors(session.folder):
        write_atomically(session.folder / RUN_FILE, f"{told}\n".encode())


def _run(session: Session, reporter: Reporter, tally: Tally) -> None:
    """Run the loop, with checkpoints, curve and the wish to stop."""
    state, plan = session.state, session.plan
    watcher: Watcher = reporter
    if session.ranks.is_first:
        _tell(session, session.provenance)
        file = CurveFile(session.folder / CURVE_FILE, rows=state.rows)
        watcher = _Recorder(reporter, file)

    def align() -> None:
        session.ranks.take_first(session.model.parameters.flat)

    def save(state: LoopState) -> None:
        align()
        _align_optimiser(session)
        if not session.ranks.is_first:
            return
        path = checkpoint_path(session.folder, state.step)
        save_checkpoint(
            path,
            session.model,
            session.optimiser,
            state,
            provenance=session.provenance,
        )
        prune(session.folder, keep=session.config.training.keep_checkpoints)

    def validate(model: DeepPotential) -> Errors:
        return session.pipeline.score(solution_model(model, session.optimiser))

    reporter.start(state.step, plan.steps)
    try:
        with stop_on_interrupt() as should_stop:
            run_loop(
                session.model,
                session.optimiser,
                session.schedule,
                counted(session.pipeline.stream(state.step, plan.steps), tally),
                plan=plan,
                state=state,
                hooks=Hooks(
                    validate=validate,
                    save=save,
                    watcher=watcher,
                    should_stop=_agreed(session.engine, should_stop),
                    align=align,
                ),
                engine=session.engine,
            )
    finally:
        reporter.close()


def _align_optimiser(session: Session) -> None:
    """Let all ranks go on with the optimiser as it is written.

    Their bases or averages may differ by rounding, and a resumed run starts with those
    of the first.
    """
    if not session.ranks.is_alone:
        told = session.ranks.from_first(session.optimiser.state)
        if not session.ranks.is_first:
            session.optimiser.restore(told)


def _agreed(engine: Engine, should_stop: Callable[[], bool]) -> Callable[[], bool]:
    """Stop all ranks at the same step, when any of them was asked to."""
    if not isinstance(engine, SharedEngine) or engine.ranks.is_alone:
        return should_stop
    agreement = engine.agreement

    def stops() -> bool:
        agreement.wishes_to_stop = should_stop()
        return agreement.stops

    return stops


def _file(workspace: Workspace, session: Session, target: Path) -> str:
    """Write the model, and register it and the run; return the model's digest."""
    state = session.state
    provenance = session.provenance | end_provenance(
        state, state.rows, data=session.pipeline.data
    )
    _tell(session, provenance)
    model = solution_model(session.model, session.optimiser)
    if session.config.training.refit_bias:
        model = session.pipeline.refit_bias(model)
        before = session.model.statistics.energy_bias
        shift = (model.statistics.energy_bias - before).tolist()
        provenance["bias_shift"] = dict(zip(model.type_map, shift, strict=True))
    save_model(target, model, provenance)
    digest = model_digest(model)
    filed = {
        "format": 1,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": session.run_id,
        "provenance": provenance,
    }
    catalog.register_run(workspace, filed | {"kind": "train", "model_digest": digest})
    catalog.register_model(workspace, filed | {"digest": digest, "path": str(target)})
    return digest


def _report(
    session: Session, model_path: Path | None, digest: str | None
) -> TrainReport:
    state, split = session.state, session.provenance["split"]
    return TrainReport(
        run_id=session.run_id,
        run_folder=session.folder,
        model_path=model_path,
        model_digest=digest,
        dataset=session.version.label,
        split_digest=split["digest"],
        sizes=split["parts"],
        steps=state.step,
        planned_steps=session.plan.steps,
        seconds=round(state.seconds, 3),
        interrupted=state.interrupted,
        last=state.rows[-1] if state.rows else None,
        roofline=session.provenance.get("roofline", {}),
    )
