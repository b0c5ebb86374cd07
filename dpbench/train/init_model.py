"""Training that starts from a model: ``--init``, fine-tuning.

Nets and statistics are the model's; the energy bias is fitted anew to the training
energies. Its options decide the run's ``model`` section: what is stated besides must
agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dpbench.config import to_mapping
from dpbench.errors import ConfigError, ModelError
from dpbench.models.checkpoint import model_digest
from dpbench.models.config import (
    EnergyFittingConfig,
    HybridConfig,
    ModelConfig,
    PlainDescriptor,
    SeE2AConfig,
    SeE2RConfig,
)
from dpbench.models.pair_table import read_table
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import DatasetVersion
from dpbench.train.config import (
    DescriptorSettings,
    FittingSettings,
    HybridSettings,
    ModelSettings,
    PairTableSettings,
    SeAttenSettings,
    SeE2RSettings,
    TrainConfig,
)
from dpbench.train.descriptor_settings import PlainSettings

_FREE = frozenset({"seed", "type_map", "file"})
"""Options that do not have to agree, or are compared in another way."""

_SAME = {"se_atten": "dpa1"}
"""Two names of one kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Init:
    """A model to start from, and what the user states beside it."""

    path: Path
    """The file that it was read from."""
    model: DeepPotential
    """The model, on the CPU."""
    provenance: Mapping[str, Any]
    """What its file says of its making."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """More of the file for the record: its kind, its sha256."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    stated: Mapping[str, Any] | None = None
    """Options of the section ``model`` that are stated; None takes those of the
    configuration that are not dpbench's defaults."""
    precision: Literal["float32", "float64"] | None = None
    """Precision that is stated; None takes the model's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A model as a run starts from it."""

    model: DeepPotential
    """On the CPU, with its old bias."""
    told: dict[str, Any]
    """For the record."""
    notes: tuple[str, ...]
    """What the user should know."""


def read_start(
    init: Init | None, config: TrainConfig, version: DatasetVersion
) -> tuple[Given | None, TrainConfig]:
    """Let the model that a run starts from, if any, decide the configuration.

    Args:
        init: The model, and what is stated beside it.
        config: The configuration.
        version: The dataset; it must hold no element that the model does not know.

    Raises:
        ModelError: If the model cannot be trained, or does not know an element.
        ConfigError: If the configuration says otherwise than the model.
    """
    if init is None:
        return None, config
    model = _with_names(init.model, init, config)
    settings = settings_of(model.config, init.path)
    stated = init.stated
    if stated is None:
        stated = _changed(to_mapping(ModelSettings()), to_mapping(config.model))
    _check(stated, to_mapping(settings), f"model.{{}} of {init.path}")
    _check_table(stated, model, init.path)
    _check_elements(model.type_map, stated.get("type_map"), version, init.path)
    precision = init.precision or model.config.precision
    if precision != model.config.precision:
        model = model.to("cpu", DTYPES[precision])
    training = replace(config.training, precision=precision)
    config = replace(config, model=settings, training=training)
    return Given(model=model, told=_told(init), notes=init.notes), config


def settings_of(config: ModelConfig, path: Path) -> ModelSettings:
    """Return the settings that make a model's configuration.

    Args:
        config: Of the model.
        path: Its file, which has the pair table.
    """
    fitting = config.fitting
    parts = tuple(_part_settings(part) for part in config.descriptor.parts)
    mix = config.pair_table
    names: dict[str, Any] = {
        option.name: getattr(fitting, option.name)
        for option in fields(FittingSettings)
        if option.name != "type"
    }
    return ModelSettings(
        type_map=config.type_map,
        descriptor=HybridSettings(list=parts)
        if isinstance(config.descriptor, HybridConfig)
        else parts[0],
        fitting=FittingSettings(**names),
        pair_table=None
        if mix is None
        else PairTableSettings(
            file=str(path),
            sw_rmin=mix.sw_rmin,
            sw_rmax=mix.sw_rmax,
            smin_alpha=mix.smin_alpha,
        ),
    )


