"""Facts of model, dataset and split, as a record keeps them."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.backends.client import BackendModel
from dpbench.backends.trust import digest_of
from dpbench.eval.parts import Training
from dpbench.eval.record import (
    DatasetFacts,
    ModelFacts,
    Provenance,
    SourceFacts,
    SplitFacts,
)
from dpbench.models.config import descriptor_words
from dpbench.models.files import Potential, kind_of, potential_digest
from dpbench.models.parameters import parameter_shapes
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split
from dpbench.store.theory.levels import levels_of_version
from dpbench.store.theory.mixture import conflicts

MOST_SOURCES = 1000
"""Most sources that a record lists; the version's own object has them all."""

RUN_KEYS = (
    "run_id",
    "seed",
    "steps",
    "wall_time_s",
    "engine",
    "precision",
    "threads",
    "device",
    "command",
    "versions",
    "code",
    "hardware",
    "config",
    "init",
    "curve",
)
"""Keys of a model's provenance that describe its run."""

UNTOLD_NAMES = ("m", "model")
"""File names that say nothing: such a model is called by its run."""


def model_facts(
    model: Potential,
    path: Path,
    provenance: Mapping[str, Any],
    *,
    name: str | None,
) -> ModelFacts:
    """Describe a model.

    Args:
        model: The model as loaded.
        path: Its file.
        provenance: As the file holds it.
        name: What the user calls it, if anything.
    """
    descriptor, fitting = model.config.descriptor, model.config.fitting
    return ModelFacts(
        digest=potential_digest(model),
        name=name or _default_name(path, provenance),
        path=str(path),
        parameters=sum(map(math.prod, parameter_shapes(model.config).values())),
        type_map=tuple(model.type_map),
        rcut=float(model.rcut),
        description=(f"{descriptor_words(descriptor)}, fitting {list(fitting.neuron)}"),
        kind=kind_of(model),
    )


def foreign_model_facts(
    path: Path,
    model: BackendModel | None,
    provenance: Mapping[str, Any],
    *,
    name: str | None,
) -> ModelFacts:
    """Describe a model that another program opened.

    Args:
        path: Its file.
        model: The model; None if it could not be opened.
        provenance: What the workspace knows of its making.
        name: What the user calls it, if anything.
    """
    told = {} if model is None else model.facts
    cutoff, count = told.get("rcut"), provenance.get("parameters")
    return ModelFacts(
        digest=f"sha256:{digest_of(path)}",
        name=name or _default_name(path, provenance),
        path=str(path),
        parameters=count if isinstance(count, int) else None,
        type_map=tuple(told.get("type_map", ())),
        rcut=None if cutoff is None else float(cutoff),
        description=str(told.get("description") or ""),
        kind="foreign",
    )


def dataset_facts(version: DatasetVersion) -> DatasetFacts:
    """Name a dataset version."""
    return DatasetFacts(
        name=version.name,
        number=version.number,
        label=version.label,
        digest=version.digest,
        nframes=version.nframes,
    )


def split_facts(split: Split) -> SplitFacts:
    """Name a split and count its parts."""
    return SplitFacts(
        digest=split.digest,
        strategy=split.strategy,
        seed=split.seed,
        parts={name: len(rows) for name, rows in split.parts.items()},
        names=split.names,
    )


def provenance_chain(
    provenance: Mapping[str, Any],
    training: Training | None,
    version: DatasetVersion,
) -> Provenance:
    """Lay out the way from a record to the source files.

    Args:
        provenance: As the model file holds it.
        training: What it was trained on, where this workspace has it.
        version: The evaluated version, whose sources are listed.
    """
    told = {key: provenance[key] for key in RUN_KEYS if key in provenance}
    return Provenance(
        run=json.loads(json.dumps(told, default=str)) if told else None,
        training_dataset=_training_dataset(provenance, training),
        training_split=None if training is None else split_facts(training.split),
        sources=tuple(
            SourceFacts(
                path=str(source.path),
                sha256=source.sha256,
                format=source.format,
                code=source.code,
                code_version=source.code_version,
                nframes=source.n_frames,
            )
            for source in version.sources[:MOST_SOURCES]
        ),
        nsources=len(version.sources),
        theory_conflicts=_theory_conflicts(training, version),
    )


def _theory_conflicts(
    training: Training | None, version: DatasetVersion
) -> tuple[str, ...]:
    """Name what tells the levels of theory of two versions apart."""
    if training is None or training.version.digest == version.digest:
        return ()
    both = (*levels_of_version(training.version), *levels_of_version(version))
    own = {
        conflict["key"]
        for one in (training.version, version)
        for conflict in one.mixed_theory
    }
    found = {conflict.key for conflict in conflicts(both)}
    return tuple(sorted(found - own))


def _training_dataset(
    provenance: Mapping[str, Any], training: Training | None
) -> DatasetFacts | None:
    if training is not None:
        return dataset_facts(training.version)
    told = provenance.get("dataset")
    if not told:
        return None
    return DatasetFacts(
        name=told["name"],
        number=told["number"],
        label=f"{told['name']}-v{told['number']}",
        digest=told["digest"],
    )


def _default_name(path: Path, provenance: Mapping[str, Any]) -> str:
    run = str(provenance.get("run_id") or "")
    if path.stem in UNTOLD_NAMES and run:
        # A run is called DATE-TIME-DATASET-TAG; the record tells the date.
        return re.sub(r"^\d{8}-\d{6}-", "", run)
    return path.stem
