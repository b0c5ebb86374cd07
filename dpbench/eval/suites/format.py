"""What stands in a suite file, ``registry/suites/NAME/vN.toml``.

Every key is read strictly; a key that is not named here is an error. The tasks, the
bounds and the digests of a published file never change: another choice is another
version.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from dpbench.errors import ConfigError
from dpbench.metrics.definitions import METRICS
from dpbench.store.splits.filed import DEFAULT_FRACTIONS

Mode = Literal["smoke", "standard", "full"]
Missing = Literal["no_score", "useless"]
Origin = Literal["package", "registry", "user"]

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Names of suites; ``-vN`` follows them in records."""

_DIGEST = re.compile(r"dpb[0-9]+:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRecipe:
    """How the frames are dealt, and what must come of it."""

    digest: str
    """Split digest; another one is refused."""
    strategy: Literal[
        "trajectory", "block", "source", "composition", "time", "random"
    ] = "trajectory"
    """As ``dpbench dataset split --strategy``."""
    seed: int = 0
    """Order of dealing."""
    fractions: dict[str, float] | None = None
    """Shares of the parts that are not held out; None: 0.8, 0.1, 0.1."""
    hold_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Part -> patterns of source paths that go to it whole."""
    gap: int | None = None
    """Frames left out between two blocks."""
    skip_twins: bool = False
    """Leave frames that are one structure where a published split put them."""

    def __post_init__(self) -> None:
        """Check the digest."""
        _check_digest(self.digest)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that come of it."""
        dealt = DEFAULT_FRACTIONS if self.fractions is None else self.fractions
        return tuple(dict.fromkeys((*dealt, *self.hold_out)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteData:
    """A dataset version and its split."""

    key: str
    """What tasks and metrics of the suite call it."""
    dataset: str
    """Name that it gets in a workspace."""
    digest: str
    """Content digest of the version; another one is refused."""
    split: SplitRecipe
    """Its parts."""
    code: str
    """CODE of ``dpbench ingest``."""
    origin: Origin
    """Where the raw files lie: in the ``package``, in the ``registry``, or with the
    ``user``, who names their folder."""
    paths: tuple[str, ...]
    """Files, folders or patterns below that place."""
    elements: tuple[str, ...]
    """Elements that a model must know to be measured on it."""
    licence: str
    """Of the data."""
    theory: str | None = None
    """Name in ``registry/theory`` for sources that do not tell their level of theory;
    None: they do."""
    made: str = ""
    """How the raw files were made, and where the user gets them."""

    def __post_init__(self) -> None:
        """Check the digest."""
        _check_digest(self.digest)
        if not self.paths:
            raise ConfigError("paths is empty; expected at least one.")
        if not self.elements:
            raise ConfigError("elements is empty; expected at least one.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTask:
    """A task on one part of one dataset."""

    task: str
    """Name of the task."""
    data: str
    """Key of the dataset."""
    part: str
    """Part of its split that frames are taken from."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the suite chooses otherwise than the task, in every mode."""
    modes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Mode -> what it chooses otherwise still."""
    references: str | None = None
    """Folder of reference values, beside the suite's file."""

    def __post_init__(self) -> None:
        """Check the names of modes."""
        for mode in self.modes:
            if mode not in ("smoke", "standard", "full"):
                raise ConfigError(
                    f"modes.{mode}: is no mode; expected smoke, standard or full."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteMetric:
    """A number of the suite, and its part in the score."""

    name: str
    """Of a metric, unit and reduction included."""
    task: str
    """Task that gives it."""
    data: str
    """Key of the dataset that the task was done on."""
    part: str
    """Part that it was done on."""
    weight: float
    """In the score; 0: the number is shown, and does not count."""
    polarity: Literal["lower", "higher"]
    """Which way is better; as the metric itself says."""
    useless: float
    """Frozen bound: what a model without merit has. Its error counts 1."""
    perfect: float
    """Frozen bound: nothing is won beyond it. Its error counts 0."""
    missing: Missing = "no_score"
    """What a number means that is not there though nothing failed: the row has no
    score, or it counts as useless."""

    def __post_init__(self) -> None:
        """Check name, polarity and bounds."""
        if self.name not in METRICS:
            raise ConfigError(
                f"name = '{self.name}': is no metric; expected one of those in "
                "docs/metrics-reference.md."
            )
        known = METRICS[self.name].polarity
        if self.polarity != known:
            raise ConfigError(
                f"polarity of '{self.name}' is '{self.polarity}'; expected '{known}'."
            )
        if self.weight < 0:
            raise ConfigError(f"weight = {self.weight}; expected 0 or more.")
        is_ordered = (
            self.perfect < self.useless
            if self.polarity == "lower"
            else self.perfect > self.useless
        )
        if not is_ordered:
            raise ConfigError(
                f"'{self.name}': useless = {self.useless} and perfect = {self.perfect}"
                f" are equal or the wrong way round; {self.polarity} is better."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedValue:
    """A number as somebody published it."""

    metric: str
    """Its name here: what was published must have the same unit and reduction."""
    data: str
    """Key of the dataset."""
    part: str
    """Part of its split."""
    value: float
    """In the unit of the metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """A model of others; nothing of it was measured here."""

    model: str
    """As tables show it."""
    source: str
    """Paper, table and column."""
    url: str | None = None
    """Where it is read."""
    note: str = ""
    """What makes it another thing than a row measured here."""
    values: tuple[PublishedValue, ...]
    """Its numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file of published rows: ``[[row]]`` tables."""

    row: tuple[PublishedRow, ...]
    """The rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Names a file of published rows."""

    file: str
    """Beside the suite's file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteFile:
    """All of a suite file."""

    name: str
    """As the folder is called."""
    version: int
    """As the file is called: ``vN.toml``."""
    title: str
    """A few words."""
    licence: str
    """Of the suite's own files."""
    description: str
    """What it tells, and what not."""
    floor: float = 0.001
    """Least normalised error that counts: a perfect number does not outweigh all
    others in a mean of logarithms."""
    data: tuple[SuiteData, ...]
    """Datasets."""
    task: tuple[SuiteTask, ...]
    """Tasks, in the order in which they are done."""
    metric: tuple[SuiteMetric, ...]
    """Numbers of its tables."""
    published: tuple[Published, ...] = ()
    """Rows of others."""

    def __post_init__(self) -> None:
        """Check what refers to something else."""
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"name = '{self.name}'; expected small letters, digits and hyphens."
            )
        if not 0 < self.floor < 1:
            raise ConfigError(f"floor = {self.floor}; expected a number in 0 to 1.")
        keys = [data.key for data in self.data]
        done = [(task.task, task.data, task.part) for task in self.task]
        for what, found in (("data", keys), ("task", done)):
            if len(set(found)) < len(found):
                raise ConfigError(f"two [[{what}]] are the same; expected each once.")
        for task in self.task:
            if task.data not in keys:
                raise ConfigError(
                    f"task '{task.task}': data = '{task.data}' is no key; expected "
                    f"one of {', '.join(keys)}."
                )
            parts = self.data[keys.index(task.data)].split.parts
            if task.part not in parts:
                raise ConfigError(
                    f"task '{task.task}': part = '{task.part}' is none of the split "
                    f"of {task.data}; expected one of {', '.join(parts)}."
                )
        for metric in self.metric:
            if (metric.task, metric.data, metric.part) not in done:
                raise ConfigError(
                    f"metric '{metric.name}': no [[task]] is {metric.task} on "
                    f"{metric.data}:{metric.part}; expected one. Add it."
                )


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise ConfigError(
            f"digest = {digest!r}; expected dpb1: and 64 hex digits, as 'dpbench "
            "suites prepare' prints them."
        )
