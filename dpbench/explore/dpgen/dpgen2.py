"""``[explore]``, ``[select]`` and ``[stop]`` from an input of dpgen2.

Source: dpgen2 documentation, "Guide on dpgen2 commands" and "Arguments of the submit
script"; ``dpgen2/exploration`` and ``dpgen2/conf`` of dpgen2 0.1.
"""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.structures import StructureFiles
from dpbench.explore.dpgen.walks import stage_of, templated, why_none

DEFAULTS: dict[str, Any] = {
    "ensemble": "nve",
    "nsteps": 100,
    "trj_freq": 10,
    "dt": 1e-3,
    "tau_t": 5e-2,
    "tau_p": 5e-1,
}
"""Of a group of walks where it does not say; ps and steps."""

PROTOTYPES = {
    "bcc": "bcc",
    "fcc": "fcc",
    "hcp": "hcp",
    "sc": "sc",
    "diamond": "diamond",
}
"""Crystals by dpgen2's name."""

_SELECTION = {"uniform": "random", "inv_pop_f": "even"}
"""``candi_sel_prob`` of the adaptive rule."""

_ALIASES = {
    "conf_idx": ("conf_idx", "sys_idx"),
    "ensemble": ("ensemble", "ens"),
    "temps": ("temps", "Ts"),
    "press": ("press", "Ps"),
    "trj_freq": ("trj_freq", "t_freq", "traj_freq", "freq"),
}


def explore_section(params: Params, files: StructureFiles) -> dict[str, Any]:
    """Say what is explored: ``configurations`` and ``stages`` of section ``explore``.

    Raises:
        ConfigError: If nothing that dpbench can explore is left.
    """
    engine = params.text("type", "explore.engine", "lmp")
    if engine != "lmp":
        raise ConfigError(
            f"{params.where}: type = '{engine}'; expected lmp. It predicts structures "
            "instead of walking from known ones: write [explore] by hand "
            "(docs/explore.md)."
        )
    params.value("config", "explore.engine")
    params.remark(
        "changed",
        "type",
        "dpbench's own engine walks, without LAMMPS (explore.engine).",
    )
    given = params.value("configurations", "explore.structures", [])
    if not isinstance(given, list) or not all(isinstance(c, dict) for c in given):
        raise params.wrong("configurations", "a list of tables")
    prefix = params.text("configuration_prefix", "explore.structures.files")
    stages = [
        {"structures": [name_of(i) for i in index]} | stage
        for index, stage in _stages(params, len(given))
    ]
    if not stages:
        raise ConfigError(
            f"{params.where}: stages has no group that can be translated; expected one "
            f"of type lmp-md or lmp-template at least. {why_none(params)}"
        )
    used = {name for stage in stages for name in stage["structures"]}
    structures = [
        _structure(params, files, index, one, prefix)
        for index, one in enumerate(given)
        if name_of(index) in used
    ]
    return {"engine": "dpbench", "structures": structures, "stages": stages}


def name_of(index: int) -> str:
    """Name one entry of ``configurations``."""
    return f"conf{index:03d}"


def select_section(params: Params, most: int | None) -> dict[str, Any]:
    """Translate ``convergence``: which frames are candidates, and which are taken."""
    given = params.table("convergence", "select")
    rule = str(given.get("type", "fixed-levels"))
    # dpgen2 looks at what has failed first, DP-GEN at candidates.
    section: dict[str, Any] = {"first": "failed", "pick": "random"}
    if rule == "adaptive-lower":
        section |= {
            "rule": "adaptive",
            "adaptive_force": given.get("numb_candi_f", 200),
            "adaptive_force_percent": 100 * given.get("rate_candi_f", 0.01),
            "adaptive_virial": given.get("numb_candi_v", 0),
            "adaptive_virial_percent": 100 * given.get("rate_candi_v", 0.0),
        }
        word = str(given.get("candi_sel_prob", "uniform")).partition(":")[0]
        section["pick"] = _SELECTION.get(word, "random")
    elif rule == "fixed-levels-max-select":
        section["pick"] = "largest"
    elif rule != "fixed-levels":
        raise params.wrong("convergence", "fixed-levels or adaptive-lower")
    for name, letter in (("force", "f"), ("virial", "v")):
        high = given.get(f"level_{letter}_hi")
        if high is not None:
            section[name] = [given.get(f"level_{letter}_lo") or 0.0, high]
    if "virial" not in section:  # dpgen2 takes no candidates by it then, either
        section.pop("adaptive_virial", None)
        section.pop("adaptive_virial_percent", None)
    for group in _groups(params):
        for key, name in (
            ("relative_f_epsilon", "relative"),
            ("relative_v_epsilon", "relative_virial"),
        ):
            if group.get(key) is not None:
                section[name] = group[key]
    return section | ({} if most is None else {"most": most})


def stop_section(params: Params) -> dict[str, Any]:
    """Translate when a stage has converged, and when it ends all the same."""
    given = params.table("convergence", "stop")
    section: dict[str, Any] = {}
    most = params.whole("max_numb_iter", "stop.stage_iterations")
    stages = len(params.data.get("stages") or [])
    if most is not None:
        section |= {"iterations": most * max(stages, 1), "stage_iterations": most}
    if given.get("type") == "adaptive-lower":
        # Its candidates are always there: only the levels tell.
        section |= {
            "accurate": False,
            "level_change": given.get("conv_tolerance", 0.05),
            "levels_checked": given.get("n_checked_steps", 2),
        }
    else:
        section["accurate"] = given.get("conv_accuracy", 0.9)
    return section


