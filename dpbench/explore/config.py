"""The configuration of an exploration: one TOML file, each section beside its owner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping, read_toml
from dpbench.errors import ConfigError
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.sampling.settings import SamplingSettings
from dpbench.explore.select.settings import SelectSettings
from dpbench.explore.select.stopping import StopSettings
from dpbench.explore.spread import Resources
from dpbench.explore.start_settings import StartSettings
from dpbench.explore.training_settings import EnsembleSettings
from dpbench.store.references import check_name


@dataclass(frozen=True, kw_only=True, slots=True)
class ExploreConfig:
    """All sections."""

    dataset: str
    """What grows: version 1 is the start, then one version an iteration."""
    seed: int = 1
    """Decides everything that is drawn."""
    start: StartSettings
    """The first frames with labels."""
    train: EnsembleSettings = field(default_factory=EnsembleSettings)
    """The models of every iteration."""
    explore: SamplingSettings
    """Structures, stages and filters."""
    select: SelectSettings = field(default_factory=SelectSettings)
    """Which frames are labelled."""
    stop: StopSettings = field(default_factory=StopSettings)
    """When it ends."""
    label: LabelSettings
    """Who labels."""
    resources: Resources = field(default_factory=Resources)
    """Where tasks run."""

    def __post_init__(self) -> None:
        """Check the name and the seed."""
        check_name(self.dataset)
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}; expected 0 or more.")
        if self.train.models < 2:
            raise ConfigError(
                f"train.models = {self.train.models}; expected 2 or more: frames are "
                "selected by how far the models disagree."
            )
        for name in self.start.structures:
            self.explore.structure(name, where="start.structures")
        for name in self.select.structures:
            self.explore.structure(name, where="select.structures")
        watched = self.stop.watches_errors
        if watched and self.train.validation == 0:
            raise ConfigError(
                f"stop.{watched[0]}: is measured on validation frames, of which there "
                "are none with train.validation = 0. Hold some out, or leave it away."
            )


def read_config(path: Path) -> ExploreConfig:
    """Read and check a configuration.

    Raises:
        ConfigError: If the file is missing, or a key or value cannot be used.
    """
    return config_from(read_toml(path), where=str(path))


def config_from(data: Mapping[str, Any], *, where: str) -> ExploreConfig:
    """Build the configuration from plain values.

    Raises:
        ConfigError: If a key or value cannot be used.
    """
    return from_mapping(ExploreConfig, _without_share(data), where=where)


def _without_share(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave the accurate share alone where the adaptive rule decides it.

    That rule finds a fixed number of candidates; the rest is accurate by its words.
    """
    select, stop = data.get("select"), data.get("stop", {})
    is_adaptive = isinstance(select, Mapping) and select.get("rule") == "adaptive"
    if not is_adaptive or not isinstance(stop, Mapping) or "accurate" in stop:
        return data
    return {**data, "stop": {**stop, "accurate": False}}
