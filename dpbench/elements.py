"""Chemical symbols and atomic numbers."""

from collections.abc import Iterable
from difflib import get_close_matches

from dpbench.errors import SourceError

_PERIODIC_TABLE = """
    X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni
    Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe
    Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg
    Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg
    Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS: tuple[str, ...] = tuple(_PERIODIC_TABLE.split())
"""Symbols by atomic number; index 0, ``X``, is no element."""

_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}


def atomic_numbers(symbols: Iterable[str], *, where: str) -> tuple[int, ...]:
    """Turn element symbols into atomic numbers.

    Args:
        symbols: Names as a file prints them, e.g. ``("O", "H")``.
        where: File (and field) that holds them, for the error.

    Returns:
        One atomic number per symbol.

    Raises:
        SourceError: If a name is not an element; nothing is guessed.
    """
    numbers = []
    for symbol in symbols:
        if symbol not in _NUMBERS:
            near = get_close_matches(symbol, _NUMBERS, n=1)
            hint = f" -- did you mean '{near[0]}'?" if near else "."
            raise SourceError(
                f"{where}: unknown element '{symbol}'; expected a chemical symbol "
                f"such as 'H' or 'Si'{hint} Rename it in the source."
            )
        numbers.append(_NUMBERS[symbol])
    return tuple(numbers)


def symbols_of(numbers: Iterable[int]) -> tuple[str, ...]:
    """Return the symbols of atomic numbers between 1 and 118."""
    return tuple(SYMBOLS[z] for z in numbers)
