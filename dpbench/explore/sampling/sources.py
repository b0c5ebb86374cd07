"""Cells that a generator starts from: crystals, files, datasets, slabs, liquids."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.elements import atomic_numbers
from dpbench.errors import ConfigError, SimulationError
from dpbench.explore.sampling.liquids import (
    atoms_at_random,
    cube_edge,
    molecules_at_random,
)
from dpbench.explore.sampling.modifiers import by_element, whole_counts
from dpbench.explore.sampling.prototypes import crystal, fractions_of, mixed_volume
from dpbench.explore.sampling.slabs import slab
from dpbench.explore.sampling.structure_settings import StructureSettings
from dpbench.frames import Frames, uniform
from dpbench.md.state import Structure
from dpbench.md.structures import read_structure
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

ALLOYS = ("L1_0", "L1_2", "B2", "cscl")
"""Ordered prototypes whose volume is that of their elements, near enough to start."""

MOST_OF_A_DATASET = 100
"""Frames that a dataset gives where ``most`` is not set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell before it is varied."""

    frame: Frames
    """One frame, without labels."""
    origin: str
    """Where it comes from."""


def cells_of(
    settings: StructureSettings,
    *,
    workspace: Callable[[], Workspace] | None,
    where: Path,
    rng: np.random.Generator,
) -> list[Cell]:
    """Return the cells of kind file or dataset; they are the same for all variants.

    Args:
        settings: The generator.
        workspace: Opens the workspace.
        where: Folder that files are relative to.
        rng: Draws which frames of a dataset.

    Raises:
        DpbenchError: If a file or dataset cannot be read.
    """
    cells = (
        _of_dataset(settings, workspace, rng)
        if settings.kind == "dataset"
        else [_of_file(name, where) for name in settings.files]
    )
    if settings.most is not None and len(cells) > settings.most:
        drawn = np.sort(rng.permutation(len(cells))[: settings.most])
        cells = [cells[index] for index in drawn.tolist()]
    return cells


def made_cell(
    settings: StructureSettings, composition: dict[str, float], rng: np.random.Generator
) -> Cell:
    """Make the cell of kind prototype, slab or liquid.

    Args:
        settings: The generator.
        composition: Element -> fraction that the atoms will have; empty = as the
            sublattices say.
        rng: Draws the places of a liquid.

    Raises:
        ConfigError: If the settings make no cell.
    """
    if settings.kind == "liquid":
        return _liquid(settings, composition, rng)
    name = settings.prototype or settings.name
    elements = settings.sites
    volume = settings.volume
    if volume is None and settings.lattice is None:
        share = composition or _as_built(name, elements, settings.volumes)
        volume = mixed_volume(share, settings.volumes)
    frame = crystal(
        name, elements, volume=volume, lattice=settings.lattice, ratio=settings.ratio
    )
    if settings.kind == "prototype":
        return Cell(frame=frame, origin=name)
    cut = slab(
        frame,
        miller=settings.miller,
        layers=settings.layers,
        vacuum=settings.vacuum,
    )
    indices = "".join(map(str, settings.miller))
    return Cell(frame=cut, origin=f"{name} ({indices}), {settings.layers} layers")


def _as_built(
    name: str, elements: tuple[str, ...], volumes: dict[str, float] | None
) -> dict[str, float]:
    """Composition of a crystal as its sublattices say."""
    z = crystal(name, elements, volume=1.0).z
    # The mean of elements says nothing of a compound such as NaCl.
    if len(elements) > 1 and volumes is None and name not in ALLOYS:
        raise ConfigError(
            f"prototype {name} of {', '.join(elements)}: has no size; expected "
            "lattice, volume or volumes. Give one of them."
        )
    return fractions_of(z)


def _liquid(
    settings: StructureSettings, composition: dict[str, float], rng: np.random.Generator
) -> Cell:
    if settings.molecules is not None:
        frame = molecules_at_random(
            settings.molecules,
            size={"volume": settings.volume, "density": settings.density},
            spacing=settings.spacing,
            rng=rng,
        )
        words = ", ".join(f"{n} {name}" for name, n in settings.molecules.items())
        return Cell(frame=frame, origin=f"liquid of {words}")
    if settings.natoms is None or not (composition or len(settings.elements) == 1):
        raise ConfigError(
            f"'{settings.name}': a liquid of atoms needs one of elements, or "
            "substitute. Give one of them."
        )
    share = composition or {settings.elements[0]: 1.0}
    volume = settings.volume
    if volume is None and settings.density is not None:
        volume = _volume_at(share, settings.density)
    if volume is None:
        volume = mixed_volume(share, settings.volumes)
    numbers = atomic_numbers(share, where=f"'{settings.name}'")
    counts = whole_counts(tuple(share.values()), settings.natoms)
    z = np.repeat(np.array(numbers), counts)
    frame = atoms_at_random(z, volume=volume, spacing=settings.spacing, rng=rng)
    origin = f"liquid of {settings.natoms} atoms"
    return Cell(frame=by_element(frame), origin=origin)


def _volume_at(composition: dict[str, float], density: float) -> float:
    """Return Å^3 per atom of a composition at a density, g/cm^3."""
    z = np.array(atomic_numbers(composition, where="elements"))
    edges = [cube_edge(z[[i]], volume=None, density=density) for i in range(len(z))]
    parts = zip(composition.values(), edges, strict=True)
    return sum(part * edge**3 for part, edge in parts)


def _of_file(name: str, where: Path) -> Cell:
    path, at, index = name.partition("@")
    try:
        structure = read_structure(f"{where / path}{at}{index}")
    except SimulationError as error:
        raise ConfigError(f"files: {error}") from error
    return Cell(frame=frame_of(structure), origin=name)


def frame_of(structure: Structure) -> Frames:
    """Turn a structure into one frame without labels.

    Raises:
        ConfigError: If it is periodic in some directions only.
    """
    if structure.pbc.any() and not structure.pbc.all():
        raise ConfigError(
            f"{structure.where}: is periodic in some directions only; expected all, "
            "with vacuum, or none. Correct the file."
        )
    box = structure.box[None] if structure.pbc.all() else None
    return uniform(z=structure.z, coord=structure.coord[None], box=box)


def _of_dataset(
    settings: StructureSettings,
    workspace: Callable[[], Workspace] | None,
    rng: np.random.Generator,
) -> list[Cell]:
    if workspace is None:
        raise ConfigError(
            f"'{settings.name}': dataset = '{settings.dataset}', but there is no "
            "workspace. Name one with --workspace."
        )
    version = open_dataset(workspace(), settings.dataset)
    count = len(version.natoms)
    most = min(settings.most or MOST_OF_A_DATASET, count)
    indices = np.sort(rng.permutation(count)[:most])
    frames = version.read(indices)
    cells = []
    for row, index in enumerate(indices.tolist()):
        one = frames.select([row])
        box = one.box if one.pbc.all() else None
        cells.append(
            Cell(
                frame=uniform(z=one.z, coord=one.coord[None], box=box),
                origin=f"{settings.dataset}:{index}",
            )
        )
    return cells
