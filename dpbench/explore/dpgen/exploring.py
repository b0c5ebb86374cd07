"""``[explore]`` from ``sys_configs`` and ``model_devi_jobs``.

Source: DP-GEN documentation, "param.json": data and exploration.
"""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.structures import StructureFiles
from dpbench.explore.dpgen.walks import stage_of, templated, why_none, wrong_job

_SHARED = {
    "dt": "model_devi_dt",
    "taut": "model_devi_taut",
    "taup": "model_devi_taup",
}
"""Keys of jobs, and where they stand if all jobs share them; ps."""

UNSERVED = {
    "calypso": "CALYPSO predicts structures instead of walking from known ones",
    "amber": "it walks by QM/MM of Amber (DPRc), for which dpbench has no engine",
}
"""Engines that leave nothing to translate."""


def explore_section(
    params: Params, files: StructureFiles
) -> tuple[dict[str, Any], list[list[int]]]:
    """Say what is explored.

    Args:
        params: The input.
        files: Where structure files lie and go.

    Returns:
        The section, and the systems of each stage.

    Raises:
        ConfigError: If nothing that dpbench can explore is left.
    """
    engine = params.text("model_devi_engine", "explore.engine", "lammps")
    if engine in UNSERVED:
        raise ConfigError(
            f"{params.where}: model_devi_engine = '{engine}': {UNSERVED[engine]}; "
            "expected lammps or gromacs. There is nothing to translate: write "
            "[explore] by hand (docs/explore.md)."
        )
    params.remark(
        "changed",
        "model_devi_engine",
        f"{engine}: dpbench's own engine walks, without LAMMPS. Set explore.engine = "
        '"lammps" to walk in LAMMPS.',
    )
    systems = _systems(params)
    jobs = _jobs(params)
    shared = {
        key: params.number(name, "explore.stages")
        for key, name in _SHARED.items()
        if params.has(name)
    }
    stages, used = [], []
    for number, job in enumerate(jobs):
        whole = _with_template(params, number, job)
        if whole is None:
            continue
        index = _indices(params, number, whole, len(systems))
        stage = stage_of(params, f"model_devi_jobs[{number}]", shared | dict(whole))
        stages.append({"structures": [name_of(i) for i in index]} | stage)
        used.append(index)
    if not stages:
        raise ConfigError(
            f"{params.where}: model_devi_jobs has no job that can be translated; "
            f"expected one at least. {why_none(params)}For 'dpgen simplify' use "
            "'dpbench simplify'."
        )
    structures = [
        _structure(params, files, index, systems[index])
        for index in sorted({i for one in used for i in one})
    ]
    section: dict[str, Any] = {"engine": "dpbench"}
    filters = _filters(params)
    section |= {"filters": filters} if filters else {}
    section |= {"structures": structures, "stages": stages}
    return section, used


def name_of(index: int) -> str:
    """Name the structures of one entry of ``sys_configs``."""
    return f"sys{index:03d}"


def _systems(params: Params) -> list[list[str]]:
    """Return the patterns of every system, the prefix put before them."""
    prefix = params.text("sys_configs_prefix", "explore.structures.files")
    given = params.value("sys_configs", "explore.structures", [])
    if not isinstance(given, list):
        raise params.wrong("sys_configs", "a list of lists of paths")
    systems = []
    for entry in given:
        patterns = [entry] if isinstance(entry, str) else entry
        if not isinstance(patterns, list) or not all(
            isinstance(pattern, str) for pattern in patterns
        ):
            raise params.wrong("sys_configs", "a list of lists of paths")
        systems.append([str(params.base / prefix / pattern) for pattern in patterns])
    return systems


def _structure(
    params: Params, files: StructureFiles, index: int, patterns: Sequence[str]
) -> dict[str, Any]:
    found: list[str] = []
    gone: list[str] = []
    for pattern in patterns:
        # As DP-GEN: sorted within a pattern, patterns in the order given.
        matches = sorted(glob.glob(pattern))  # noqa: PTH207 - patterns are absolute
        if not matches:
            gone.append(pattern)
            found.append(files.unread(Path(pattern)))
        for match in matches:
            found += files.use(params, Path(match), name_of(index))
    if gone:
        params.remark(
            "missing",
            f"sys_configs[{index}]",
            "has paths that match nothing here. Correct the files of the structure of "
            f"that number, e.g. '{name_of(0)}' of sys_configs[0].",
        )
    return {"name": name_of(index), "kind": "file", "files": found}


def _jobs(params: Params) -> list[Mapping[str, Any]]:
    jobs = params.value("model_devi_jobs", "explore.stages", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise params.wrong("model_devi_jobs", "a list of tables")
    return jobs


def _indices(
    params: Params, number: int, job: Mapping[str, Any], count: int
) -> list[int]:
    """Expand ``[0, "3-6:2"]`` as DP-GEN does: the end of a range does not count."""
    out: list[int] = []
    given = job.get("sys_idx")
    for item in given if isinstance(given, list) else []:
        if isinstance(item, str) and "-" in item:
            ends, _, step = item.partition(":")
            first, _, last = ends.partition("-")
            try:
                out += range(int(first), int(last), int(step or 1))
            except ValueError:
                raise wrong_job(
                    params, f"model_devi_jobs[{number}]", "sys_idx", item
                ) from None
        elif isinstance(item, int):
            out.append(item)
        else:
            raise wrong_job(params, f"model_devi_jobs[{number}]", "sys_idx", item)
    for index in out:
        if not 0 <= index < count:
            raise ConfigError(
                f"{params.where}: model_devi_jobs[{number}].sys_idx: {index}; "
                f"sys_configs has {count} entries, counted from 0. Correct it."
            )
    if not out:
        raise wrong_job(
            params, f"model_devi_jobs[{number}]", "sys_idx", job.get("sys_idx")
        )
    return out


def _with_template(
    params: Params, number: int, job: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return a job with what its input of LAMMPS tells; None if it is left out."""
    template = job.get("template")
    if not isinstance(template, Mapping):
        return job
    revisions = (job.get("rev_mat") or {}).get("lmp") or {}
    path = params.base / str(template.get("lmp", ""))
    told = templated(params, f"model_devi_jobs[{number}]", path, revisions)
    return {**told, **job} if told else None


def _filters(params: Params) -> dict[str, Any]:
    """Translate what DP-GEN looks at before it labels."""
    found: dict[str, Any] = {}
    for part in params.text("fp_skip_bad_box", "explore.filters").split(";"):
        key, _, value = part.partition(":")
        if key == "length_ratio" and _is_number(value):
            found["box_ratio"] = float(value)
        elif part:
            params.remark(
                "changed",
                f"fp_skip_bad_box.{key}",
                "cells are judged by explore.filters.box_skew, degrees that a "
                "cell vector leans.",
            )
    return found


def _is_number(text: str) -> bool:
    try:
        return float(text) > 1
    except ValueError:
        return False
