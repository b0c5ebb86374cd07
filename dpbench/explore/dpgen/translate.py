"""``param.json`` and ``machine.json`` of DP-GEN as a configuration of an exploration.

Every key is accounted for: it became a key of the configuration, it did so with
another meaning, or it is left out, with the reason and what to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.config import config_from
from dpbench.explore.dpgen.exploring import explore_section
from dpbench.explore.dpgen.labelling import label_section
from dpbench.explore.dpgen.left_out import LEFT_OUT
from dpbench.explore.dpgen.machine import read_machine
from dpbench.explore.dpgen.params import Params, Remark, read_params, refusing
from dpbench.explore.dpgen.selecting import select_section, stop_section
from dpbench.explore.dpgen.structures import StructureFiles
from dpbench.explore.dpgen.theory import FILE as THEORY_FILE
from dpbench.explore.dpgen.theory import declare
from dpbench.explore.dpgen.toml_text import toml_text
from dpbench.explore.dpgen.training import start_section, train_section
from dpbench.store.references import name_from

CONFIG = "explore.toml"
REPORT = "from-dpgen.txt"
"""Names of the configuration and of what did not go over."""

_HEADINGS = {
    "missing": "To do before it runs",
    "changed": "Taken over with another meaning",
    "left out": "Left out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """What came of an input of DP-GEN."""

    config: Mapping[str, Any]
    """The configuration, as plain values."""
    files: Mapping[str, str]
    """Content of every file by its path from the output folder."""
    taken: Mapping[str, str]
    """Key of DP-GEN -> key of the configuration."""
    remarks: tuple[Remark, ...]
    """What did not go over as it was."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        return {
            "files": sorted(self.files),
            "taken": dict(self.taken),
            "remarks": [asdict(remark) for remark in self.remarks],
        }

    def summary(self) -> str:
        """Word what was taken over and what was not."""
        lines = [f"{CONFIG}: {len(self.taken)} keys taken over"]
        for kind, heading in _HEADINGS.items():
            found = [remark for remark in self.remarks if remark.kind == kind]
            if found:
                lines += ["", f"{heading} ({len(found)}):"]
                lines += [f"  {key}: {reason}" for key, reason in _joined(found)]
        return "\n".join(lines)


def translate(param: Path, machine: Path | None, *, out: Path) -> Translation:
    """Translate an input of ``dpgen run``; nothing is written.

    Args:
        param: ``param.json``.
        machine: ``machine.json``, which names the command that labels; None = none.
        out: Folder that the configuration will lie in; paths are relative to it.

    Raises:
        ConfigError: If a file is no input of DP-GEN, or leaves nothing to explore.
    """
    with refusing(param):
        params = read_params(param)
        machines = None if machine is None else read_params(machine)
        return _translated(params, machines, out)


def _translated(params: Params, machines: Params | None, out: Path) -> Translation:
    structures = StructureFiles(
        out=out,
        format=params.text("sys_format", "explore.structures", "vasp/poscar"),
        type_map=params.texts("type_map", "train.json"),
    )
    explore, stages = explore_section(params, structures)
    first = explore["stages"][0]["structures"]
    train, train_files = train_section(params)
    label, label_files = label_section(params, read_machine(machines), out=out)
    config: dict[str, Any] = {
        "start": start_section(params, out=out, first=first),
        "train": train,
        "explore": explore,
        "select": select_section(params, stages),
        "stop": stop_section(params, stages),
        "label": label,
    }
    _account_for_rest(params)
    if machines is not None:
        params.remarks += machines.remarks
        params.taken |= machines.taken
    return closed(params, config, structures.made | train_files | label_files, out=out)


def closed(
    params: Params, sections: Mapping[str, Any], files: Mapping[str, str], *, out: Path
) -> Translation:
    """Check the configuration, and add it and the report to the files.

    Args:
        params: The input, with its books.
        sections: Of the configuration.
        files: Content of the files that it names.
        out: Folder of the configuration.

    Raises:
        ConfigError: If it does not load.
    """
    config = {"dataset": name_from(params.base.name), "seed": 1, **sections}
    config_from(config, where=CONFIG)  # what does not load is not handed out
    made = dict(files)
    if "files" in config["start"]:
        made[THEORY_FILE] = declare(params, config["label"], made, out=out)
    remarks = tuple(dict.fromkeys(params.remarks))
    head = f"From {params.where}."
    made[CONFIG] = toml_text(config, comments={"": head})
    found = Translation(config=config, files=made, taken=params.taken, remarks=remarks)
    made[REPORT] = found.summary() + "\n"
    return found


def write_translation(found: Translation, out: Path) -> Path:
    """Write all files of a translation; none is written over.

    Returns:
        Path of the configuration.

    Raises:
        ConfigError: If one is there already, or the folder cannot be written.
    """
    for name in found.files:
        if (out / name).exists():
            raise ConfigError(
                f"{out / name}: is there already; expected a new file. Give another "
                "folder, or remove it."
            )
    try:
        for name, content in found.files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}).") from error
    return out / CONFIG


def _joined(remarks: Sequence[Remark]) -> list[tuple[str, str]]:
    """Put keys of one reason together, in the order in which they came."""
    keys: dict[str, list[str]] = {}
    for remark in remarks:
        keys.setdefault(remark.reason, []).append(remark.key)
    return [(", ".join(found), reason) for reason, found in keys.items()]


def _account_for_rest(params: Params) -> None:
    """Say of every key that nothing was said about why it has no effect."""
    for key in params.left_over():
        reason = LEFT_OUT.get(key)
        params.remark(
            "left out",
            key,
            reason
            or "is no key of DP-GEN 0.13 that dpbench knows. Look whether it matters.",
        )
