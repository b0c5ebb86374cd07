"""Between a model and the nested dict of DeePMD-kit's portable file."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, ModelError
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.parameters import (
    FlatParameters,
    Net,
    embedding_nets,
    fitting_nets,
    parameter_shapes,
)
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics

DESCRIPTOR_KEYS = (
    "rcut",
    "rcut_smth",
    "neuron",
    "axis_neuron",
    "resnet_dt",
    "type_one_side",
    "env_protection",
    "set_davg_zero",
    "activation_function",
)
"""Descriptor options whose name and value are the same on both sides."""

_UNSUPPORTED: dict[str, dict[str, Any]] = {
    "model": {"atom_exclude_types": [], "pair_exclude_types": []},
    "descriptor": {"spin": None},
    "fitting": {
        "numb_fparam": 0,
        "numb_aparam": 0,
        "dim_case_embd": 0,
        "mixed_types": False,
        "exclude_types": [],
        "atom_ener": None,
    },
}
"""Options that must have these values, because dpbench's model has no such part."""


def model_to_dict(
    model: DeepPotential, *, min_distance: float | None = None
) -> dict[str, Any]:
    """Return the nested dict of a model, arrays included."""
    config, descriptor = model.config, model.config.descriptor
    ntypes = config.ntypes
    bias = model.statistics.energy_bias.reshape(1, ntypes, 1)
    plain = _plain_descriptor(descriptor)
    script = {
        "type_map": list(config.type_map),
        "descriptor": {"type": "se_e2_a", "precision": config.precision, **plain},
        "fitting_net": {
            "type": "ener",
            "neuron": list(config.fitting.neuron),
            "resnet_dt": config.fitting.resnet_dt,
            "activation_function": config.fitting.activation_function,
            "precision": config.precision,
        },
    }
    variables = {}
    if min_distance is not None:
        variables["min_nbor_dist"] = np.asarray(min_distance)
    return {
        "software": "dpbench",
        "backend": "dpbench",
        "model": {
            "@class": "Model",
            "type": "standard",
            "@version": 2,
            "type_map": list(config.type_map),
            "atom_exclude_types": [],
            "pair_exclude_types": [],
            "rcond": config.fitting.rcond,
            "preset_out_bias": None,
            "descriptor": _descriptor_dict(model, plain),
            "fitting": _fitting_dict(model),
            "@variables": {"out_bias": bias, "out_std": np.ones_like(bias)},
        },
        "model_def_script": script,
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
        model = data["model"]
        descriptor, fitting = model["descriptor"], model["fitting"]
        _check_supported(model, where)
        config = _config(model)
        bias = _array(model["@variables"]["out_bias"])
        bias = bias.reshape(config.ntypes) + _array(
            fitting["@variables"]["bias_atom_e"]
        ).reshape(config.ntypes)
        statistics = ModelStatistics(
            davg=_per_type(descriptor["@variables"]["davg"], where),
            dstd=_per_type(descriptor["@variables"]["dstd"], where),
            energy_bias=bias,
        )
        arrays = _read_nets(embedding_nets(config), descriptor["embeddings"])
        arrays |= _read_nets(fitting_nets(config), fitting["nets"])
        shapes = parameter_shapes(config)
        flat = np.concatenate([_fitted(arrays, n, s) for n, s in shapes.items()])
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise ModelError(
            f"{where}: is damaged or of an unknown kind: {' '.join(str(error).split())}"
        ) from error
    kind = np.dtype(config.precision)
    parameters = FlatParameters(torch.from_numpy(flat.astype(kind)), shapes)
    return DeepPotential(config, parameters, statistics)


def _plain_descriptor(descriptor: SeE2AConfig) -> dict[str, Any]:
    plain = {key: getattr(descriptor, key) for key in DESCRIPTOR_KEYS}
    plain["neuron"] = list(descriptor.neuron)
    plain["sel"] = list(descriptor.sel)
    plain["exclude_types"] = [list(pair) for pair in descriptor.exclude_types]
    return plain


def _descriptor_dict(model: DeepPotential, plain: dict[str, Any]) -> dict[str, Any]:
    config, descriptor = model.config, model.config.descriptor
    slots = (1, sum(descriptor.sel), 1)
    return {
        "@class": "Descriptor",
        "type": "se_e2_a",
        "@version": 2,
        **plain,
        "trainable": True,
        "precision": config.precision,
        "spin": None,
        "env_mat": {
            "rcut": descriptor.rcut,
            "rcut_smth": descriptor.rcut_smth,
            "protection": descriptor.env_protection,
            "use_exp_switch": False,
        },
        "embeddings": {
            "@class": "NetworkCollection",
            "@version": 1,
            "ndim": 1 if descriptor.type_one_side else 2,
            "ntypes": config.ntypes,
            "network_type": "embedding_network",
            "networks": [_net_dict(net, model) for net in embedding_nets(config)],
        },
        "@variables": {
            "davg": np.tile(model.statistics.davg[:, np.newaxis], slots),
            "dstd": np.tile(model.statistics.dstd[:, np.newaxis], slots),
        },
        "type_map": list(config.type_map),
    }


def _fitting_dict(model: DeepPotential) -> dict[str, Any]:
    config, fitting = model.config, model.config.fitting
    empty = dict.fromkeys(
        ("fparam_avg", "fparam_inv_std", "aparam_avg", "aparam_inv_std")
    )
    return {
        "@class": "Fitting",
        "type": "ener",
        "@version": 2,
        "var_name": "energy",
        "ntypes": config.ntypes,
        "dim_descrpt": config.descriptor.dim_descriptor,
        "neuron": list(fitting.neuron),
        "resnet_dt": fitting.resnet_dt,
        "numb_fparam": 0,
        "numb_aparam": 0,
        "rcond": fitting.rcond,
        "activation_function": fitting.activation_function,
        "precision": config.precision,
        "mixed_types": False,
        "exclude_types": [],
        "nets": {
            "@class": "NetworkCollection",
            "@version": 1,
            "ndim": 1,
            "ntypes": config.ntypes,
            "network_type": "fitting_network",
            "networks": [_net_dict(net, model) for net in fitting_nets(config)],
        },
        # The energy bias stands in out_bias; DeePMD-kit adds both.
        "@variables": {"bias_atom_e": np.zeros((config.ntypes, 1)), **empty},
        "type_map": list(config.type_map),
        "tot_ener_zero": False,
        "trainable": [True] * (len(fitting.neuron) + 1),
        "layer_name": None,
        "use_aparam_as_mask": False,
        "spin": None,
        "dim_out": 1,
        "atom_ener": None,
    }


def _net_dict(net: Net, model: DeepPotential) -> dict[str, Any]:
    config = model.config
    is_fitting = net.has_linear_output
    part = config.fitting if is_fitting else config.descriptor
    layers = net.layers(model.parameters.views)
    last = len(layers) - 1
    dicts = []
    for index, layer in enumerate(layers):
        is_output = is_fitting and index == last
        arrays = {
            key: None if view is None else view.detach().cpu().numpy()
            for key, view in zip(("w", "b", "idt"), layer, strict=True)
        }
        dicts.append(
            {
                "@class": "Layer",
                "@version": 1,
                "bias": True,
                "use_timestep": layer.idt is not None,
                "activation_function": "none"
                if is_output
                else part.activation_function,
                "resnet": not is_output,
                "precision": config.precision,
                "@variables": arrays,
            }
        )
    net_dict: dict[str, Any] = {
        "@class": "FittingNetwork" if is_fitting else "EmbeddingNetwork",
        "@version": 1 if is_fitting else 2,
        "in_dim": net.widths[0],
        "neuron": list(part.neuron),
        "activation_function": part.activation_function,
        "resnet_dt": net.resnet_dt,
        "precision": config.precision,
        "layers": dicts,
    }
    return net_dict | (
        {"out_dim": 1, "bias_out": True} if is_fitting else {"bias": True}
    )


def _check_supported(model: Mapping[str, Any], where: str) -> None:
    """Raise ModelError on any option that dpbench's model does not have."""
    kinds = (("descriptor", "se_e2_a", "se_a"), ("fitting", "ener", "ener"))
    for part, *names in kinds:
        if model[part]["type"] not in names:
            raise ModelError(
                f"{where}: {part} is of type '{model[part]['type']}'; dpbench reads "
                f"'{names[0]}'."
            )
    if "compress" in model["descriptor"]:
        raise ModelError(
            f"{where}: is compressed; give the model before `dp compress`."
        )
    parts = {"model": model, "descriptor": model["descriptor"]}
    parts["fitting"] = model["fitting"]
    for part, options in _UNSUPPORTED.items():
        for key, plain in options.items():
            if (parts[part].get(key, plain) or plain) != plain:
                raise ModelError(
                    f"{where}: {part} has {key} = {parts[part][key]}, which dpbench "
                    "does not support."
                )


def _config(model: Mapping[str, Any]) -> ModelConfig:
    descriptor, fitting = model["descriptor"], model["fitting"]
    options = {key: descriptor[key] for key in DESCRIPTOR_KEYS}
    options |= {key: descriptor[key] for key in ("sel", "exclude_types")}
    keys = ("neuron", "resnet_dt", "activation_function", "rcond")
    precision: Literal["float64", "float32"] = descriptor["precision"]
    if fitting["precision"] != precision:
        raise ConfigError("descriptor and fitting differ in precision")
    return ModelConfig(
        type_map=tuple(model["type_map"]),
        descriptor=from_mapping(SeE2AConfig, options, where="descriptor"),
        fitting=from_mapping(
            EnergyFittingConfig,
            {key: fitting.get(key) for key in keys},
            where="fitting",
        ),
        precision=precision,
    )


def _per_type(array: Any, where: str) -> NDArray[np.float64]:
    """Return (type, 4) of statistics that DeePMD-kit repeats for every slot."""
    slots = _array(array)
    if (slots != slots[:, :1]).any():
        raise ModelError(
            f"{where}: davg or dstd differ between the slots of a type; dpbench keeps "
            "one value per type."
        )
    return slots[:, 0].copy()


def _read_nets(nets: list[Net], collection: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arrays of a collection by dpbench's parameter names."""
    found = {}
    for net, stored in zip(nets, collection["networks"], strict=True):
        for index, layer in enumerate(stored["layers"]):
            for key, value in layer["@variables"].items():
                if value is not None:
                    found[f"{net.name}.{index}.{key}"] = _array(value)
    return found


def _fitted(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    array = arrays[name]
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return array.ravel()


def _array(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64)
