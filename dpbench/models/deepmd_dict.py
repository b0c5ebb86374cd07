"""Between a model and the nested dict of DeePMD-kit's portable file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, ModelError
from dpbench.models.config import (
    EnergyFittingConfig,
    ModelConfig,
    PairTableConfig,
    config_mapping,
    part_configs,
)
from dpbench.models.deepmd_descriptor import (
    descriptor_arrays,
    descriptor_dict,
    precision_of,
    read_descriptor,
    script_of,
)
from dpbench.models.deepmd_nets import (
    as_array,
    collection_dict,
    net_dict,
    plain_precision,
    read_nets,
)
from dpbench.models.deepmd_table import MIX_KEYS, mixed_dict, split_mixed
from dpbench.models.parameters import (
    FlatParameters,
    fitting_nets,
    parameter_shapes,
    part_views,
)
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics

FITTING_KEYS = ("neuron", "resnet_dt", "activation_function", "rcond")
"""Options of the fitting net whose name and value are the same on both sides."""

_UNSUPPORTED: dict[str, dict[str, Any]] = {
    "model": {"atom_exclude_types": [], "pair_exclude_types": []},
    "fitting": {
        "dim_case_embd": 0,
        "exclude_types": [],
        "atom_ener": None,
        "use_aparam_as_mask": False,
    },
}
"""Options that must have these values, because dpbench's model has no such part."""


def model_to_dict(
    model: DeepPotential, *, min_distance: float | None = None
) -> dict[str, Any]:
    """Return the nested dict of a model, arrays included."""
    config = model.config
    bias = model.statistics.energy_bias.reshape(1, config.ntypes, 1)
    plain = {
        "@class": "Model",
        "type": "standard",
        "@version": 2,
        "descriptor": _descriptor(model),
        "fitting": _fitting_dict(model),
        **base_dict(config, bias),
    }
    if config.pair_table is not None and model.statistics.pair_table is not None:
        plain = mixed_dict(
            plain | base_dict(config, np.zeros_like(bias)),
            config,
            model.statistics.pair_table,
            base=base_dict(config, bias),
        )
    variables = {}
    if min_distance is not None:
        variables["min_nbor_dist"] = np.asarray(min_distance)
    return {
        "software": "dpbench",
        "backend": "dpbench",
        "model": plain,
        "model_def_script": _script(config),
        "@variables": variables,
    }


def model_from_dict(data: Mapping[str, Any], *, where: str) -> DeepPotential:
    """Build a model from the nested dict.

    Args:
        data: As read from a ``.dp`` file.
        where: The file, for messages.

    Raises:
        ModelError: If the dict lacks a part or holds a kind of model that dpbench does
            not have; nothing is ignored.
    """
    try:
        whole = data["model"]
        model, pair_table, table = split_mixed(whole, where)
        _check_supported(whole, model, where)
        config = _config(model, pair_table, where)
        bias = as_array(whole["@variables"]["out_bias"]).reshape(config.ntypes)
        own = as_array(model["fitting"]["@variables"]["bias_atom_e"])
        statistics, arrays = _descriptor_state(config, model["descriptor"], where)
        statistics |= _number_scales(config, model["fitting"]["@variables"])
        arrays |= read_nets(fitting_nets(config), model["fitting"]["nets"]["networks"])
        shapes = parameter_shapes(config)
        flat = np.concatenate([_fitted(arrays, n, s) for n, s in shapes.items()])
        kind = np.dtype(config.precision)
        parameters = FlatParameters(torch.from_numpy(flat.astype(kind)), shapes)
        found = ModelStatistics(
            energy_bias=bias + own.reshape(config.ntypes),
            pair_table=table,
            **statistics,
        )
        return DeepPotential(config, parameters, found)
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise ModelError(
            f"{where}: is damaged or of an unknown kind: {' '.join(str(error).split())}"
        ) from error


def base_dict(config: ModelConfig, bias: NDArray[np.float64]) -> dict[str, Any]:
    """Return what every (part of a) model has."""
    return {
        "type_map": list(config.type_map),
        "atom_exclude_types": [],
        "pair_exclude_types": [],
        "rcond": config.fitting.rcond,
        "preset_out_bias": None,
        "@variables": {"out_bias": bias, "out_std": np.ones_like(bias)},
    }


def _script(config: ModelConfig) -> dict[str, Any]:
    """Return the section ``model`` of an input.json."""
    fitting = config.fitting
    script: dict[str, Any] = {
        "type_map": list(config.type_map),
        "descriptor": script_of(config.descriptor, config.precision),
        "fitting_net": {
            "type": "ener",
            "neuron": list(fitting.neuron),
            "resnet_dt": fitting.resnet_dt,
            "activation_function": fitting.activation_function,
            "precision": config.precision,
        },
    }
    if fitting.numb_fparam:
        script["fitting_net"]["numb_fparam"] = fitting.numb_fparam
        if fitting.default_fparam is not None:
            script["fitting_net"]["default_fparam"] = list(fitting.default_fparam)
    if fitting.numb_aparam:
        script["fitting_net"]["numb_aparam"] = fitting.numb_aparam
    if config.pair_table is not None:
        plain = config_mapping(config)["pair_table"]
        script |= {key: plain[key] for key in MIX_KEYS}
    return script


def _descriptor(model: DeepPotential) -> dict[str, Any]:
    config, statistics = model.config, model.statistics
    shape = (-1, config.ntypes, 4)
    davg, dstd = statistics.davg.reshape(shape), statistics.dstd.reshape(shape)
    dicts = [
        descriptor_dict(
            part,
            part_views(model.parameters.views, prefix),
            davg=davg[index],
            dstd=dstd[index],
        )
        for index, (prefix, part) in enumerate(part_configs(config))
    ]
    if config.descriptor.type == "hybrid":
        return {"@class": "Descriptor", "type": "hybrid", "@version": 1, "list": dicts}
    return dicts[0]


