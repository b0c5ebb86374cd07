"""Everything that a run needs before its first step, new or gone on with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import TrainingError
from dpbench.io.leakage.split import between_parts, checked_default_split
from dpbench.kernels.batch import Batch
from dpbench.models.config import ModelConfig
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.splits.making import Split, find_split, named_split
from dpbench.store.workspace import Workspace
from dpbench.train.announce import (
    describe_engine,
    describe_model,
    describe_plan,
    first_notes,
)
from dpbench.train.budget import Costs, Length, choose_length, make_plan, measure_costs
from dpbench.train.config import TrainConfig, settled
from dpbench.train.engine import Engine, EngineName, choose_engine
from dpbench.train.history import Errors
from dpbench.train.init_model import Given, Init, read_start
from dpbench.train.loop import LoopState, Plan
from dpbench.train.optimisers import Optimiser, make_optimiser
from dpbench.train.order import Shuffle, choose_shuffle
from dpbench.train.pipeline import Data, Pipeline, make_pipeline, open_data
from dpbench.train.provenance import (
    kernel_provenance,
    plan_provenance,
    start_provenance,
)
from dpbench.train.ranks import Ranks
from dpbench.train.recorded_engine import record
from dpbench.train.runs import find_checkpoint, new_run
from dpbench.train.schedule import Schedule
from dpbench.train.shared_engine import share
from dpbench.train.start import first_model, told_of_start
from dpbench.train.state import Checkpoint, load_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A run, ready for the loop."""

    run_id: str
    """Name of the run."""
    folder: Path
    """Its folder."""
    config: TrainConfig
    """Its configuration."""
    version: DatasetVersion
    """The dataset."""
    model: DeepPotential
    """The model at ``state.step``."""
    optimiser: Optimiser
    """Over the model's parameters."""
    schedule: Schedule
    """Learning rate and prefactors."""
    state: LoopState
    """Where the run is."""
    plan: Plan
    """How long it is."""
    pipeline: Pipeline
    """Batches, scores and the last fit, of this rank."""
    engine: Engine
    """Gives losses and gradients."""
    ranks: Ranks
    """Who trains together."""
    provenance: dict[str, Any]
    """What the model file will say."""
    notes: tuple[str, ...]
    """Facts to show the user before the first step."""

    @property
    def make_batch(self) -> Callable[[int], Batch]:
        """Batch of a step."""
        return self.pipeline.make_batch

    @property
    def validate(self) -> Callable[[DeepPotential], Errors]:
        """Score on the validation frames."""
        return self.pipeline.score


def begin(
    workspace: Workspace,
    config: TrainConfig,
    *,
    dataset: str,
    device: torch.device,
    command: Sequence[str],
    ranks: Ranks | None = None,
    init: Init | None = None,
) -> Session:
    """Set up a new run.

    Args:
        workspace: Has the dataset, takes the run's folder.
        config: The configuration.
        dataset: ``NAME`` or ``NAME-vN``.
        device: Where to train.
        command: The command line, for the record.
        ranks: Who trains together; None = this process alone.
        init: A model to start from; None draws one.

    Raises:
        DpbenchError: If what is named is missing or empty, or does not fit the rest.
    """
    ranks = ranks or Ranks()
    place: dict[str, Any] = {"device": device, "ranks": ranks}
    data, config, given = _opened(workspace, config, dataset, init, **place)
    first = first_model(workspace, config, data, device, given=given)
    shuffle = _shared_shuffle(config, data)
    pipeline = make_pipeline(config, data, first.model.config, shuffle)
    model = first.model if given is None else pipeline.shared_refit(first.model)
    state = LoopState()
    engine = make_engine(config, model.config, **place, reach=state.table_reach)
    length = _choose_length(config, model, pipeline, engine)
    state.table_reach.clear()  # the steps that were timed must not decide anything
    plan = make_plan(config.training, length)
    config = settled(config, is_fine_tuning=init is not None, steps=plan.steps)
    run_id, folder = ranks.from_first(lambda: new_run(workspace, data.version.label))
    provenance = start_provenance(
        config, data.version, data.split, run_id=run_id, device=device, command=command
    )
    provenance |= kernel_provenance(engine, data) | plan_provenance(plan, length)
    provenance |= _of_data(config, data, shuffle) | told_of_start(first, model, given)
    notes = first_notes(data, model, provenance, first.remarks, given=given)
    return Session(
        run_id=run_id,
        folder=folder,
        config=config,
        version=data.version,
        model=model,
        optimiser=make_optimiser(model.parameters, config.optimiser),
        schedule=Schedule(config.learning_rate, config.loss, steps=plan.steps),
        state=state,
        plan=plan,
        pipeline=pipeline,
        engine=engine,
        ranks=ranks,
        provenance=provenance,
        notes=(*notes, *describe_engine(engine, ranks), describe_plan(plan, length)),
    )


