"""The section ``model`` of DeePMD-kit's input.json, with DeePMD-kit's defaults."""

from collections.abc import Mapping
from typing import Any

from dpbench.errors import ConfigError
from dpbench.train import input_json_keys as keys
from dpbench.train.input_json_reader import Reader

_PRECISIONS = {"default": "float64", "float64": "float64", "double": "float64"}
_PRECISIONS |= {"float32": "float32", "single": "float32", "float": "float32"}


def read_model(reader: Reader, data: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Translate the model, and find the one precision of its nets.

    Raises:
        ConfigError: On an option that does not exist, is missing or not supported.
    """
    model = reader.values(data, keys.MODEL, "model")
    tables = reader.tables(data, keys.MODEL, "model")
    for name in ("descriptor", "fitting_net"):
        if name not in tables:
            raise ConfigError(f"{reader.where}: model: missing key '{name}'. Add it.")
    descriptor, precisions = _descriptor(
        reader, tables["descriptor"], "model.descriptor"
    )
    fitting = reader.values(tables["fitting_net"], keys.FITTING, "model.fitting_net")
    precisions.add(_PRECISIONS.get(str(fitting.pop("precision"))))
    precision, *others = sorted(map(str, precisions))
    if others or precision == "None":
        raise ConfigError(
            f"{reader.where}: model: precision of descriptor and fitting_net is "
            f"{' and '.join([precision, *others])}; dpbench supports float64 or "
            "float32 for all."
        )
    model = _with_table(reader, model)
    return model | {"descriptor": descriptor, "fitting": fitting}, precision


def _descriptor(
    reader: Reader, data: Mapping[str, Any], section: str
) -> tuple[dict[str, Any], set[str | None]]:
    """Translate a descriptor of any kind, and gather its precisions."""
    where = f"{reader.where}: {section}"
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a table of keys, found {data!r}.")
    if "type" not in data:
        raise ConfigError(f"{where}: missing key 'type'.")
    kind = data["type"]
    if kind == "hybrid":
        reader.tables(data, keys.HYBRID, section)
        listed = data.get("list")
        if not isinstance(listed, list):
            raise ConfigError(f"{where}: list = {listed!r}; expected descriptors.")
        parts = [
            _descriptor(reader, part, f"{section}.list[{index}]")
            for index, part in enumerate(listed)
        ]
        found = set().union(*(precisions for _, precisions in parts))
        return {"type": "hybrid", "list": [part for part, _ in parts]}, found
    if kind not in keys.DESCRIPTORS:
        known = ", ".join(repr(name) for name in (*keys.DESCRIPTORS, "hybrid"))
        raise ConfigError(
            f"{where}: type = {kind!r} is a descriptor that dpbench does not support; "
            f"supported: {known}."
        )
    name, table = keys.DESCRIPTORS[kind]
    options = dict(keys.ATTENTION_DEFAULTS.get(kind, {})) | _without_old(data)
    values = reader.values(options, table, section)
    precision = _PRECISIONS.get(str(values.pop("precision")))
    return {"type": name} | values, {precision}


def _without_old(data: Mapping[str, Any]) -> dict[str, Any]:
    """Say ``tebd_input_mode`` where the older ``stripped_type_embedding`` stands."""
    options = dict(data)
    stripped = options.pop("stripped_type_embedding", None)
    if stripped is None:
        return options
    if options["type"] == "se_atten_v2":  # which is always stripped
        return options
    return options | {"tebd_input_mode": "strip" if stripped else "concat"}


def _with_table(reader: Reader, model: dict[str, Any]) -> dict[str, Any]:
    """Gather the options of the pair table in a table of their own."""
    given = {name: model.pop(name) for name in keys.TABLE_KEYS if name in model}
    if not given:
        return model
    file = given.pop("use_srtab", None)
    if file is None:
        raise ConfigError(
            f"{reader.where}: model: {', '.join(given)} without use_srtab, the table "
            "that they mix in. Add it, or leave them out."
        )
    return model | {"pair_table": {"file": file} | given}