def _fitting_dict(model: DeepPotential) -> dict[str, Any]:
    config, fitting = model.config, model.config.fitting
    is_mixed = config.descriptor.mixed_types
    nets = [
        net_dict(
            net,
            model.parameters.views,
            activation=fitting.activation_function,
            precision=config.precision,
        )
        for net in fitting_nets(config)
    ]
    # The energy bias stands in out_bias; DeePMD-kit adds both.
    variables = {"bias_atom_e": np.zeros((config.ntypes, 1))}
    found: dict[str, Any] = {
        "@class": "Fitting",
        "type": "ener",
        "@version": 2,
        "var_name": "energy",
        "ntypes": config.ntypes,
        "dim_descrpt": config.descriptor.dim_descriptor,
        "neuron": list(fitting.neuron),
        "resnet_dt": fitting.resnet_dt,
        "numb_fparam": fitting.numb_fparam,
        "numb_aparam": fitting.numb_aparam,
        "rcond": fitting.rcond,
        "activation_function": fitting.activation_function,
        "precision": config.precision,
        "mixed_types": is_mixed,
        "exclude_types": [],
        "nets": collection_dict(
            nets, ndim=0 if is_mixed else 1, ntypes=config.ntypes, kind="fitting"
        ),
        "@variables": variables | _number_variables(model.statistics),
        "type_map": list(config.type_map),
        "tot_ener_zero": False,
        "trainable": [True] * (len(fitting.neuron) + 1),
        "layer_name": None,
        "use_aparam_as_mask": False,
        "spin": None,
        "dim_out": 1,
        "atom_ener": None,
    }
    if fitting.default_fparam is None:
        return found
    # Only the newest flavour knows a default; it is read from 3.1.3 on.
    found |= {"@version": 4, "dim_case_embd": 0}
    found["default_fparam"] = list(fitting.default_fparam)
    found["@variables"]["case_embd"] = None
    return found


def _number_variables(statistics: ModelStatistics) -> dict[str, Any]:
    """Return mean and inverse deviation of the numbers of frames and atoms."""
    found: dict[str, Any] = {}
    for name in ("fparam", "aparam"):
        scale = getattr(statistics, name)
        found[f"{name}_avg"] = None if scale is None else scale[0]
        found[f"{name}_inv_std"] = None if scale is None else 1 / scale[1]
    return found


def _number_scales(
    config: ModelConfig, variables: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Return mean and deviation of the numbers of frames and atoms."""
    found = {}
    counts = {
        "fparam": config.fitting.numb_fparam,
        "aparam": config.fitting.numb_aparam,
    }
    for name, count in counts.items():
        if count:
            mean = as_array(variables[f"{name}_avg"]).reshape(count)
            inverse = as_array(variables[f"{name}_inv_std"]).reshape(count)
            found[name] = np.stack([mean, 1 / inverse])
    return found


def _descriptor_state(
    config: ModelConfig, data: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Return davg and dstd, and the parameters by name."""
    parts = data["list"] if data["type"] == "hybrid" else [data]
    arrays: dict[str, NDArray[np.float64]] = {}
    davg, dstd = [], []
    for (prefix, part), stored in zip(part_configs(config), parts, strict=True):
        own, mean, deviation = descriptor_arrays(part, stored, where)
        arrays |= {prefix + name: array for name, array in own.items()}
        davg.append(mean)
        dstd.append(deviation)
    if data["type"] == "hybrid":
        return {"davg": np.stack(davg), "dstd": np.stack(dstd)}, arrays
    return {"davg": davg[0], "dstd": dstd[0]}, arrays


def _check_supported(
    whole: Mapping[str, Any], model: Mapping[str, Any], where: str
) -> None:
    """Raise ModelError on any option that dpbench's model does not have."""
    if model["fitting"]["type"] != "ener":
        raise ModelError(
            f"{where}: fitting is of type '{model['fitting']['type']}'; dpbench reads "
            "'ener'."
        )
    parts = (("model", whole), ("model", model), ("fitting", model["fitting"]))
    for part, options in parts:
        for key, plain in _UNSUPPORTED[part].items():
            if (options.get(key, plain) or plain) != plain:
                raise ModelError(
                    f"{where}: {part} has {key} = {options[key]}, which dpbench "
                    "does not support."
                )


def _config(
    model: Mapping[str, Any], pair_table: PairTableConfig | None, where: str
) -> ModelConfig:
    descriptor, fitting = model["descriptor"], model["fitting"]
    found = read_descriptor(descriptor, where)
    precision: Any = precision_of(descriptor)
    if plain_precision(fitting["precision"], fitting["nets"]["networks"]) != precision:
        raise ConfigError("descriptor and fitting differ in precision")
    if bool(fitting.get("mixed_types", False)) != found.mixed_types:
        raise ConfigError("the fitting nets are not those of the descriptor")
    options = {key: fitting.get(key) for key in FITTING_KEYS}
    options |= {key: fitting.get(key, 0) for key in ("numb_fparam", "numb_aparam")}
    if options["numb_fparam"]:
        options["default_fparam"] = fitting.get("default_fparam")
    return ModelConfig(
        type_map=tuple(model["type_map"]),
        descriptor=found,
        fitting=from_mapping(EnergyFittingConfig, options, where="fitting"),
        precision=precision,
        pair_table=pair_table,
    )


def _fitted(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    array = arrays[name]
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return array.ravel()
