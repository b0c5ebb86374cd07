"""Descriptors in the nested dict of DeePMD-kit's portable file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, ModelError
from dpbench.models.config import (
    DescriptorConfig,
    HybridConfig,
    ModelConfig,
    PlainDescriptor,
    SeAttenConfig,
    SeE2AConfig,
    SeE2RConfig,
)
from dpbench.models.deepmd_nets import (
    as_array,
    collection_dict,
    net_dict,
    plain_precision,
    read_nets,
)
from dpbench.models.parameters import embedding_nets, type_nets

SHARED_KEYS = (
    "rcut",
    "rcut_smth",
    "sel",
    "neuron",
    "resnet_dt",
    "type_one_side",
    "exclude_types",
    "env_protection",
    "set_davg_zero",
    "activation_function",
)
"""Options that all kinds have, under the same name and with the same value."""

_OWN_KEYS: dict[type, tuple[str, ...]] = {
    SeE2AConfig: ("axis_neuron",),
    SeE2RConfig: (),
    SeAttenConfig: (
        "axis_neuron",
        "tebd_dim",
        "smooth_type_embedding",
        "concat_output_tebd",
        "use_tebd_bias",
    ),
}

_KINDS: dict[str, tuple[str, type]] = {
    "se_e2_a": ("se_e2_a", SeE2AConfig),
    "se_a": ("se_e2_a", SeE2AConfig),
    "se_e2_r": ("se_e2_r", SeE2RConfig),
    "se_r": ("se_e2_r", SeE2RConfig),
    "dpa1": ("dpa1", SeAttenConfig),
    "se_atten": ("se_atten", SeAttenConfig),
    "se_atten_v2": ("se_atten_v2", SeAttenConfig),
}
"""DeePMD-kit's names of descriptors: our name, and our class."""

_ONLY: dict[str, Any] = {
    "spin": None,
    "attn_layer": 0,
    "attn_mask": False,
    "tebd_input_mode": "strip",
    "use_econf_tebd": False,
    "lmax": 1,
}
"""Options that must have these values, because dpbench's model has no such part."""

_ATTENTION: dict[str, Any] = {
    "dotr": True,
    "do_mask": False,
    "scaling_factor": 1.0,
    "normalize": True,
    "temperature": None,
    "trainable_ln": True,
    "ln_eps": 1e-5,
}
"""Options of the attention that is not there; DeePMD-kit's defaults."""

_HIDDEN = 128
"""Length of hidden vectors of the attention that is not there."""


def script_of(descriptor: DescriptorConfig, precision: str) -> dict[str, Any]:
    """Return a descriptor as the ``model_def_script`` has it."""
    if isinstance(descriptor, HybridConfig):
        parts = [script_of(part, precision) for part in descriptor.list]
        return {"type": "hybrid", "list": parts}
    plain = {"type": descriptor.type, "precision": precision} | _plain(descriptor)
    if isinstance(descriptor, SeAttenConfig):
        plain |= {"attn_layer": 0}
        if descriptor.type == "se_atten_v2":
            del plain["smooth_type_embedding"]
        else:
            plain |= {"tebd_input_mode": "strip"}
    return plain


def descriptor_dict(
    config: ModelConfig,
    views: Mapping[str, Tensor],
    *,
    davg: NDArray[np.float64],
    dstd: NDArray[np.float64],
) -> dict[str, Any]:
    """Return the dict of a descriptor of one part.

    Args:
        config: The model with this part alone.
        views: The part's parameters by their plain names.
        davg: (type, 4).
        dstd: (type, 4).
    """
    (descriptor,) = config.descriptor.parts
    columns = 1 if isinstance(descriptor, SeE2RConfig) else 4
    slots = (1, descriptor.slots, 1)
    options = {
        "activation": descriptor.activation_function,
        "precision": config.precision,
    }
    nets = [net_dict(net, views, **options) for net in embedding_nets(config)]
    name: str
    if isinstance(descriptor, SeAttenConfig):
        ndim, name = 0, descriptor.type
    else:
        ndim = 1 if descriptor.type_one_side else 2
        name = "se_r" if columns == 1 else "se_e2_a"
    plain = {
        "@class": "Descriptor",
        "type": name,
        "@version": 2,
        **_plain(descriptor),
        "trainable": True,
        "precision": config.precision,
        "spin": None,
        "env_mat": {
            "rcut": descriptor.rcut,
            "rcut_smth": descriptor.rcut_smth,
            "protection": descriptor.env_protection,
            "use_exp_switch": False,
        },
        "embeddings": collection_dict(
            nets, ndim=ndim, ntypes=config.ntypes, kind="embedding"
        ),
        "@variables": {
            "davg": np.tile(davg[:, np.newaxis, :columns], slots),
            "dstd": np.tile(dstd[:, np.newaxis, :columns], slots),
        },
        "type_map": list(config.type_map),
    }
    if isinstance(descriptor, SeAttenConfig):
        plain |= _strip_dict(config, descriptor, views)
        if descriptor.type == "se_atten_v2":
            del plain["smooth_type_embedding"], plain["tebd_input_mode"]
    return plain


