"""One entry of ``[[explore.structures]]``: where cells come from, and variations."""

import math
from dataclasses import dataclass
from typing import Literal

from dpbench.errors import ConfigError

Kind = Literal["prototype", "file", "dataset", "slab", "liquid"]

MEANING: dict[str, tuple[Kind, ...]] = {
    "prototype": ("prototype", "slab"),
    "elements": ("prototype", "slab", "liquid"),
    "lattice": ("prototype", "slab"),
    "ratio": ("prototype", "slab"),
    "volume": ("prototype", "slab", "liquid"),
    "volumes": ("prototype", "slab", "liquid"),
    "files": ("file",),
    "dataset": ("dataset",),
    "most": ("file", "dataset"),
    "miller": ("slab",),
    "layers": ("slab",),
    "vacuum": ("slab",),
    "natoms": ("liquid",),
    "molecules": ("liquid",),
    "density": ("liquid",),
    "spacing": ("liquid",),
}
"""Kinds that a key means something to; keys that are not here serve all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Substitute:
    """Elements put at random on the sites: one variant for each composition."""

    elements: tuple[str, ...]
    """Which ones."""
    fractions: tuple[float | tuple[float, ...], ...]
    """Compositions: the fraction of each element, or of two elements that of the
    second."""
    of: str = ""
    """Only sites of this element; "" = all sites."""

    def __post_init__(self) -> None:
        """Check that fractions fit the elements."""
        if len(self.elements) < 2 or len(set(self.elements)) < len(self.elements):
            raise ConfigError(
                f"elements = {list(self.elements)}; expected two different ones or "
                "more."
            )
        if not self.fractions:
            raise ConfigError("fractions: there is none; expected one at least.")
        for number in range(len(self.fractions)):
            self.composition(number)

    def composition(self, number: int) -> tuple[float, ...]:
        """Return the fractions of all elements in one composition.

        Raises:
            ConfigError: If they are none.
        """
        given = self.fractions[number]
        if not isinstance(given, tuple):
            if len(self.elements) != 2:
                raise ConfigError(
                    f"fractions = {given}: one number serves two elements alone; "
                    f"expected a list of {len(self.elements)} for each composition."
                )
            given = (1 - given, given)
        is_sound = all(0 <= part <= 1 for part in given) and math.isclose(
            sum(given), 1, abs_tol=1e-3
        )
        if len(given) != len(self.elements) or not is_sound:
            raise ConfigError(
                f"fractions = {list(given)}; expected {len(self.elements)} numbers "
                "from 0 to 1 whose sum is 1."
            )
        return given


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureSettings:
    """A generator of cells with what is varied, in this order.

    Cells of the kind, ``repeat``, ``substitute``, ``scale``, ``strain``,
    ``vacancies``, ``rattle``.
    """

    name: str
    """What stages call it."""
    kind: Kind
    """prototype: an ideal crystal; file: structure files; dataset: frames of a
    dataset; slab: a surface of a crystal; liquid: atoms or molecules at random."""
    count: int = 1
    """Random draws of each variant."""

    prototype: str = ""
    """Name of the crystal, such as fcc, hcp, B2 or rocksalt; "" = ``name``."""
    elements: tuple[str, ...] = ()
    """One for each sublattice; none: the first of ``substitute``."""
    lattice: float | None = None
    """Lattice constant a, Å; or give ``volume`` or ``volumes``."""
    ratio: float | None = None
    """c/a of crystals that have one."""
    volume: float | None = None
    """Å^3 per atom."""
    volumes: dict[str, float] | None = None
    """Å^3 per atom of each element; compositions have the mean (Vegard's rule). None:
    that of the elements as they are at room temperature."""
    files: tuple[str, ...] = ()
    """Structure files that ASE reads, with @INDEX for one frame; relative to the
    configuration."""
    dataset: str = ""
    """Dataset, such as water-v2."""
    most: int | None = None
    """Frames drawn from files or dataset; None = all of them."""
    miller: tuple[int, int, int] = (1, 1, 1)
    """Of the surface."""
    layers: int = 3
    """Of the slab, in repeats of the surface's cell."""
    vacuum: float = 10.0
    """Å between the slab and its image."""
    natoms: int | None = None
    """Of the liquid."""
    molecules: dict[str, int] | None = None
    """Of the liquid, instead of atoms: formula (ASE's name) -> how many."""
    density: float | None = None
    """Of the liquid, g/cm^3, instead of a volume."""
    spacing: float = 0.75
    """Least distance in the liquid, in units of the covalent radii's sum; to atoms of
    other molecules each is 0.8 Å larger."""

    repeat: tuple[int, int, int] = (1, 1, 1)
    """Copies along the cell vectors."""
    substitute: Substitute | None = None
    """Elements at random on the sites."""
    scale: tuple[float, ...] = (1.0,)
    """Factors of all lengths; one variant each."""
    strain: float = 0.0
    """Width of a random symmetric strain."""
    vacancies: int = 0
    """Atoms taken away at random."""
    rattle: float = 0.0
    """Å, width of random displacements."""

    def __post_init__(self) -> None:
        """Check numbers, and that keys serve the kind."""
        if not self.name or any(c in self.name for c in "/ \\"):
            raise ConfigError(
                f"name = '{self.name}'; expected a word without spaces and slashes."
            )
        for key, kinds in MEANING.items():
            default = type(self).__dataclass_fields__[key].default
            if self.kind not in kinds and getattr(self, key) != default:
                raise ConfigError(
                    f"{key}: means nothing to kind '{self.kind}' of '{self.name}'; "
                    f"expected kind {' or '.join(kinds)}. Leave it out."
                )
        self._check_numbers()
        self._check_kind()

    def _check_numbers(self) -> None:
        for name in ("count", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 1 or more."
                )
        if min(self.repeat) < 1:
            raise ConfigError(f"repeat = {list(self.repeat)}; expected 1 or more each.")
        if not self.scale or not all(0 < s < math.inf for s in self.scale):
            raise ConfigError(f"scale = {list(self.scale)}; expected positive numbers.")
        for name in ("strain", "rattle", "vacancies", "vacuum"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 0 or more."
                )
        for name in ("lattice", "ratio", "volume", "density", "spacing", "natoms"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} = {value}; expected a positive number.")
        sizes = [
            name
            for name in ("lattice", "volume", "volumes", "density")
            if getattr(self, name) is not None
        ]
        if len(sizes) > 1:
            raise ConfigError(
                f"{' and '.join(sizes)}: both tell the size of the cell; expected one "
                "of them."
            )
        if self.miller == (0, 0, 0):
            raise ConfigError("miller = [0, 0, 0]; expected one that is not 0.")

    def _check_kind(self) -> None:
        """Check that the kind has what it needs."""
        if self.kind == "file" and not self.files:
            raise ConfigError(f"'{self.name}': kind 'file' needs files. Name them.")
        if self.kind == "dataset" and not self.dataset:
            raise ConfigError(f"'{self.name}': kind 'dataset' needs dataset. Name it.")
        if self.kind == "liquid" and (self.natoms is None) == (self.molecules is None):
            raise ConfigError(
                f"'{self.name}': kind 'liquid' needs natoms or molecules; expected "
                "one of them."
            )
        if self.kind == "liquid" and self.substitute is not None and self.substitute.of:
            raise ConfigError(
                f"'{self.name}': substitute.of = '{self.substitute.of}'; a liquid has "
                "no sites to choose from. Leave it out."
            )
        if self.molecules is not None and self.substitute is not None:
            raise ConfigError(
                f"'{self.name}': substitute has no sites in molecules; expected one "
                "of them."
            )

    @property
    def sites(self) -> tuple[str, ...]:
        """Elements of the sublattices before anything is substituted."""
        if self.elements or self.substitute is None:
            return self.elements
        return self.substitute.elements[:1]
