"""Start structures: every variant of every generator, drawn from the seed."""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.errors import ConfigError
from dpbench.explore.sampling import modifiers
from dpbench.explore.sampling.filters import Fault, Sieve
from dpbench.explore.sampling.settings import FilterSettings, SamplingSettings
from dpbench.explore.sampling.sources import Cell, cells_of, made_cell
from dpbench.explore.sampling.structure_settings import StructureSettings
from dpbench.frames import Frames, concatenate
from dpbench.store.formulas import hill_formula
from dpbench.store.workspace import Workspace

MOST_DRAWS = 50
"""Draws of one start structure before its generator counts as unfit."""

OpenWorkspace = Callable[[], Workspace]


@dataclass(frozen=True, kw_only=True, slots=True)
class Starts:
    """What walks start from."""

    frames: Frames
    """Without labels."""
    names: tuple[str, ...]
    """(frame), name of the structure in the configuration."""
    origins: tuple[str, ...]
    """(frame), how it was made."""
    redrawn: int = 0
    """Draws that filters refused, or that were there already, and were made again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variant:
    """One cell of a generator, with what is not random about it."""

    settings: StructureSettings
    number: int
    """Among those of its generator."""
    cell: Cell | None
    """Of a file or dataset; None where it is made."""
    composition: int | None
    """Number of the composition; None = nothing is substituted."""
    scale: float


def start_structures(
    settings: SamplingSettings,
    names: Sequence[str],
    *,
    workspace: OpenWorkspace | None,
    seed: int,
    where: Path,
    count: int | None = None,
    iteration: int = 0,
) -> Starts:
    """Make start structures; the same ones for the same arguments.

    Args:
        settings: Section ``[explore]``.
        names: Of the structures that are wanted.
        workspace: Opens the workspace, for frames of datasets.
        seed: Of everything that is random.
        where: Folder that files are relative to.
        count: How many in all: variants of all names take turns. None = as many of
            each variant as its generator says.
        iteration: Another number draws others.

    Raises:
        DpbenchError: If a generator is wrongly described, its file or dataset cannot
            be read, or its draws do not pass the filters.
    """
    variants: list[_Variant] = []
    for name in dict.fromkeys(names):
        one = settings.structure(name)
        stream = _stream(seed, 0, name, 0)
        variants += _variants(one, workspace=workspace, where=where, rng=stream)
    frames, kept, origins, redrawn = [], [], [], 0
    seen: set[bytes] = set()
    for variant, draw in _turns(variants, count):
        frame, origin, again = _drawn(
            variant,
            draw,
            filters=settings.filters,
            seed=(seed, iteration),
            seen=seen,
        )
        frames.append(frame)
        kept.append(variant.settings.name)
        origins.append(origin)
        redrawn += again
    return Starts(
        frames=concatenate(frames),
        names=tuple(kept),
        origins=tuple(origins),
        redrawn=redrawn,
    )


def _turns(
    variants: Sequence[_Variant], count: int | None
) -> Iterator[tuple[_Variant, int]]:
    """Yield variants with the number of the draw."""
    if count is None:
        for variant in variants:
            for draw in range(variant.settings.count):
                yield variant, draw
        return
    for index in range(count):
        draw, row = divmod(index, len(variants))
        yield variants[row], draw


def _variants(
    settings: StructureSettings,
    *,
    workspace: OpenWorkspace | None,
    where: Path,
    rng: np.random.Generator,
) -> list[_Variant]:
    """List what is not random of a generator: cells, compositions, scales."""
    cells: list[Cell | None] = [None]
    if settings.kind in ("file", "dataset"):
        cells = [*cells_of(settings, workspace=workspace, where=where, rng=rng)]
    wanted = settings.substitute
    compositions: list[int | None] = (
        [None] if wanted is None else [*range(len(wanted.fractions))]
    )
    grid = [
        (cell, composition, scale)
        for cell in cells
        for composition in compositions
        for scale in settings.scale
    ]
    return [
        _Variant(
            settings=settings,
            number=number,
            cell=cell,
            composition=composition,
            scale=scale,
        )
        for number, (cell, composition, scale) in enumerate(grid)
    ]


def _drawn(
    variant: _Variant,
    draw: int,
    *,
    filters: FilterSettings,
    seed: tuple[int, int],
    seen: set[bytes],
) -> tuple[Frames, str, int]:
    """Draw a variant until it passes the filters and, if it can, is a new one.

    Args:
        variant: What is not random.
        draw: Number of the draw.
        filters: What it has to pass.
        seed: Of the exploration, and number of the iteration.
        seen: Content of the starts that are there; the new one is added.

    Returns:
        The frame, how it was made, and how often it was drawn in vain.

    Raises:
        ConfigError: If it never does.
    """
    settings = variant.settings
    refused: list[Fault] = []
    twin: tuple[Frames, str, int] | None = None
    draws = MOST_DRAWS if _is_random(settings) else 1
    for attempt in range(draws):
        rng = _stream(*seed, settings.name, variant.number, draw, attempt)
        frame, origin = _made(variant, rng)
        sieve = Sieve(filters, z=frame.z, pbc=frame.pbc[0])
        coord = np.asarray(frame.coord, np.float64)
        fault = sieve.fault(coord, frame.box[0])
        if fault is not None:
            refused.append(fault)
            continue
        content = b"".join(part.tobytes() for part in (frame.z, coord, frame.box))
        if content not in seen:
            seen.add(content)
            return frame, origin, attempt
        twin = frame, origin, attempt
    if twin is not None:
        return twin  # there are no others; a label is paid for once all the same
    why = Counter(fault.why for fault in refused).most_common(1)[0][0]
    detail = next(fault.detail for fault in refused if fault.why == why)
    raise ConfigError(
        f"structure '{settings.name}' ({origin}): none of {draws} draws passed the "
        f"filter {why} ({detail}). Give a larger cell, less rattle or strain, or "
        "another filter."
    )


def _is_random(settings: StructureSettings) -> bool:
    """Say whether another draw may be another structure."""
    varied = settings.rattle or settings.strain or settings.vacancies
    return bool(varied) or settings.kind == "liquid" or settings.substitute is not None


def _made(variant: _Variant, rng: np.random.Generator) -> tuple[Frames, str]:
    """Make one draw of a variant; say how."""
    settings, wanted = variant.settings, variant.settings.substitute
    share = {}
    if wanted is not None and variant.composition is not None and not wanted.of:
        parts = wanted.composition(variant.composition)
        share = dict(zip(wanted.elements, parts, strict=True))
    cell = variant.cell or made_cell(settings, share, rng)
    frame = modifiers.repeated(
        cell.frame, settings.repeat, where=f"structure '{settings.name}'"
    )
    # A liquid has its elements already, each at the distance that it needs.
    if share and settings.kind == "liquid":
        wanted = None
    if wanted is not None and variant.composition is not None:
        frame = modifiers.substituted(frame, wanted, variant.composition, rng=rng)
    frame = modifiers.stretched(frame, variant.scale)
    frame = modifiers.randomly_strained(frame, settings.strain, rng=rng)
    frame = modifiers.with_vacancies(frame, settings.vacancies, rng=rng)
    frame = modifiers.rattled(frame, settings.rattle, rng=rng)
    return frame, _told(variant, cell, frame)


def _told(variant: _Variant, cell: Cell, frame: Frames) -> str:
    """Word how a start was made."""
    settings = variant.settings
    counts = Counter(frame.z.tolist())
    words = [f"{hill_formula(counts)} from {cell.origin}"]
    if settings.repeat != (1, 1, 1):
        words.append("repeat " + "x".join(map(str, settings.repeat)))
    if variant.scale != 1:
        words.append(f"scale {variant.scale:g}")
    if settings.strain:
        words.append(f"strain {settings.strain:g}")
    if settings.vacancies:
        words.append(f"vacancies {settings.vacancies}")
    if settings.rattle:
        words.append(f"rattle {settings.rattle:g} Å")
    return ", ".join(words)


def _stream(seed: int, iteration: int, name: str, *numbers: int) -> np.random.Generator:
    """Return random numbers of their own for each draw of each structure."""
    return np.random.default_rng([seed, iteration, zlib.crc32(name.encode()), *numbers])
