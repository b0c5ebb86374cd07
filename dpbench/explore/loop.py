"""The loop: train, explore, select, label, ingest, and train again until it is over.

Each step reads what is done and does the rest, so that the same call goes on wherever
the one before ended, however it ended.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.explore.announce import Announce, Announcement, silent
from dpbench.explore.changes import remember
from dpbench.explore.checks import check_anew
from dpbench.explore.config import ExploreConfig
from dpbench.explore.filing import file_iteration
from dpbench.explore.journal import (
    Iteration,
    exploration_folder,
    iteration_at,
    only_one,
)
from dpbench.explore.select.stopping import Iterated, Stop, converged
from dpbench.explore.session import Session
from dpbench.explore.spread import hired
from dpbench.explore.stage_results import (
    IngestResult,
    SelectResult,
    StopReason,
    TrainResult,
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


def run(
    workspace: Workspace,
    config: ExploreConfig,
    *,
    base: Path,
    announce: Announce = silent,
) -> Explored:
    """Explore until it is over, from wherever an earlier call has ended.

    Args:
        workspace: Takes everything.
        config: What is asked for.
        base: Folder that file names of the configuration are relative to.
        announce: Is told how far it is.

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
        return replace(_Loop(session).run(), changed=changed)


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
            end = stop if stop and self._ends_all(stop, selected.stage) else None
            # Labels that nothing will be explored with are worth their price only
            # where it was the limit that ended it, and not that enough was learned.
            if selected.chosen and (end is None or end.kind == "iterations"):
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
        self._history.append(
            Iterated(
                stage=explored.stage,
                counts=selected.counts,
                levels=selected.levels,
                chosen=len(selected.chosen),
                force_error=mean_error(trained, "rmse_f_validation"),
                energy_error=mean_error(trained, "rmse_e_validation"),
            )
        )
        if iteration_at(self._session.root, iteration.number + 1).explore is not None:
            return selected  # what was decided has been gone on with
        # Decided anew each time: [stop] may have changed since.
        stop = _reason(converged(self._history, self._session.config.stop))
        if stop != selected.stop:
            selected = replace(selected, stop=stop)
            write_result(iteration.folder, "select", selected)
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

    def _ends_all(self, stop: StopReason, stage: int) -> bool:
        stages = self._session.config.explore.stages
        return stop.ends == "all" or stage + 1 >= len(stages)

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


def _reason(stop: Stop | None) -> StopReason | None:
    if stop is None:
        return None
    return StopReason(
        kind=stop.kind,
        reason=stop.reason,
        ends=stop.ends,
        is_converged=stop.is_converged,
    )
