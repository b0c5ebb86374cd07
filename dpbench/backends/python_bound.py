"""Bounds on the version of Python, such as ``>=3.10,<3.14``."""

import re

from dpbench.errors import ConfigError

CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*(\d+)\.(\d+)")
"""One clause; versions have two numbers, as the names of interpreters do."""

Version = tuple[int, int]


def check_bound(bound: str, *, where: str) -> None:
    """Refuse what is no bound; ConfigError that shows one."""
    for clause in bound.split(","):
        if not CLAUSE.fullmatch(clause.strip()):
            raise ConfigError(
                f"{where} = {bound!r}; expected clauses such as '>=3.10,<3.14'."
            )


def satisfies(version: Version, bound: str) -> bool:
    """Tell whether a version of Python, e.g. ``(3, 11)``, is within the bound."""
    return all(_holds(version, clause.strip()) for clause in bound.split(","))


def _holds(version: Version, clause: str) -> bool:
    match = CLAUSE.fullmatch(clause)
    if match is None:
        raise ConfigError(f"{clause!r} is no bound on Python, e.g. '>=3.10'.")
    sign, limit = match[1], (int(match[2]), int(match[3]))
    return {
        ">=": version >= limit,
        "<=": version <= limit,
        "==": version == limit,
        "!=": version != limit,
        "<": version < limit,
        ">": version > limit,
    }[sign]
