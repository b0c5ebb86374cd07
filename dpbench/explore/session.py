"""An exploration at work: its configuration, its folder, and who does its tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dpbench.config import to_mapping
from dpbench.explore.announce import Announce, Announcement
from dpbench.explore.config import ExploreConfig
from dpbench.explore.journal import FOLDER, config_digest
from dpbench.explore.spread import Crew, TaskDied, spread
from dpbench.store.workspace import Workspace

Task = TypeVar("Task")
Result = TypeVar("Result")

TRIES: Final = 2
"""A process may be killed from outside: its task is done once more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What every stage is handed."""

    workspace: Workspace
    """Takes everything."""
    config: ExploreConfig
    """What is asked for."""
    base: Path
    """Folder that file names of the configuration are relative to."""
    crew: Crew
    """Does tasks."""
    announce: Announce
    """Is told how far it is."""

    @property
    def root(self) -> Path:
        """Folder of the exploration."""
        return self.workspace.root / FOLDER / self.config.dataset

    @property
    def digest(self) -> str:
        """Digest of the configuration, which stages note."""
        return config_digest(to_mapping(self.config))

    @property
    def labels(self) -> Path:
        """Folder of all labels, shared by the iterations."""
        return self.root / "labels"

    def do(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        iteration: int | None,
        stage: str,
        words: Callable[[Result | TaskDied], str] = lambda _: "",
        inspect: Callable[[Result | TaskDied], None] = lambda _: None,
        cores: int | None = None,
    ) -> list[Result | TaskDied]:
        """Do the tasks of a stage and tell how far it is.

        One whose process died is done once more before it is given up.

        Args:
            function: Of a module.
            tasks: Picklable.
            iteration: For the announcements.
            stage: Likewise.
            words: Says a few words of a result.
            inspect: Looks at each result as it comes; what it raises ends the others.
            cores: That one task keeps busy, where the resources do not say it.

        Returns:
            The results in the order of the tasks.
        """
        total = len(tasks)
        results: dict[int, Result | TaskDied] = {}

        def tell(text: str = "", *, is_over: bool = False) -> None:
            self.announce(
                Announcement(
                    iteration=iteration,
                    stage=stage,
                    done=len(results),
                    total=total,
                    text=text,
                    is_over=is_over,
                )
            )

        tell()
        text = ""
        for number, result in self._results(function, tasks, cores):
            inspect(result)
            results[number] = result
            text = words(result)
            tell(text)
        tell(text, is_over=True)
        return [results[number] for number in range(total)]

    def _results(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        cores: int | None,
    ) -> Iterator[tuple[int, Result | TaskDied]]:
        """Yield results as they come; the last tasks are those that died before."""
        rest = list(range(len(tasks)))
        for attempt in range(TRIES):
            lost = []
            for place, result in spread(
                function,
                [tasks[number] for number in rest],
                resources=self.config.resources,
                crew=self.crew,
                cores=cores,
            ):
                if _is_lost(result) and attempt + 1 < TRIES:
                    lost.append(rest[place])
                else:
                    yield rest[place], result
            rest = sorted(lost)


def _is_lost(result: object) -> bool:
    return isinstance(result, TaskDied) and result.is_crash
