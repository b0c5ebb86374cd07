"""Hill formulas: the names of compositions."""

import re
from collections.abc import Mapping

from dpbench.elements import SYMBOLS, symbols_of

_TERM = re.compile(r"([A-Z][a-z]?)(\d*)")


def hill_formula(counts: Mapping[int, int]) -> str:
    """Write a composition, {atomic number: count}, in Hill's order: C, H, then A-Z."""
    numbers = [z for z, count in counts.items() if count]
    by_symbol = dict(
        zip(symbols_of(numbers), (counts[z] for z in numbers), strict=True)
    )
    leading = ["C", "H"] if "C" in by_symbol else []
    order = [symbol for symbol in leading if symbol in by_symbol]
    order += sorted(symbol for symbol in by_symbol if symbol not in order)
    return "".join(f"{s}{by_symbol[s] if by_symbol[s] > 1 else ''}" for s in order)


def counts_of(formula: str) -> dict[int, int]:
    """Read a Hill formula back: {atomic number: count}."""
    return {
        SYMBOLS.index(symbol): int(count or 1)
        for symbol, count in _TERM.findall(formula)
    }


def elements_of(formula: str) -> tuple[int, ...]:
    """Return the atomic numbers that a formula names."""
    return tuple(counts_of(formula))
