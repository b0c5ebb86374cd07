"""``[select]`` and ``[stop]`` from DP-GEN's trust levels and budgets.

Source: DP-GEN documentation, "param.json": exploration and labelling.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dpbench.explore.dpgen.exploring import name_of
from dpbench.explore.dpgen.params import Params

OFF = 1e10
"""DP-GEN's default of the trust levels of the virial: never reached."""

_ADAPTIVE = {
    "model_devi_numb_candi_f": "adaptive_force",
    "model_devi_perc_candi_f": "adaptive_force_percent",
    "model_devi_numb_candi_v": "adaptive_virial",
    "model_devi_perc_candi_v": "adaptive_virial_percent",
}
_QUANTITIES = {"force": "f", "virial": "v", "energy": "e"}


def select_section(params: Params, stages: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Say which frames are labelled.

    Args:
        params: The input.
        stages: Systems of each stage.
    """
    section: dict[str, Any] = {}
    if params.value("model_devi_adapt_trust_lo", "select.rule", False):
        section["rule"] = "adaptive"
        for key, name in _ADAPTIVE.items():
            value = params.number(key, f"select.{name}")
            if value is not None:
                section[name] = value
    skip = params.whole("model_devi_skip", "select.skip", 0)
    if skip:
        section["skip"] = skip
    section |= _relative(params) | _levels(params, stages) | _budget(params, stages)
    _look_at_virial(section)
    cutoff = params.number("cluster_cutoff", "select.cluster")
    if params.value("use_clusters", "select.cluster", False) and cutoff:
        section["cluster"] = float(cutoff)
        hard = params.number("cluster_cutoff_hard", "select.cluster_hard")
        if hard:
            section["cluster_hard"] = float(hard)
    return section


def _look_at_virial(section: dict[str, Any]) -> None:
    """Give levels to a virial that DP-GEN's adaptive rule takes candidates by."""
    if not any(section.get(name) for name in _ADAPTIVE.values() if "virial" in name):
        return
    for levels in section.get("structures", {}).values() or [section]:
        levels.setdefault("virial", [0.0, OFF])


def stop_section(params: Params, stages: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Go through the jobs once each, as DP-GEN does."""
    params.remark(
        "changed",
        "model_devi_jobs",
        "each job is a stage of one iteration, as in DP-GEN. Take stop.stage_iterations"
        " out and set stop.accurate, 0.95 for example, to explore each stage until it "
        "has converged.",
    )
    return {"iterations": len(stages), "stage_iterations": 1, "accurate": False}


def _relative(params: Params) -> dict[str, Any]:
    section: dict[str, Any] = {}
    if params.value("model_devi_f_avg_relative", "select.relative_to_walk", False):
        section["relative_to_walk"] = True
    for switch, level, name in (
        ("use_relative", "epsilon", "relative"),
        ("use_relative_v", "epsilon_v", "relative_virial"),
    ):
        value = params.number(level, f"select.{name}")
        if params.value(switch, f"select.{name}", False) and value:
            section[name] = float(value)
    return section


def _levels(params: Params, stages: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Translate trust levels: for all systems, or one by one."""
    section: dict[str, Any] = {}
    given = {
        name: tuple(
            params.value(f"model_devi_{letter}_trust_{end}", f"select.{name}")
            for end in ("lo", "hi")
        )
        for name, letter in _QUANTITIES.items()
    }
    systems = sorted({index for stage in stages for index in stage})
    by_system = {
        index: {
            name: _pair(params, name, index, ends)
            for name, ends in given.items()
            if ends[1] is not None
        }
        for index in systems
    }
    by_system = {
        index: {name: pair for name, pair in levels.items() if pair is not None}
        for index, levels in by_system.items()
    }
    _remark_job_levels(params)
    first = by_system[systems[0]]
    if all(levels == first for levels in by_system.values()):
        return section | first
    return {"structures": {name_of(i): levels for i, levels in by_system.items()}}


def _pair(
    params: Params, name: str, index: int, ends: tuple[Any, Any]
) -> list[float] | None:
    """Return the lower and upper level of one system; None if it is never reached."""
    letter = _QUANTITIES[name]
    low, high = (
        _of_system(params, f"model_devi_{letter}_trust_{end}", index, value)
        for end, value in zip(("lo", "hi"), ends, strict=True)
    )
    if high >= OFF and low >= OFF:
        return None
    return [min(low, high) if low >= OFF else low, high]


def _of_system(params: Params, key: str, index: int, value: Any) -> float:
    """Look up a level that may be given for each system, in a list or a table."""
    found = value
    if isinstance(value, list):
        found = value[index] if index < len(value) else None
    elif isinstance(value, Mapping):
        found = value.get(str(index))
    elif value is None:
        found = 0.0
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise params.wrong(key, f"a number for system {index}")
    return float(found)


def _remark_job_levels(params: Params) -> None:
    """Say of levels inside of jobs that they do not go over."""
    for number, job in enumerate(params.data.get("model_devi_jobs") or []):
        own = [key for key in job if "_trust_" in key]
        if own:
            params.remark(
                "left out",
                f"model_devi_jobs[{number}].{own[0]}",
                "trust levels of a single job: levels hold for all stages. Set them "
                "for its structures in [select.structures.NAME].",
            )


def _budget(params: Params, stages: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Translate how many frames are labelled: DP-GEN counts by system."""
    section: dict[str, Any] = {"pick": "random"}
    most = params.whole("fp_task_max", "select.most_of_structure")
    if most is not None:
        section["most_of_structure"] = most
        section["most"] = most * max(len(stage) for stage in stages)
    least = params.whole("fp_task_min", "select.least")
    if least is not None:
        section["least"] = least
    end = params.number("fp_accurate_threshold", "select.thin_to")
    start = params.number("fp_accurate_soft_threshold", "select.thin_from")
    if end is not None:
        section["thin_to"] = float(end)
    if start is not None:
        section["thin_from"] = float(start)
    params.remark(
        "changed",
        "fp_task_max",
        "candidates are picked at random, as in DP-GEN, but twins of labelled frames "
        'are left out. pick = "diverse" takes those that differ most.',
    )
    return section