def _groups(params: Params) -> list[Mapping[str, Any]]:
    stages = params.value("stages", "explore.stages", [])
    if not isinstance(stages, list):
        raise params.wrong("stages", "a list of lists of groups")
    found = [
        group
        for stage in stages
        for group in (stage if isinstance(stage, list) else [stage])
    ]
    if not all(isinstance(group, dict) for group in found):
        raise params.wrong("stages", "a list of lists of groups")
    return found


def _stages(params: Params, count: int) -> list[tuple[list[int], dict[str, Any]]]:
    """Translate every group; (which configurations, its stage without them)."""
    found = []
    groups = _groups(params)
    if len(groups) > len(params.data.get("stages") or []):
        params.remark(
            "changed",
            "stages",
            "groups of one stage are stages of their own, explored one after another.",
        )
    for number, group in enumerate(groups):
        where = f"stages[{number}]"
        told = _with_template(params, where, group)
        if told is None:
            continue
        job = DEFAULTS | {_plain(key): value for key, value in told.items()}
        index = job.get("conf_idx")
        if not isinstance(index, list) or not all(
            isinstance(i, int) and 0 <= i < count for i in index
        ):
            raise ConfigError(
                f"{params.where}: {where}.conf_idx = {index!r}; expected numbers of "
                f"configurations, 0 to {count - 1}. Correct it."
            )
        if job.get("n_sample") is not None:
            params.remark(
                "changed",
                f"{where}.n_sample",
                "every cell of a structure is walked from; set 'most' of files or "
                "'count' of generated cells to walk from fewer.",
            )
        job |= {"taut": job["tau_t"], "taup": job["tau_p"]}
        job["nbeads"] = job.get("pimd_bead")
        found.append((index, stage_of(params, where, job)))
    return found


def _with_template(
    params: Params, where: str, group: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return a group with what its input of LAMMPS tells; None if it is left out."""
    kind = group.get("type", "lmp-md")
    if kind in ("lmp-md", "lmp-npt"):
        return group
    if kind != "lmp-template":
        params.remark(
            "left out",
            f"{where}.type",
            f"{kind}: dpbench cannot tell what it does. Add a stage by hand "
            "(docs/explore-sampling.md).",
        )
        return None
    path = params.base / str(group.get("lmp") or group.get("lmp_template_fname"))
    told = templated(params, where, path, group.get("revisions") or {})
    return {**told, **group} if told else None


def _plain(key: str) -> str:
    return next((name for name, known in _ALIASES.items() if key in known), key)


def _structure(
    params: Params,
    files: StructureFiles,
    index: int,
    given: Mapping[str, Any],
    prefix: str,
) -> dict[str, Any]:
    where = f"configurations[{index}]"
    if given.get("type") == "alloy":
        return _alloy(params, where, files.type_map, given) | {"name": name_of(index)}
    patterns = given.get("files")
    patterns = [patterns] if isinstance(patterns, str) else patterns or []
    base = params.base / (given.get("prefix") or prefix)
    form = str(given.get("fmt", "auto"))
    reader = StructureFiles(
        out=files.out,
        format="vasp/poscar" if form == "auto" else form,
        type_map=files.type_map,
        made=files.made,
    )
    found: list[str] = []
    for pattern in patterns:
        matches = sorted(glob.glob(str(base / pattern)))  # noqa: PTH207 - absolute
        if not matches:
            found.append(files.unread(base / pattern))
            params.remark(
                "missing", where, "has paths that match nothing here. Correct them."
            )
        for match in matches:
            found += reader.use(params, Path(match), name_of(index), every=True)
    return {"name": name_of(index), "kind": "file", "files": found}


def _alloy(
    params: Params, where: str, elements: list[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Translate cells whose sites have elements at random."""
    lattice = given.get("lattice")
    is_known = isinstance(lattice, list) and len(lattice) == 2
    if not is_known or not isinstance(lattice, list) or lattice[0] not in PROTOTYPES:
        raise ConfigError(
            f"{params.where}: {where}.lattice = {lattice!r}; expected one of "
            f"{', '.join(PROTOTYPES)} and a lattice constant, Å. Correct it."
        )
    found: dict[str, Any] = {
        "kind": "prototype",
        "prototype": PROTOTYPES[lattice[0]],
        "lattice": float(lattice[1]),
        "count": given.get("numb_confs", 1),
        "strain": float(given.get("cell_pert_frac", 0.0)),
        "rattle": float(given.get("atom_pert_dist", 0.0)),
    }
    if given.get("replicate"):
        found["repeat"] = given["replicate"]
    mixed = given.get("concentration") or [[1 / len(elements)] * len(elements)]
    mixed = mixed if isinstance(mixed[0], list) else [mixed]
    if len(elements) > 1:
        found["substitute"] = {"elements": elements, "fractions": mixed}
    else:
        found["elements"] = elements
    if found["strain"] or found["rattle"]:
        params.remark(
            "changed",
            where,
            "strain and rattle are widths of normal distributions, not limits.",
        )
    return found
