"""Ideal crystals: sites of the usual structures, and how large their cells are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS, atomic_numbers
from dpbench.errors import ConfigError
from dpbench.frames import Frames, uniform

_IDEAL = (8 / 3) ** 0.5
"""c/a of touching spheres in layers."""

_FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_BCC = ((0, 0, 0), (0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prototype:
    """Sites of a crystal in a cell with right angles."""

    sublattices: str
    """Letter of each site's sublattice, such as ``AAAB``."""
    places: tuple[tuple[float, float, float], ...]
    """Of each site, in units of the cell vectors."""
    edges: tuple[float, float] = (1.0, 1.0)
    """b/a and c/a."""
    has_ratio: bool = False
    """Whether c/a may be another."""


def _shifted(
    places: Sequence[tuple[float, float, float]], by: tuple[float, float, float]
) -> tuple[tuple[float, float, float], ...]:
    return tuple((x + by[0], y + by[1], z + by[2]) for x, y, z in places)


_DIAMOND = (*_FCC, *_shifted(_FCC, (0.25, 0.25, 0.25)))
_ROCKSALT = (*_FCC, *_shifted(_FCC, (0.5, 0.5, 0.5)))
_FLUORITE = (
    *_DIAMOND,
    *_shifted(_FCC, (0.75, 0.75, 0.75)),
)
_HCP = ((0, 0, 0), (0.5, 0.5, 0), (0.5, 1 / 6, 0.5), (0, 2 / 3, 0.5))
_A15 = (
    *_BCC,
    (0.25, 0, 0.5),
    (0.75, 0, 0.5),
    (0.5, 0.25, 0),
    (0.5, 0.75, 0),
    (0, 0.5, 0.25),
    (0, 0.5, 0.75),
)
_CUBIC_PEROVSKITE = (*_BCC, (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
# Two layers of hcp with their tetrahedral sites three eighths of c above.
_WURTZITE = (*_HCP, *_shifted(_HCP, (0, 0, 0.375)))

PROTOTYPES: dict[str, Prototype] = {
    "sc": Prototype(sublattices="A", places=((0, 0, 0),)),
    "fcc": Prototype(sublattices="AAAA", places=_FCC),
    "bcc": Prototype(sublattices="AA", places=_BCC),
    "hcp": Prototype(
        sublattices="AAAA", places=_HCP, edges=(3**0.5, _IDEAL), has_ratio=True
    ),
    "diamond": Prototype(sublattices="A" * 8, places=_DIAMOND),
    "A15": Prototype(sublattices="A" * 8, places=_A15),
    "L1_0": Prototype(sublattices="ABBA", places=_FCC, has_ratio=True),
    "L1_2": Prototype(sublattices="BAAA", places=_FCC),
    "B1": Prototype(sublattices="AAAABBBB", places=_ROCKSALT),
    "B2": Prototype(sublattices="AB", places=_BCC),
    "B3": Prototype(sublattices="AAAABBBB", places=_DIAMOND),
    "B4": Prototype(
        sublattices="AAAABBBB",
        places=_WURTZITE,
        edges=(3**0.5, _IDEAL),
        has_ratio=True,
    ),
    "C1": Prototype(sublattices="AAAABBBBBBBB", places=_FLUORITE),
    "E2_1": Prototype(sublattices="ABCCC", places=_CUBIC_PEROVSKITE),
}
"""Strukturbericht names, and the usual ones of elements; ``L1_2`` is A3B with B at the
corners, ``E2_1`` ABC3."""

OTHER_NAMES = {
    "A1": "fcc",
    "A2": "bcc",
    "A3": "hcp",
    "A4": "diamond",
    "Ah": "sc",
    "rocksalt": "B1",
    "cscl": "B2",
    "zincblende": "B3",
    "wurtzite": "B4",
    "fluorite": "C1",
    "perovskite": "E2_1",
}
"""Other names of the same."""


def prototype_named(name: str) -> Prototype:
    """Return the sites of a crystal.

    Raises:
        ConfigError: If the name is unknown.
    """
    found = PROTOTYPES.get(OTHER_NAMES.get(name, name))
    if found is None:
        known = ", ".join([*PROTOTYPES, *OTHER_NAMES])
        raise ConfigError(
            f"prototype = '{name}': is unknown; known: {known}. Give one of them, or a "
            "structure file with kind = 'file'."
        )
    return found


def crystal(
    name: str,
    elements: tuple[str, ...],
    *,
    volume: float | None = None,
    lattice: float | None = None,
    ratio: float | None = None,
) -> Frames:
    """Build the cell of an ideal crystal, without labels.

    Args:
        name: Of the prototype.
        elements: One for each sublattice.
        volume: Å^3 per atom; of no meaning with ``lattice``.
        lattice: a, Å.
        ratio: c/a, where the crystal has one.

    Raises:
        ConfigError: If these do not fit the prototype.
    """
    found = prototype_named(name)
    letters = sorted(set(found.sublattices))
    if len(elements) != len(letters):
        raise ConfigError(
            f"prototype {name}: has {len(letters)} sublattices, but elements are "
            f"{list(elements)}. Give one element for each."
        )
    if ratio is not None and not found.has_ratio:
        raise ConfigError(f"ratio = {ratio}: prototype {name} has none. Leave it out.")
    shape = np.array([1.0, *found.edges])
    if ratio is not None:
        shape[2] = ratio
    of = dict(zip(letters, elements, strict=True))
    symbols = tuple(of[letter] for letter in found.sublattices)
    if lattice is None:
        if volume is None:
            raise ConfigError(
                f"prototype {name}: has no size; expected lattice, volume or volumes. "
                "Give one of them."
            )
        lattice = (volume * len(symbols) / float(shape.prod())) ** (1 / 3)
    box = np.diag(lattice * shape)
    return uniform(
        z=atomic_numbers(symbols, where=f"prototype {name}"),
        coord=(np.array(found.places, dtype=np.float64) @ box)[None],
        box=box[None],
    )


def element_volume(symbol: str) -> float:
    """Return the volume per atom of an element at room temperature, Å^3.

    Raises:
        ConfigError: If its crystal is none of the simple ones.

    Source:
        ``ase.data.reference_states``: lattice constants of the elements.
    """
    from ase.data import reference_states

    state: Any = reference_states[SYMBOLS.index(symbol)]
    kind = "" if state is None else str(state.get("symmetry"))
    atoms = {"sc": 1, "fcc": 4, "bcc": 2, "diamond": 8}.get(kind)
    if atoms is not None:
        return float(state["a"]) ** 3 / atoms
    if kind == "hcp":
        return float(state["a"]) ** 3 * float(state["c/a"]) * 3**0.5 / 4
    raise ConfigError(
        f"{symbol}: the volume of an atom is not known ({kind or 'no crystal'}); "
        "expected volume, volumes or lattice. Give one of them."
    )


def mixed_volume(
    composition: Mapping[str, float], volumes: Mapping[str, float] | None
) -> float:
    """Return the mean volume per atom of a composition, Å^3: Vegard's rule.

    Args:
        composition: Element -> fraction.
        volumes: Element -> Å^3 per atom; None = those of the elements.

    Raises:
        ConfigError: If the volume of an element is not known.
    """
    total = 0.0
    for symbol, part in composition.items():
        if part == 0:
            continue
        if volumes is None:
            total += part * element_volume(symbol)
            continue
        if symbol not in volumes:
            raise ConfigError(
                f"volumes: has no {symbol}, only {', '.join(volumes)}. Add it."
            )
        total += part * volumes[symbol]
    return total


def fractions_of(z: NDArray[np.integer]) -> dict[str, float]:
    """Return the fraction of each element among atoms (atom)."""
    numbers, counts = np.unique(z, return_counts=True)
    return {
        SYMBOLS[int(number)]: float(count) / len(z)
        for number, count in zip(numbers, counts, strict=True)
    }
