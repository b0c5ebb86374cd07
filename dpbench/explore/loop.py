"""The loop: train, explore, select, label, ingest, and train again until it is over.

Each step reads what is done and does the rest, so that the same call goes on wherever
the one before ended, however it ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.explore.announce import Announce, Announcement, silent
from dpbench.explore.changes import remember
from dpbench.explore.checks import check_anew
from dpbench.explore.config import ExploreConfig
from dpbench.explore.filing import file_iteration
from dpbench.explore.in_force import unused_sections
from dpbench.explore.journal import (
    Iteration,
    exploration_folder,
    iteration_at,
    only_one,
)
from dpbench.explore.outcome import losses_of
from dpbench.explore.select.stopping import Iterated, Stop, converged
from dpbench.explore.session import Session
from dpbench.explore.spread import hired
from dpbench.explore.stage_results import (
    IngestResult,
    SelectResult,
    StopReason,
    TrainResult,
    config_of,
    write_result,
)
from dpbench.explore.stages.assessing import assess
from dpbench.explore.stages.exploring import explore
from dpbench.explore.stages.ingesting import check_theory, ingest_labels
from dpbench.explore.stages.labelling import label_chosen
from dpbench.explore.stages.selecting import select
from dpbench.explore.stages.start import start
from dpbench.explore.stages.training import mean_error, model_paths, train
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Explored:
    """What an exploration came to."""

    folder: Path
    """Of the exploration."""
    start: IngestResult
    """The version that it began with."""
    version: str
    """``NAME-vN`` that it ended with."""
    digest: str
    """Of that version."""
    nframes: int
    """Frames of it."""
    iterations: int
    """How many selected frames."""
    stop: StopReason
    """Why it ended."""
    models: tuple[Path, ...]
    """Trained on the last version."""
    changed: tuple[str, ...] = ()
    """What in the configuration differs from the one before."""
    unused: tuple[str, ...] = ()
    """Sections that have changed and count from the next iteration, of which there is
    none."""


def run(
    workspace: Workspace,
    config: ExploreConfig,
    *,
    base: Path,
    announce: Announce = silent,
    tell_changes: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> Explored:
    """Explore until it is over, from wherever an earlier call has ended.

    Args:
        workspace: Takes everything.
        config: What is asked for.
        base: Folder that file names of the configuration are relative to.
        announce: Is told how far it is.
        tell_changes: Is told at the begin what in the configuration differs from the
            one before.

    Raises:
        WorkspaceError: If another process works on it, or the disk cannot be written.
        ConfigError: If the configuration cannot be used, or changed in what cannot.
        DatasetError: If levels of theory would mix, or too many labels fail.
        DpbenchError: Whatever else a stage cannot go on with.
    """
    root = exploration_folder(workspace, config.dataset)
    with only_one(root), hired(config.resources) as crew:
        session = Session(
            workspace=workspace, config=config, base=base, crew=crew, announce=announce
        )
        crew.check_reach(root)
        check_anew(session)
        changed = remember(root, config, base=base)
        tell_changes(changed)
        explored = _Loop(session).run()
        unused = unused_sections(root, config)
        return replace(explored, changed=changed, unused=unused)


class _Loop:
    """One call of the loop, and the history it has read or made so far."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._history: list[Iterated] = []

    def run(self) -> Explored:
        """Go through the iterations until one is the last."""
        begun = start(self._session)
        check_theory(
            self._session, open_dataset(self._session.workspace, begun.version)
        )
        number, stage, version = 0, 0, begun
        while True:
            iteration = iteration_at(self._session.root, number)
            trained = self._train(iteration, version.version)
            selected = self._select(iteration, trained, stage)
            stop = selected.stop
            end = self._end(iteration, selected)
            if selected.chosen and _is_worth_labels(iteration, end):
                version = self._label(iteration, selected, trained.dataset)
            file_iteration(self._session, iteration)
            if end is not None:
                return self._over(begun, version, end, number)
            stage = selected.stage + (stop is not None)
            number += 1

    def _train(self, iteration: Iteration, dataset: str) -> TrainResult:
        """Train, and see what the models before have learned by it."""
        trained = train(self._session, iteration, dataset=dataset)
        if iteration.number:
            assess(
                self._session, iteration_at(self._session.root, iteration.number - 1)
            )
        return trained

    def _select(
        self, iteration: Iteration, trained: TrainResult, stage: int
    ) -> SelectResult:
        """Explore, select, and decide whether to go on."""
        models = model_paths(self._session, trained)
        explored = explore(self._session, iteration, stage=stage, models=models)
        selected = select(
            self._session,
            iteration,
            explored=explored,
            models=models,
            dataset=trained.dataset,
        )
        losses = losses_of(explored)
        self._history.append(
            Iterated(
                stage=explored.stage,
                counts=selected.counts,
                levels=selected.levels,
                chosen=len(selected.chosen),
                force_error=mean_error(trained, "rmse_f_validation"),
                energy_error=mean_error(trained, "rmse_e_validation"),
                planned=losses.planned,
                given=losses.given,
                empty=losses.empty,
                lost=losses.words,
            )
        )
        if _is_gone_on_with(self._session, iteration):
            return selected
        # Decided anew each time: [stop] may have changed since.
        stop = _reason(converged(self._history, self._session.config.stop))
        stop = stop or _stage_gone(explored.stage, self._session.config)
        if stop != selected.stop:
            selected = replace(selected, stop=stop)
            noted = config_of(iteration.folder, "select")
            write_result(iteration.folder, "select", selected, config=noted)
        return selected

    def _label(
        self, iteration: Iteration, selected: SelectResult, dataset: str
    ) -> IngestResult:
        """Label what was chosen, and add it to the dataset."""
        labelled = label_chosen(
            self._session, iteration, selected=selected, dataset=dataset
        )
        return ingest_labels(
            self._session, iteration, labelled=labelled, dataset=dataset
        )

    def _end(self, iteration: Iteration, selected: SelectResult) -> StopReason | None:
        """Return why all ends with an iteration, if it does.

        One that was gone on with did not end it, though it was of the last of the
        stages that are left in the configuration.
        """
        stop = selected.stop
        if stop is None or _is_gone_on_with(self._session, iteration):
            return None
        is_last = selected.stage + 1 >= len(self._session.config.explore.stages)
        return stop if stop.ends == "all" or is_last else None

    def _over(
        self,
        begun: IngestResult,
        version: IngestResult,
        stop: StopReason,
        number: int,
    ) -> Explored:
        """Train on what the last iteration has added, and close the books."""
        root = self._session.root
        trained = iteration_at(root, number).train
        if trained is None or trained.digest != version.digest:
            trained = self._train(iteration_at(root, number + 1), version.version)
        self._session.announce(
            Announcement(iteration=number, stage="over", text=stop.reason, is_over=True)
        )
        return Explored(
            folder=root,
            start=begun,
            version=version.version,
            digest=version.digest,
            nframes=version.nframes,
            iterations=number + 1,
            stop=stop,
            models=tuple(model_paths(self._session, trained)),
        )


def _is_gone_on_with(session: Session, iteration: Iteration) -> bool:
    """Whether the next iteration has explored: what this one decided is done."""
    return iteration_at(session.root, iteration.number + 1).explore is not None


def _is_worth_labels(iteration: Iteration, end: StopReason | None) -> bool:
    """Whether what was chosen is labelled, or is already.

    Labels that nothing will be explored with are worth their price only where it was
    the limit that ended it, and not that enough was learned.
    """
    return end is None or end.kind == "iterations" or iteration.ingest is not None


def _stage_gone(stage: int, config: ExploreConfig) -> StopReason | None:
    """End it where the stage that would be gone on with was taken out."""
    count = len(config.explore.stages)
    if stage < count:
        return None
    return StopReason(
        kind="stage gone",
        reason=f"stage {stage} is none of the {count} of [[explore.stages]] any more",
        ends="all",
        is_converged=False,
    )


def _reason(stop: Stop | None) -> StopReason | None:
    if stop is None:
        return None
    return StopReason(
        kind=stop.kind,
        reason=stop.reason,
        ends=stop.ends,
        is_converged=stop.is_converged,
    )
