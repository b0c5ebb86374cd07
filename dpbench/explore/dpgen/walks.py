"""One job of molecular dynamics of DP-GEN or dpgen2 as a stage.

Source: LAMMPS inputs of DP-GEN 0.13 and dpgen2 (``fix nvt`` and ``fix npt``, units
metal: ps, bar).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.params import Kind, Params
from dpbench.explore.dpgen.templates import job_of

BAR_PER_GPA = 1e4
FS_PER_PS = 1e3
TAUP = 0.5
"""ps, DP-GEN's relaxation time of the pressure; its 0.1 ps of the temperature is
dpbench's."""

_NPT = {
    "npt": "iso",
    "npt-i": "iso",
    "npt-iso": "iso",
    "npt-a": "aniso",
    "npt-aniso": "aniso",
    "npt-t": "aniso",
    "npt-tri": "aniso",
}
"""Ensembles with a barostat, and how their cell moves here."""

ALIASES = {
    "ensemble": ("ensemble", "ens"),
    "temps": ("temps", "Ts"),
    "press": ("press", "Ps"),
    "trj_freq": ("trj_freq", "t_freq", "traj_freq"),
    "nsteps": ("nsteps",),
}
"""Names of the same thing in ``model_devi_jobs``."""

_JOB_REMARKS: dict[str, tuple[Kind, str]] = {
    "nbeads": ("left out", "path integrals: walks are classical here."),
    "pka_e": ("left out", "a primary knock-on atom: there is no such walk here."),
    "neidelay": ("left out", "neighbour lists are renewed when atoms have moved."),
    "sys_rev_mat": ("left out", "values for single systems: all have the same here."),
}


def templated(
    params: Params, where: str, template: Path, revisions: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the job that an input of LAMMPS tells; empty if it is left out.

    Args:
        params: The input, for remarks.
        where: How the input calls the job.
        template: The input of LAMMPS.
        revisions: What stands for words in it.
    """
    job, more = job_of(template, revisions)
    if not job:
        params.remark(
            "left out",
            f"{where}.template",
            f"an input of LAMMPS of your own: {more}. Add a stage by hand "
            "(docs/explore-sampling.md).",
        )
        return {}
    lost = f"; lost: {more}" if more else ""
    params.remark(
        "changed",
        f"{where}.template",
        "of your input of LAMMPS the ensemble, temperature, pressure, time step and "
        f"length are taken{lost}. Look at the stage.",
    )
    return job


def why_none(params: Params) -> str:
    """Say why the first job that was left out was; empty if none was."""
    for remark in params.remarks:
        if remark.kind == "left out" and remark.key.endswith((".template", ".type")):
            return f"{remark.key}: {remark.reason} "
    return ""


def stage_of(params: Params, where: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Translate one job, but for its structures.

    Args:
        params: The input, for remarks.
        where: How the input calls the job, such as ``model_devi_jobs[0]``.
        job: Its keys, with what it takes from outside: taut and taup, ps; dt, ps.

    Raises:
        ConfigError: If a value is missing or of the wrong kind.
    """
    for key, (kind, why) in _JOB_REMARKS.items():
        if job.get(key) is not None:
            params.remark(kind, f"{where}.{key}", why)
    ensemble = str(_of_job(job, "ensemble") or "nvt")
    stage: dict[str, Any] = {"temperatures": _temperatures(params, where, job)}
    if ensemble in _NPT:
        pressures = _numbers(params, where, job, "press")
        stage["pressures"] = [value / BAR_PER_GPA for value in pressures]
        stage["couple"] = _NPT[ensemble]
        taup = _numbers(params, where, {"taup": TAUP} | dict(job), "taup")[0]
        stage["pdamp"] = taup * FS_PER_PS
    elif ensemble in ("nvt", "nve"):
        stage["thermostat"] = "nhc"
    else:
        raise wrong_job(params, where, "ensemble", ensemble)
    _remark_ensemble(params, where, ensemble)
    stage["steps"] = int(_numbers(params, where, job, "nsteps")[0])
    stage["every"] = int(_numbers(params, where, job, "trj_freq")[0])
    if job.get("taut") is not None:
        stage["tdamp"] = _numbers(params, where, job, "taut")[0] * FS_PER_PS
    if job.get("dt") is not None:
        step = _numbers(params, where, job, "dt")[0]
        stage["timestep"] = round(step * FS_PER_PS, 9)
    return stage


def _remark_ensemble(params: Params, where: str, ensemble: str) -> None:
    if ensemble in ("npt-t", "npt-tri"):
        params.remark(
            "changed",
            f"{where}.ensemble",
            f"{ensemble}: the cell vectors change their lengths and not their angles.",
        )
    elif ensemble == "nve":
        params.remark(
            "changed", f"{where}.ensemble", "nve: walks have a thermostat here."
        )


def _temperatures(params: Params, where: str, job: Mapping[str, Any]) -> list[float]:
    """Return the temperatures of the atoms; those of electrons are left out."""
    given = _of_job(job, "temps")
    if isinstance(given, list) and any(isinstance(one, list) for one in given):
        params.remark(
            "left out",
            f"{where}.temps",
            "temperatures of electrons: only those of the atoms are taken.",
        )
        firsts = [one[0] if isinstance(one, list) and one else one for one in given]
        return _numbers(params, where, {"temps": firsts}, "temps")
    return _numbers(params, where, job, "temps")


def _of_job(job: Mapping[str, Any], key: str) -> Any:
    names = ALIASES.get(key, (key,))
    return next((job[name] for name in names if job.get(name) is not None), None)


def _numbers(
    params: Params, where: str, job: Mapping[str, Any], key: str
) -> list[float]:
    given = _of_job(job, key)
    if key == "temps" and not given and params.data.get("gromacs_settings"):
        raise ConfigError(
            f"{params.where}: {where}.temps: none; expected the "
            "temperatures, K. Gromacs reads them in its .mdp; add them here."
        )
    values = given if isinstance(given, list) else [given]
    if not values or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    ):
        raise wrong_job(params, where, key, given)
    return [float(value) for value in values]


def wrong_job(params: Params, where: str, key: str, found: Any) -> ConfigError:
    """Return the error of a value of a job that cannot be used."""
    return ConfigError(
        f"{params.where}: {where}.{key} = {found!r}; expected what "
        "DP-GEN's documentation says of it. Correct it."
    )
