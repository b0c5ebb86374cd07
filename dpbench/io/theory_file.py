"""The file of ``--theory``: a level of theory declared for sources that tell none.

npy, extxyz and the like hold labels and no settings. The file says what they were made
with; where a source tells more, the two must not contradict each other.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from dpbench.config import read_toml, unknown_key
from dpbench.errors import ConfigError, SourceError
from dpbench.io.parsed import THEORY_KEYS, ParsedSource
from dpbench.store.theory.mixture import Difference, compatibility, show
from dpbench.store.theory.rules import NONE, element

SPINS = ("none", "collinear", "noncollinear", "spin-orbit")
"""What ``spin`` may be."""

_TEXT = ("code", "code_version", "functional", "dispersion", "smearing", "energy_kind")
_NUMBERS = ("cutoff", "cutoff_density", "rel_cutoff", "smearing_width")
_KPOINTS = ("mesh", "shift", "spacing", "count")


class TheoryContradictionError(SourceError):
    """A source tells a level of theory that contradicts the one given for it."""


def read_theory_file(path: Path) -> dict[str, Any]:
    """Read and check a TOML file that declares a level of theory.

    Returns:
        The level, in the form in which readers return it.

    Raises:
        ConfigError: On an unknown key, a value of the wrong kind, or no functional.
    """
    given = read_toml(path)
    known = dict.fromkeys(THEORY_KEYS)
    for key in given:
        if key not in known:
            raise ConfigError(f"{path}: {unknown_key(key, known)}")
    for key in ("code", "functional"):
        if not given.get(key):
            raise ConfigError(
                f"{path}: missing key '{key}'; expected at least code and functional. "
                "Add it: without them no two levels of theory can be compared."
            )
    return {key: _checked(path, key, value) for key, value in given.items()}


def declared(
    parsed: ParsedSource, theory: Mapping[str, Any] | None, *, where: str = ""
) -> ParsedSource:
    """Fill in what a source does not tell of its level of theory.

    Args:
        parsed: The source.
        theory: What was declared, as ``read_theory_file`` returns it; None = nothing.
        where: Path of the source, for the message.

    Returns:
        The source with the declared values where it told none.

    Raises:
        TheoryContradictionError: If a value that both give is incompatible.
    """
    if theory is None:
        return parsed
    own = {key: value for key, value in parsed.theory.items() if value is not None}
    both = {key: own[key] for key in own.keys() & theory.keys()}
    if both:
        given = {key: theory[key] for key in both}
        found = compatibility(_with_potentials(both, own), given)
        if found:
            raise TheoryContradictionError(
                _contradiction(where or parsed.format, found)
            )
    joined = {**theory, **own}
    for key in ("pseudopotentials", "basis", "hubbard_u"):
        if isinstance(own.get(key), Mapping) and isinstance(theory.get(key), Mapping):
            joined[key] = {**theory[key], **own[key]}
    return replace(
        parsed,
        theory=joined,
        code=str(joined["code"]) if parsed.code == "unknown" else parsed.code,
        code_version=parsed.code_version or joined.get("code_version"),
    )


def _with_potentials(
    both: Mapping[str, Any], own: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Keep the elements of a source beside its +U, which is compared by element."""
    if "hubbard_u" not in both or "pseudopotentials" in both:
        return both
    return {**both, "basis": own.get("pseudopotentials") or own.get("basis")}


def _contradiction(where: str, found: tuple[Difference, ...]) -> str:
    words = ", ".join(
        f"{d.key} = {show(d.one)} where --theory says {show(d.other)}" for d in found
    )
    return (
        f"{where}: declares {words}; expected the two to agree. Correct the file, or "
        "ingest this source without it."
    )


def _checked(path: Path, key: str, value: Any) -> Any:
    """Bring one value to the form of a reader's."""
    where = f"{path}: {key}"
    if key in _TEXT:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: expected text, found {value!r}.")
        return value
    if key in _NUMBERS:
        return _number(where, value)
    if key == "spin":
        if value not in SPINS:
            raise ConfigError(
                f"{where}: expected one of {', '.join(SPINS)}, found {value!r}."
            )
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, found {value!r}.")
    if key == "kpoints":
        return _kpoints(where, value)
    if key == "details":
        return {str(name): _scalar(f"{where}.{name}", v) for name, v in value.items()}
    for label in value:
        if element(label) is None:
            raise ConfigError(
                f"{where}.{label}: is no element; expected a symbol, or one with a "
                "number such as Fe1."
            )
    if key == "hubbard_u":
        return {label: _hubbard(f"{where}.{label}", u) for label, u in value.items()}
    return {label: _potential(f"{where}.{label}", p) for label, p in value.items()}


def _number(where: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value) or value < 0:
        raise ConfigError(f"{where}: expected a number of eV, found {value!r}.")
    return float(value)


def _hubbard(where: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _scalar(f"{where}.{key}", v) for key, v in value.items()}
    return _number(where, value)


def _scalar(where: str, value: Any) -> Any:
    """Let text, truth values and finite numbers pass: what JSON can hold."""
    if isinstance(value, str | bool | int) or (
        isinstance(value, float) and isfinite(value)
    ):
        return value
    raise ConfigError(
        f"{where}: expected text, a number or a truth value, found {value!r}."
    )


def _potential(where: str, value: Any) -> dict[str, str | None]:
    if isinstance(value, str) and value and value != NONE:
        return {"title": value, "hash": None}
    is_pair = isinstance(value, Mapping) and set(value) <= {"title", "hash"}
    if not is_pair or not all(isinstance(v, str) and v for v in value.values()):
        raise ConfigError(
            f"{where}: expected a title, or {{title = ..., hash = 'md5:...'}}, found "
            f"{value!r}."
        )
    return {"title": value.get("title"), "hash": value.get("hash")}


def _kpoints(where: str, value: Mapping[str, Any]) -> dict[str, Any]:
    for key in value:
        if key not in _KPOINTS:
            raise ConfigError(f"{where}: {unknown_key(key, dict.fromkeys(_KPOINTS))}")
    if ("mesh" in value) == ("spacing" in value) and "count" not in value:
        raise ConfigError(
            f"{where}: expected one of 'mesh' (divisions) and 'spacing' (1/Å, with the "
            f"factor 2 pi), found {dict(value)!r}."
        )
    out: dict[str, Any] = {}
    for key in ("mesh", "shift"):
        if key in value:
            out[key] = _three(f"{where}.{key}", value[key], least=int(key == "mesh"))
    if "spacing" in value:
        spacing = value["spacing"]
        is_number = isinstance(spacing, int | float) and not isinstance(spacing, bool)
        if not is_number or not 0 < spacing < 100:
            raise ConfigError(
                f"{where}.spacing: expected a positive number of 1/Å, found "
                f"{spacing!r}."
            )
        out["spacing"] = float(spacing)
    if "count" in value:
        out["count"] = int(_number(f"{where}.count", value["count"]))
    return out


def _three(where: str, value: Any, *, least: int) -> list[int]:
    is_list = isinstance(value, list) and len(value) == 3
    if not is_list or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= least for n in value
    ):
        raise ConfigError(f"{where}: expected three whole numbers, found {value!r}.")
    return list(value)