def _opened(
    workspace: Workspace,
    config: TrainConfig,
    dataset: str,
    init: Init | None,
    *,
    device: torch.device,
    ranks: Ranks,
) -> tuple[Data, TrainConfig, Given | None]:
    """Open data, and the model to start from, if any; the rate is still left open."""
    settled(config, is_fine_tuning=init is not None)  # what is wrong is told at once
    _check_ranks(config, ranks)
    version = open_dataset(workspace, dataset)
    given, config = read_start(init, config, version)
    split = _shared_split(version, config, ranks)
    data = open_data(version, split, config, device=device, ranks=ranks)
    return data, config, given


def go_on(
    workspace: Workspace,
    name: str | Path,
    *,
    device: torch.device,
    ranks: Ranks | None = None,
) -> Session:
    """Set up the rest of a run from its newest, or a named, checkpoint.

    Raises:
        TrainingError: If there is no such run, its data changed, or it was begun with
            another number of ranks.
        ModelError: If the checkpoint is damaged.
        DatasetError: If the workspace lacks the dataset or split.
    """
    ranks = ranks or Ranks()
    # All from the same file, though a new one may appear meanwhile.
    path = ranks.from_first(lambda: find_checkpoint(workspace, name).path)
    found = load_checkpoint(path)
    told = found.provenance
    config = from_mapping(TrainConfig, told["config"], where=str(path))
    version, split = _data_of(workspace, found)
    _check_ranks(config, ranks, begun_with=told.get("ranks", 1))
    data = open_data(version, split, config, device=device, ranks=ranks)
    model = found.model if device.type == "cpu" else found.model.to(device)
    optimiser = make_optimiser(model.parameters, config.optimiser)
    optimiser.restore(found.optimiser)
    # As recorded: the data may have come nearer since, and the order must not change.
    shuffle = Shuffle(**told.get("shuffle", {}))
    plan = {k: v for k, v in told["plan"].items() if k != "reason"}
    place: dict[str, Any] = {"device": device, "ranks": ranks}
    reach, begun_with = found.state.table_reach, told["engine"]
    engine = make_engine(
        config, model.config, **place, begun_with=begun_with, reach=reach
    )
    notes = [
        f"resumed: run {told['run_id']} at step {found.state.step} of "
        f"{plan['steps']}, on {version.label}",
        describe_model(model),
        *describe_engine(engine, ranks),
    ]
    return Session(
        run_id=told["run_id"],
        folder=path.absolute().parent,
        config=config,
        version=version,
        model=model,
        optimiser=optimiser,
        schedule=Schedule(config.learning_rate, config.loss, steps=plan["steps"]),
        state=found.state,
        plan=Plan(**plan),
        pipeline=make_pipeline(config, data, model.config, shuffle),
        engine=engine,
        ranks=ranks,
        provenance=told,
        notes=(*notes, *_notes_of_place(told, device)),
    )


def _notes_of_place(told: Mapping[str, Any], device: torch.device) -> list[str]:
    """Say that a run goes on elsewhere than it began, where it does."""
    if (told["threads"], told["device"]) == (torch.get_num_threads(), device.type):
        return []
    return [
        f"note: the run began on {told['device']} with {told['threads']} threads; "
        "here it goes on, but not bit for bit"
    ]


def _of_data(config: TrainConfig, data: Data, shuffle: Shuffle) -> dict[str, Any]:
    """Tell of the order of frames, the optimiser, and what parts have in common."""
    return {
        "shuffle": to_mapping(shuffle),
        "optimiser": config.optimiser.type,
        "leakage": _leakage(data.version, data.split, data.ranks),
    }


def _shared_split(version: DatasetVersion, config: TrainConfig, ranks: Ranks) -> Split:
    """Find the split; rank 0 alone makes and files one where there is none."""
    digest = ranks.from_first(
        lambda: choose_split(version, config.training.split).digest
    )
    return named_split(version, digest)