def _part_settings(part: PlainDescriptor) -> PlainSettings:
    kinds: dict[type, type] = {
        SeE2AConfig: DescriptorSettings,
        SeE2RConfig: SeE2RSettings,
    }
    cls = kinds.get(type(part), SeAttenSettings)
    names = {f.name for f in fields(cls)} & {f.name for f in fields(part)}
    found: PlainSettings = cls(**{name: getattr(part, name) for name in names})
    return found


def _with_names(model: DeepPotential, init: Init, config: TrainConfig) -> DeepPotential:
    """Give the numbers of a frame the names of facts, where a file has none."""
    fitting: EnergyFittingConfig = model.config.fitting
    if not fitting.numb_fparam or fitting.fparam:
        return model
    names = config.model.fitting.fparam
    if len(names) != fitting.numb_fparam:
        raise ModelError(
            f"{init.path}: takes {fitting.numb_fparam} numbers of each frame and does "
            "not say which; expected as many facts in model.fitting.fparam of the "
            f"configuration, found {list(names)}. Name them, in order."
        )
    named = replace(model.config, fitting=replace(fitting, fparam=names))
    return DeepPotential(named, model.parameters, model.statistics)


def _changed(plain: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the defaults; of another kind of part, all of it."""
    found: dict[str, Any] = {}
    for name, value in chosen.items():
        usual: Any = plain.get(name)
        if value == usual:
            continue
        found[name] = value
        are_parts = isinstance(value, Mapping) and isinstance(usual, Mapping)
        if are_parts and value.get("type") == usual.get("type"):
            found[name] = _changed(usual, value)
    return found


def _check(stated: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError on what is stated otherwise than the model has it."""
    for name, value in stated.items():
        known = own.get(name)
        inner = where.replace("{}", f"{name}.{{}}", 1)
        if name in _FREE or (isinstance(value, str) and value.startswith("auto")):
            continue
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            _check(value, known, inner)
        elif name == "list" and known is not None and len(value) == len(known):
            for index, (one, other) in enumerate(zip(value, known, strict=True)):
                _check(one, other, inner.replace("{}", f"{index}.{{}}", 1))
        elif _plain(value) != _plain(known):
            option, file = where.replace("{}", name, 1).split(" of ", 1)
            raise ConfigError(
                f"{option} = {value!r} is stated, and {file} has {known!r}; expected "
                "the same, because a model keeps its shape. Leave the option out."
            )


def _plain(value: Any) -> Any:
    """Return a value in one form: no tuples, lone numbers as lists, one name each."""
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items[0] if len(items) == 1 else items
    return _SAME.get(value, value) if isinstance(value, str) else value


def _check_table(stated: Mapping[str, Any], model: DeepPotential, path: Path) -> None:
    """Raise ConfigError where a pair table is stated that is not the model's."""
    file = (stated.get("pair_table") or {}).get("file")
    own = model.statistics.pair_table
    if file is None or own is None:
        return
    config = model.config
    found = read_table(Path(file), ntypes=config.ntypes, rcut=config.descriptor.rcut)
    if not np.array_equal(found, own):
        raise ConfigError(
            f"model.pair_table.file = {file!r} is stated, and {path} has another "
            "table; expected the same. Leave it out."
        )


def _check_elements(
    known: tuple[str, ...], stated: Any, version: DatasetVersion, path: Path
) -> None:
    """Raise ModelError if the data hold an element that the model does not know."""
    unknown = [symbol for symbol in version.symbols if symbol not in known]
    if unknown:
        raise ModelError(
            f"{path}: knows {' '.join(known)}, and {version.label} holds "
            f"{' '.join(unknown)} too; expected no other element, because a net for it "
            "would be untrained. Take data without, or train a new model."
        )
    lacking = [symbol for symbol in version.symbols if symbol not in (stated or known)]
    if lacking:
        raise ConfigError(
            f"model.type_map = {list(stated)} is stated, and {version.label} holds "
            f"{' '.join(lacking)} too; expected all elements. Leave it out."
        )


def _told(init: Init) -> dict[str, Any]:
    """Return what the record says of the model that a run starts from."""
    kept = ("run_id", "dataset", "split", "training_frames", "converted_from", "init")
    known = {k: init.provenance[k] for k in kept if k in init.provenance}
    return {
        "file": str(init.path),
        **init.origin,
        "model_digest": model_digest(init.model),
        "provenance": known,
    }