def read_descriptor(data: Mapping[str, Any], where: str) -> DescriptorConfig:
    """Return the configuration of a descriptor.

    Raises:
        ModelError: If dpbench does not have its kind, or one of its options.
        ConfigError: If its options do not fit each other.
    """
    if data["type"] == "hybrid":
        parts = tuple(_read_plain(part, where) for part in data["list"])
        return HybridConfig(list=parts)
    return _read_plain(data, where)


def descriptor_arrays(
    config: ModelConfig, data: Mapping[str, Any], where: str
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
    """Return parameters by plain name, davg and dstd of a descriptor of one part."""
    (descriptor,) = config.descriptor.parts
    arrays = read_nets(embedding_nets(config), data["embeddings"]["networks"])
    if isinstance(descriptor, SeAttenConfig):
        types, strip = type_nets(descriptor, config.ntypes)
        arrays |= read_nets([types], [data["type_embedding"]["embedding"]])
        arrays |= read_nets([strip], data["embeddings_strip"]["networks"])
    variables = data["@variables"]
    davg, dstd = (_per_type(variables[name], where) for name in ("davg", "dstd"))
    if davg.shape[1] == 1:
        davg = np.pad(davg, ((0, 0), (0, 3)))
        dstd = np.pad(dstd, ((0, 0), (0, 3)), constant_values=1)
    return arrays, davg, dstd


def precision_of(data: Mapping[str, Any]) -> str:
    """Return the one precision of a descriptor.

    Raises:
        ConfigError: If its parts differ.
    """
    parts = data["list"] if data["type"] == "hybrid" else [data]
    found = {
        plain_precision(part["precision"], part["embeddings"]["networks"])
        for part in parts
    }
    if len(found) != 1:
        raise ConfigError(f"descriptors differ in precision: {sorted(found)}")
    (precision,) = found
    return str(precision)


def _plain(descriptor: PlainDescriptor) -> dict[str, Any]:
    """Return the options that have the same name and value on both sides."""
    keys = (*SHARED_KEYS, *_OWN_KEYS[type(descriptor)])
    plain = {key: getattr(descriptor, key) for key in keys}
    plain["exclude_types"] = [list(pair) for pair in descriptor.exclude_types]
    return plain | {"neuron": list(descriptor.neuron), "sel": list(descriptor.sel)}


def _strip_dict(
    config: ModelConfig, descriptor: SeAttenConfig, views: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return what DPA-1 has beside the other kinds."""
    types, strip = type_nets(descriptor, config.ntypes)
    precision, ntypes = config.precision, config.ntypes
    net = net_dict(
        strip, views, activation=descriptor.activation_function, precision=precision
    )
    attention = {
        "@class": "NeighborGatedAttention",
        "@version": 1,
        "layer_num": 0,
        "nnei": descriptor.slots,
        "embed_dim": descriptor.neuron[-1],
        "hidden_dim": _HIDDEN,
        **_ATTENTION,
        "precision": precision,
        "attention_layers": [],
    }
    embedding = {
        "@class": "TypeEmbedNet",
        "@version": 2,
        "ntypes": ntypes,
        "neuron": [descriptor.tebd_dim],
        "resnet_dt": False,
        "precision": precision,
        "activation_function": "Linear",
        "trainable": True,
        "padding": True,
        "use_econf_tebd": False,
        "use_tebd_bias": descriptor.use_tebd_bias,
        "type_map": list(config.type_map),
        "embedding": net_dict(types, views, activation="Linear", precision=precision),
    }
    return {
        "ntypes": ntypes,
        "tebd_input_mode": "strip",
        "attn": _HIDDEN,
        "attn_layer": 0,
        "attn_dotr": True,
        "attn_mask": False,
        **{k: v for k, v in _ATTENTION.items() if k not in ("dotr", "do_mask")},
        "use_econf_tebd": False,
        "attention_layers": attention,
        "type_embedding": embedding,
        "embeddings_strip": collection_dict(
            [net], ndim=0, ntypes=ntypes, kind="embedding"
        ),
    }


def _read_plain(data: Mapping[str, Any], where: str) -> PlainDescriptor:
    name, cls = _KINDS.get(data["type"], ("", None))
    if cls is None:
        raise ModelError(
            f"{where}: descriptor is of type '{data['type']}'; dpbench reads "
            f"{', '.join(repr(kind) for kind in (*_KINDS, 'hybrid'))}."
        )
    if "compress" in data:
        raise ModelError(
            f"{where}: is compressed; give the model before `dp compress`."
        )
    for key, plain in _ONLY.items():
        if data.get(key, plain) != plain:
            raise ModelError(
                f"{where}: descriptor has {key} = {data[key]!r}, which dpbench does "
                "not support."
            )
    keys = (*SHARED_KEYS, *_OWN_KEYS[cls])
    options = {key: data[key] for key in keys if key in data}
    # A file of version 1 says nothing of this bias, and has it.
    if "use_tebd_bias" in keys and "use_tebd_bias" not in data:
        options["use_tebd_bias"] = True
    found: PlainDescriptor = from_mapping(
        cls, {"type": name, **options}, where="descriptor"
    )
    return found


def _per_type(array: Any, where: str) -> NDArray[np.float64]:
    """Return (type, column) of statistics that DeePMD-kit repeats for every slot."""
    slots = as_array(array)
    if (slots != slots[:, :1]).any():
        raise ModelError(
            f"{where}: davg or dstd differ between the slots of a type; dpbench keeps "
            "one value per type."
        )
    return slots[:, 0].copy()
