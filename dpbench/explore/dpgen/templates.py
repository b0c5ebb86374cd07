"""What an input of LAMMPS of the user's own says of a walk.

DP-GEN (``template`` and ``rev_mat``) and dpgen2 (``lmp-template`` and ``revisions``)
put values in the place of words of such an input. The ensemble, temperature, pressure,
time step and length are read out of it; anything else it does is lost, and told.

Source: LAMMPS documentation, "fix nvt command", "variable command", "run command".
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENSEMBLE = re.compile(r"(?m)^\s*fix\s+\S+\s+\S+\s+(nvt|npt|nve)\b(.*)$")
_OTHER = re.compile(r"(?m)^\s*fix\s+\S+\s+\S+\s+(?!nvt\b|npt\b|nve\b|momentum\b)(\S+)")
_VARIABLE = re.compile(r"(?m)^\s*variable\s+(\w+)\s+(?:equal|index|string)\s+(\S+)")
_STEP = re.compile(r"(?m)^\s*timestep\s+(\S+)")
_RUN = re.compile(r"(?m)^\s*run\s+(\S+)")
_TEMPERATURE = re.compile(r"\btemp\s+(\S+)")
_PRESSURE = re.compile(r"\b(iso|aniso|tri)\s+(\S+)")
_COUPLING = {"iso": "npt-iso", "aniso": "npt-a", "tri": "npt-t"}
_DEPTH = 5


def job_of(path: Path, revisions: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Read a job out of a template.

    Args:
        path: The input.
        revisions: Values, or lists of them, by the word that stands for them.

    Returns:
        Keys of a job of DP-GEN, empty if temperature or length are not told; and what
        else the input does, in words.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}, f"{path} cannot be read"
    text = text.replace("&\n", " ")
    words = dict(_VARIABLE.findall(text))
    found = _ENSEMBLE.search(text)
    if found is None:
        return {}, "it has no fix nvt or npt"
    job: dict[str, Any] = {"ensemble": found[1]}
    temperature = _TEMPERATURE.search(found[2])
    pressure = _PRESSURE.search(found[2])
    tokens = {
        "temps": None if temperature is None else temperature[1],
        "press": None if pressure is None else pressure[2],
        "nsteps": _last(_RUN, text),
        "dt": _last(_STEP, text),
    }
    if pressure is not None:
        job["ensemble"] = _COUPLING[pressure[1]]
    for key, token in tokens.items():
        values = _numbers(token, words, revisions)
        if values:
            job[key] = values if key in ("temps", "press") else values[0]
    if "temps" not in job or "nsteps" not in job:
        return {}, "it does not tell temperature and number of steps in plain words"
    other = sorted(set(_OTHER.findall(text)))
    return job, f"fix {', '.join(other)}" if other else ""


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return found[-1] if found else None


def _numbers(
    token: str | None, words: Mapping[str, str], revisions: Mapping[str, Any]
) -> list[float]:
    """Follow a word through variables and revisions to numbers; none if it ends."""
    for _ in range(_DEPTH):
        if token is None:
            return []
        if token in revisions:
            given = revisions[token]
            values = given if isinstance(given, list) else [given]
            plain = [_number(value) for value in values]
            return [v for v in plain if v is not None] if None not in plain else []
        number = _number(token)
        if number is not None:
            return [number]
        name = re.fullmatch(r"\$\{(\w+)\}|\$(\w)|v_(\w+)", token)
        if name is None:
            return []
        token = words.get(name[1] or name[2] or name[3])
    return []


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
