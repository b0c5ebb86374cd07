"""What ``machine.json`` says that an exploration needs: the command that labels.

Source: DP-GEN documentation, "machine.json"; dpdispatcher documentation, "machine" and
"resources".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpbench.explore.dpgen.params import Params

LOCAL = ("shell", "local", "lazylocal")
"""``batch_type`` of jobs that run where DP-GEN does."""

TASKS = ("train", "model_devi", "fp")
_OLD_KEYS = re.compile(r"(train|model_devi|fp)_(machine|resources|command|group_size)")
_REDIRECTED = re.compile(r"\s*(?:&>>?|[12]?>>?[&|]?|<)\s*\S+")
"""Also ``>& FILE`` and ``&>> FILE`` of bash and csh."""
_NAMED = re.compile(r"\s-(?:i|in|inp|input|o)\s+\S+")
"""Input and output named on the command line of pw.x or CP2K."""
_LAST = re.compile(r"(?:\s+input(?:\.inp)?)+$")
"""DP-GEN's names of inputs as last words: ``cp2k.popt input.inp``."""
_ALL_THE_SAME = re.compile(r"\s*\|\|\s*(?::|true)?$")
"""Hides a failure, as DP-GEN's examples do; drivers judge the outputs."""
_RANKS = re.compile(r"\s-(?:n|np)\s+(\d+)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """How labels are run."""

    command: str = ""
    """What runs, without redirections; empty = not told."""
    processes: int = 1
    """Processes that it starts."""


def read_machine(params: Params | None) -> Machine:
    """Take the command that labels out of a machine file, and say what stays behind."""
    if params is None:
        return Machine()
    for task in TASKS:
        _remark_task(params, task)
    for key in params.data:
        if key in ("api_version", "deepmd_version", "deepmd_path", "python_path"):
            params.remark("left out", key, "dpbench trains and walks by itself.")
    return _command(params)


def command_of(params: Params, given: Any, key: str) -> Machine:
    """Take redirections and files off a command line.

    Args:
        params: The input, for remarks.
        given: The command, as the input has it.
        key: Where it stands.
    """
    if not isinstance(given, str) or not given.strip():
        return Machine()
    # The drivers read and name the files themselves.
    plain = _ALL_THE_SAME.sub("", given.strip())
    plain = _LAST.sub("", _NAMED.sub("", _REDIRECTED.sub("", plain)).strip())
    pieces = re.split(r"\s*(?:&&|;)\s*", plain)
    if len(pieces) > 1:
        plain = pieces[-1]
        params.remark(
            "missing",
            key,
            f"'{'; '.join(pieces[:-1])}' runs before '{plain}': do it in the shell "
            "that starts dpbench, or name a script that does both.",
        )
    if "|" in plain:
        params.remark(
            "missing", key, f"'{given}' is more than one program: name a script of it."
        )
    found = _RANKS.search(plain)
    return Machine(command=plain, processes=int(found[1]) if found else 1)


def _command(params: Params) -> Machine:
    table = _first(params.data.get("fp"))
    given = table.get("command", params.data.get("fp_command"))
    if given:
        params.taken["fp" if table.get("command") else "fp_command"] = "label"
    return command_of(params, given, "fp.command")


def _remark_task(params: Params, task: str) -> None:
    """Say where the jobs of one stage went, and what to do instead."""
    table = _first(params.data.get(task))
    machine = table.get("machine", params.data.get(f"{task}_machine"))
    resources = table.get("resources", params.data.get(f"{task}_resources"))
    for key in [k for k in params.data if _OLD_KEYS.fullmatch(k)]:
        if key.startswith(task) and key != "fp_command":
            params.taken[key] = "resources"
    if table:
        params.taken.setdefault(task, "resources")
    if not isinstance(machine, Mapping):
        return
    batch = machine.get("batch_type", machine.get("machine_type", machine.get("batch")))
    if str(batch).lower() in LOCAL or batch is None:
        params.remark(
            "changed",
            task,
            "runs in processes of this machine: resources.workers, .threads.",
        )
    else:
        params.remark(
            "left out",
            task,
            f"jobs of {batch}: start Dask workers in it and name their scheduler in "
            "resources.scheduler (docs/explore-cluster.md).",
        )
    if not isinstance(resources, Mapping):
        return
    kept = [
        key
        for key in ("source_list", "module_list", "envs", "prepend_script")
        if resources.get(key)
    ]
    if kept:
        params.remark(
            "missing",
            f"{task}.resources",
            f"{', '.join(kept)}: load these in the shell that starts dpbench, or its "
            "workers.",
        )


def _first(value: Any) -> Mapping[str, Any]:
    """Return the table of a stage: newer files have a list of one."""
    if isinstance(value, list):
        value = value[0] if value else {}
    return value if isinstance(value, Mapping) else {}