def _shared_shuffle(config: TrainConfig, data: Data) -> Shuffle:
    """Choose the kind of shuffle; all ranks take that of rank 0."""
    return data.ranks.from_first(
        lambda: choose_shuffle(config.training.shuffle, is_near=data.is_near)
    )


def _leakage(version: DatasetVersion, split: Split, ranks: Ranks) -> Mapping[str, Any]:
    """Say what the parts of the split have in common; reads no test frame."""
    return split.leakage or ranks.from_first(lambda: between_parts(version, split))


def make_engine(
    config: TrainConfig,
    model: ModelConfig,
    *,
    ranks: Ranks,
    device: torch.device,
    begun_with: str | None = None,
    reach: list[float] | None = None,
) -> Engine:
    """Choose the engine of a run.

    Args:
        config: What the user asked for.
        model: What is trained.
        ranks: Who shares each batch.
        device: Where; on CUDA a batch that does not fit is cut.
        begun_with: The engine in the record of a run that goes on.
        reach: ``table_reach`` of the run's state.

    Raises:
        ConfigError: If the engine that is asked for does not serve the model.
    """
    settings = config.training
    asked: EngineName = settings.engine
    if begun_with is not None and asked == "auto":
        # As recorded; runs of older releases say "reference".
        known = [name for name in get_args(EngineName) if name == begun_with]
        asked = known[0] if known else "autograd"
    engine = choose_engine(model, asked, intervals=settings.table_intervals)
    if ranks.is_alone and device.type == "cpu":
        return engine
    if device.type == "cuda":
        return record(engine, model, ranks=ranks, device=device, reach=reach)
    return share(engine, ranks)


def _check_ranks(
    config: TrainConfig, ranks: Ranks, *, begun_with: int | None = None
) -> None:
    """Refuse what several processes cannot do.

    Raises:
        TrainingError: If the optimiser needs whole batches, or their number changed.
    """
    if begun_with is not None and ranks.size != begun_with:
        raise TrainingError(
            f"--resume: the run was begun by {begun_with} processes, now there are "
            f"{ranks.size}; expected as many, because they decide the batches. Start "
            f"torchrun with --nproc-per-node {begun_with} (or as many nodes)."
        )
    kind = config.optimiser.type
    if not ranks.is_alone and kind == "kalman":
        raise TrainingError(
            f"optimizer {kind}: takes whole batches; expected another with "
            f"{ranks.size} processes. Take --optimizer adam, or one process."
        )


def _data_of(workspace: Workspace, found: Checkpoint) -> tuple[DatasetVersion, Split]:
    """Find the data that a checkpoint was trained on.

    Raises:
        TrainingError: If this workspace has others.
    """
    told = found.provenance
    label = f"{told['dataset']['name']}-v{told['dataset']['number']}"
    version = open_dataset(workspace, label)
    split = find_split(version, told["split"]["digest"])
    if version.digest != told["dataset"]["digest"] or split is None:
        raise TrainingError(
            f"{found.path}: was trained on {label} with digest "
            f"{told['dataset']['digest']} and split {told['split']['digest']}; this "
            "workspace has others. Go on in the workspace where the run began."
        )
    return version, split


def choose_split(version: DatasetVersion, digest: str | None) -> Split:
    """Find the split to train with; make and file the default one if there is none.

    Args:
        version: The dataset.
        digest: A split's name or the start of its digest; None takes the only one
            there is.

    Raises:
        DatasetError: If there is no such split, or several to choose from.
    """
    if digest is None:
        return find_split(version) or checked_default_split(version)
    return named_split(version, digest)


def _choose_length(
    config: TrainConfig, model: DeepPotential, pipeline: Pipeline, engine: Engine
) -> Length:
    """Decide the number of steps, timing a few where time decides."""
    # Of unknown length, so that its prefactors are those of the start.
    schedule = Schedule(config.learning_rate, config.loss, steps=10**9)
    ranks = pipeline.data.ranks

    def costs() -> Costs:
        found = measure_costs(
            model,
            pipeline.make_batch,
            pipeline.score,
            schedule,
            optimiser=config.optimiser,
            engine=engine,
        )
        return ranks.gather(found)[0]  # all take the plan of one clock

    return choose_length(
        config.training,
        steps_per_epoch=pipeline.order.steps_per_epoch(),
        costs=costs,
    )
