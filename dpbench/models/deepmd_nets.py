"""Nets in the nested dict of DeePMD-kit's portable file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dpbench.models.parameters import Net


def net_dict(
    net: Net, views: Mapping[str, Tensor], *, activation: str, precision: str
) -> dict[str, Any]:
    """Return the dict of one net.

    Args:
        net: Its name and shape.
        views: Parameters by name.
        activation: Name of the hidden layers' activation function.
        precision: ``float64`` or ``float32``.
    """
    is_fitting = net.has_linear_output
    count = len(net.widths) - 1
    layers = [
        _layer_dict(
            {k: views.get(f"{net.name}.{index}.{k}") for k in ("w", "b", "idt")},
            activation="none" if is_fitting and index == count - 1 else activation,
            has_shortcut=not (is_fitting and index == count - 1),
            precision=precision,
        )
        for index in range(count)
    ]
    plain = {
        "@class": "FittingNetwork" if is_fitting else "EmbeddingNetwork",
        "@version": 1 if is_fitting else 2,
        "in_dim": net.widths[0],
        "neuron": list(net.widths[1:-1] if is_fitting else net.widths[1:]),
        "activation_function": activation,
        "resnet_dt": net.resnet_dt,
        "precision": precision,
        "layers": layers,
    }
    if is_fitting:
        return plain | {"out_dim": 1, "bias_out": True}
    return plain | {"bias": net.has_bias}


def collection_dict(
    networks: list[dict[str, Any]], *, ndim: int, ntypes: int, kind: str
) -> dict[str, Any]:
    """Return the dict of nets that are told apart by ``ndim`` types."""
    return {
        "@class": "NetworkCollection",
        "@version": 1,
        "ndim": ndim,
        "ntypes": ntypes,
        "network_type": f"{kind}_network",
        "networks": networks,
    }


def read_nets(
    nets: Sequence[Net], networks: Sequence[Mapping[str, Any]]
) -> dict[str, NDArray[np.float64]]:
    """Return all arrays of some nets by dpbench's parameter names.

    Raises:
        ValueError: If there are more or fewer nets than expected.
    """
    found = {}
    for net, stored in zip(nets, networks, strict=True):
        for index, layer in enumerate(stored["layers"]):
            for key, value in layer["@variables"].items():
                if value is not None:
                    found[f"{net.name}.{index}.{key}"] = as_array(value)
    return found


def plain_precision(name: str, networks: Sequence[Mapping[str, Any]]) -> str:
    """Return a precision by its plain name.

    Args:
        name: As DeePMD-kit has it; ``default`` is what it was built or set for.
        networks: Nets of that precision, whose arrays tell the default.
    """
    if name in ("default", "global"):
        name = str(np.asarray(networks[0]["layers"][0]["@variables"]["w"]).dtype)
    return {"double": "float64", "single": "float32"}.get(name, name)


def as_array(value: Any) -> NDArray[np.float64]:
    """Return an array of the file in float64.

    Raises:
        ValueError: If it holds what is no finite number.
    """
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("an array holds what is no finite number")
    return array


def _layer_dict(
    views: Mapping[str, Tensor | None],
    *,
    activation: str,
    has_shortcut: bool,
    precision: str,
) -> dict[str, Any]:
    arrays = {
        key: None if view is None else view.detach().cpu().numpy()
        for key, view in views.items()
    }
    return {
        "@class": "Layer",
        "@version": 1,
        "bias": arrays["b"] is not None,
        "use_timestep": arrays["idt"] is not None,
        "activation_function": activation,
        "resnet": has_shortcut,
        "precision": precision,
        "@variables": arrays,
    }
