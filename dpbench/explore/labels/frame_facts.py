"""Facts of a frame that stand in template files as ``{{name}}``."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.errors import ConfigError
from dpbench.frames import Frames

_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def filled(text: str, frame: Frames) -> str:
    """Put the facts of a frame into a template.

    Args:
        text: With ``{{name}}`` for names of ``FACTS``.
        frame: One frame.
    """
    return _PLACE.sub(lambda found: FACTS[found[1]](frame), text)


def check_template(text: str, *, where: str) -> None:
    """Check that a template asks for known facts alone.

    Raises:
        ConfigError: Naming one that is unknown.
    """
    for name in _PLACE.findall(text):
        if name not in FACTS:
            raise ConfigError(
                f"{where}: unknown fact '{{{{{name}}}}}'; expected one of "
                f"{', '.join(FACTS)}. Correct it."
            )


def _rows(values: NDArray[np.floating]) -> str:
    return "\n".join(" ".join(f"{x:.10f}" for x in row) for row in values.tolist())


def _symbols(frame: Frames) -> tuple[str, ...]:
    return symbols_of(frame.z.tolist())


def _positions(frame: Frames) -> str:
    rows = _rows(frame.coord).splitlines()
    pairs = zip(_symbols(frame), rows, strict=True)
    return "\n".join(f"{symbol} {row}" for symbol, row in pairs)


def _fractional(frame: Frames) -> str:
    rows = _rows(frame.coord @ np.linalg.inv(frame.box[0])).splitlines()
    pairs = zip(_symbols(frame), rows, strict=True)
    return "\n".join(f"{symbol} {row}" for symbol, row in pairs)


def _counts(frame: Frames) -> str:
    counts = Counter(_symbols(frame))
    return " ".join(str(counts[symbol]) for symbol in frame.symbols)


FACTS: dict[str, Callable[[Frames], str]] = {
    "natoms": lambda frame: str(len(frame.z)),
    "ntypes": lambda frame: str(len(frame.symbols)),
    "elements": lambda frame: " ".join(frame.symbols),
    "counts": _counts,
    "cell": lambda frame: _rows(frame.box[0]),
    "positions": _positions,
    "fractional": _fractional,
}
"""Facts by name: numbers of atoms and of elements; the elements by atomic number, and
how many atoms each has; three rows of the cell (Å); a row ``symbol x y z`` for each
atom (Å), and the same in parts of the cell."""
