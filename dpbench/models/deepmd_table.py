"""The mix with a tabulated pair potential in DeePMD-kit's portable file.

There a ``zbl`` model holds two: the net with its descriptor, and the table.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.models.config import ModelConfig, PairTableConfig
from dpbench.models.deepmd_nets import as_array
from dpbench.models.pair_table import spline, types_of

MIX_KEYS = ("sw_rmin", "sw_rmax", "smin_alpha")
"""Options of the mix, under the same name on both sides."""


def mixed_dict(
    net: dict[str, Any],
    config: ModelConfig,
    table: NDArray[np.float64],
    *,
    base: dict[str, Any],
) -> dict[str, Any]:
    """Return the dict of net and table.

    Args:
        net: Dict of the net alone, its energy bias zero.
        config: The model.
        table: (row, 1 + pair), Å and eV.
        base: What every model has, with the energy bias.
    """
    mix = config.pair_table
    slots = max(part.slots for part in config.descriptor.parts)
    tabulated = {
        "@class": "Model",
        "type": "pairtab",
        "@version": 2,
        "tab": _table_dict(table, config.descriptor.rcut),
        "rcut": config.descriptor.rcut,
        "sel": slots,
        **{key: value for key, value in net.items() if key in base},
    }
    return {
        "@class": "Model",
        "type": "zbl",
        "@version": 2,
        "models": [net, tabulated],
        "weights": "mean",
        **{key: getattr(mix, key) for key in MIX_KEYS},
        **base,
    }


def split_mixed(
    model: Mapping[str, Any], where: str
) -> tuple[Mapping[str, Any], PairTableConfig | None, NDArray[np.float64] | None]:
    """Return the net's dict, and the table with its options where there is one.

    Raises:
        ModelError: If it is another mix, or each model has an energy bias of its own.
    """
    if model["type"] == "standard":
        return model, None, None
    kinds = [part.get("type") for part in model.get("models", [])]
    if model["type"] != "zbl" or kinds != ["standard", "pairtab"]:
        raise ModelError(
            f"{where}: model is of type '{model['type']}'; dpbench reads 'standard' "
            "and 'zbl'."
        )
    net, tabulated = model["models"]
    biases = [part["@variables"]["out_bias"] for part in (net, tabulated)]
    biases.append(net["fitting"]["@variables"]["bias_atom_e"])
    if any(as_array(bias).any() for bias in biases):
        raise ModelError(
            f"{where}: net or table have an energy bias of their own, inside the mix; "
            "dpbench adds one bias behind it."
        )
    if tabulated["rcut"] != net_cutoff(net):
        raise ModelError(f"{where}: net and table have different cutoffs.")
    mix = PairTableConfig(**{key: float(model[key]) for key in MIX_KEYS})
    return net, mix, as_array(tabulated["tab"]["@variables"]["vdata"])


def net_cutoff(net: Mapping[str, Any]) -> float:
    """Return the cutoff of a net's descriptor, Å."""
    descriptor = net["descriptor"]
    parts = descriptor["list"] if descriptor["type"] == "hybrid" else [descriptor]
    return max(float(part["rcut"]) for part in parts)


def _table_dict(table: NDArray[np.float64], rcut: float) -> dict[str, Any]:
    start, step = float(table[0, 0]), float(table[1, 0] - table[0, 0])
    ntypes, count = types_of(table), len(table) - 1
    by_pair = spline(table[:, 1:], step)
    first, second = np.triu_indices(ntypes)
    data = np.zeros((ntypes, ntypes, count, 4))
    data[first, second] = data[second, first] = by_pair
    return {
        "@class": "PairTab",
        "@version": 1,
        "rmin": start,
        "rmax": float(table[-1, 0]),
        "hh": step,
        "ntypes": ntypes,
        "rcut": rcut,
        "nspline": count,
        "@variables": {
            "vdata": table,
            "tab_info": np.array([start, step, count, ntypes]),
            "tab_data": data.ravel(),
        },
    }
