"""Small models of every kind and small structures: what backends are compared on.

Everything is drawn from named seeds, so that the matrix can be made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames, uniform
from dpbench.models.config import (
    DescriptorConfig,
    EnergyFittingConfig,
    HybridConfig,
    ModelConfig,
    PairTableConfig,
    SeAttenConfig,
    SeE2AConfig,
    SeE2RConfig,
)
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics

TYPE_MAP = ("O", "H")

_RCUT = 4.0
_SE_E2_A = SeE2AConfig(
    sel=(40, 80), rcut=_RCUT, rcut_smth=1.0, neuron=(4, 8, 16), axis_neuron=3
)
_SE_E2_R = SeE2RConfig(sel=(40, 80), rcut=_RCUT, rcut_smth=1.0, neuron=(4, 8, 16))
_STRIP = SeAttenConfig(
    sel=(120,),
    rcut=_RCUT,
    rcut_smth=1.0,
    neuron=(4, 8, 16),
    axis_neuron=3,
    tebd_dim=4,
)
_ROUGH = replace(
    _STRIP, type="se_atten", smooth_type_embedding=False, set_davg_zero=True
)

_DESCRIPTORS: Mapping[str, DescriptorConfig] = {
    "se_e2_a": _SE_E2_A,
    "se_e2_a two-sided": replace(_SE_E2_A, type_one_side=False, resnet_dt=True),
    "se_e2_a excluded pair": replace(
        _SE_E2_A, exclude_types=((0, 1),), set_davg_zero=True
    ),
    "se_e2_r": _SE_E2_R,
    "se_e2_r two-sided": replace(_SE_E2_R, type_one_side=False),
    "DPA-1 strip smooth": _STRIP,
    "DPA-1 strip smooth one-sided": replace(_STRIP, type="dpa1", type_one_side=True),
    "DPA-1 strip": _ROUGH,
    "hybrid": HybridConfig(list=(_SE_E2_A, replace(_SE_E2_R, rcut=3.0))),
    "hybrid with DPA-1": HybridConfig(list=(replace(_STRIP, rcut=3.2), _SE_E2_A)),
    "pair table": _SE_E2_A,
    "pair table DPA-1": _STRIP,
    "se_e2_a, widening fitting net": _SE_E2_A,
}

FLOAT32 = ("se_e2_a", "se_e2_r", "DPA-1 strip smooth", "DPA-1 strip")
"""Kinds that are compared in float32 too."""

FEW = (
    "6 atoms, skewed and turned cell",
    "3 atoms, several images of each",
    "one atom, no neighbours",
    "7 atoms, no cell",
)
"""Structures for backends that compile anew, for seconds, with every structure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model to compare."""

    name: str
    """Kind and precision, in words."""
    model: DeepPotential
    """Random but fixed parameters, statistics that differ between types."""


def cases() -> tuple[Case, ...]:
    """Make every model."""
    found = [
        Case(name=f"{kind}, float64", model=_model(kind, "float64"))
        for kind in _DESCRIPTORS
    ]
    found += [
        Case(name=f"{kind}, float32", model=_model(kind, "float32")) for kind in FLOAT32
    ]
    return tuple(found)


def structures() -> dict[str, Frames]:
    """Make every structure; the frames of one share their atoms' types."""
    triclinic = np.array([[6.1, 0.0, 0.0], [0.9, 5.7, 0.0], [-0.4, 0.7, 6.5]])
    skewed = np.array([[5.2, 0.0, 0.0], [2.6, 4.5, 0.0], [2.5, 1.6, 4.1]])
    turned = skewed @ _rotation(np.array([0.3, -1.1, 0.7]))
    wide, small = 30.0 * np.eye(3), np.diag([2.6, 2.9, 3.1])
    far = np.array([[[1.0, 1.0, 1.0], [16.0, 15.0, 14.0]]])
    lone = np.array([[[0.3, -0.2, 0.9]]])
    bulk = _drawn((1, 2), 9, triclinic)
    outside = _drawn((3,), 9, triclinic)
    shift = np.random.default_rng(9).integers(-2, 3, (9, 3)) @ triclinic
    return {
        "9 atoms, triclinic cell": bulk,
        "6 atoms, skewed and turned cell": _drawn((4,), 6, turned),
        "3 atoms, several images of each": _drawn((5, 6), 3, small),
        "24 atoms, wide cell": _drawn((7,), 24, np.diag([7.0, 8.0, 9.0])),
        "atoms outside their cell": _frames(
            outside.z, outside.coord[np.newaxis] + shift, triclinic
        ),
        "one kind of atom": _drawn((8,), 5, triclinic, kinds=(1,)),
        "one atom and its images": _frames([8], lone, small),
        "one atom, no neighbours": _frames([1], lone, wide),
        "two atoms, no neighbours": _frames([8, 1], far, wide),
        "7 atoms, no cell": _drawn((10, 11), 7, None),
        "one atom, no cell": _frames([8], lone, None),
    }


def table() -> NDArray[np.float64]:
    """Return pair potentials that end in zeros: (row, distance and three energies)."""
    r = np.arange(1, round(_RCUT / 0.02) + 2) * 0.02
    fade = np.clip(1 - r / (_RCUT - 0.5), 0, None) ** 3
    return np.stack([r, *(z * np.exp(-r) / r * fade for z in (64, 8, 1))], axis=1)


def _model(kind: str, precision: str) -> DeepPotential:
    has_table = kind.startswith("pair table")
    widths = (10, 10, 20) if kind.endswith("widening fitting net") else (10, 10, 10)
    config = ModelConfig(
        type_map=TYPE_MAP,
        descriptor=_DESCRIPTORS[kind],
        fitting=EnergyFittingConfig(neuron=widths),
        precision="float32" if precision == "float32" else "float64",
        pair_table=PairTableConfig(sw_rmin=0.9, sw_rmax=1.6) if has_table else None,
    )
    return DeepPotential.initialise(config, _statistics(config), 5)


def _statistics(config: ModelConfig) -> ModelStatistics:
    """Make statistics that differ between types and between the parts of a hybrid."""
    davg, dstd = [], []
    for index, part in enumerate(config.descriptor.parts):
        mean = np.zeros((2, 4))
        if not part.set_davg_zero:
            mean[:, 0] = np.array([0.11, 0.07]) * (1 + index)
        deviation = np.array([[0.14, 0.09, 0.09, 0.09], [0.12, 0.08, 0.08, 0.08]])
        deviation *= 1 - 0.3 * index
        if part.type == "se_e2_r":
            deviation[:, 1:] = 1
        davg.append(mean)
        dstd.append(deviation)
    is_hybrid = config.descriptor.type == "hybrid"
    return ModelStatistics(
        davg=np.stack(davg) if is_hybrid else davg[0],
        dstd=np.stack(dstd) if is_hybrid else dstd[0],
        energy_bias=np.array([-3.0, -1.0]),
        pair_table=None if config.pair_table is None else table(),
    )


def _drawn(
    seeds: tuple[int, ...],
    natoms: int,
    box: NDArray[np.float64] | None,
    *,
    kinds: tuple[int, ...] = (8, 1, 1),
) -> Frames:
    """Draw frames whose atoms are at least 0.9 Å apart inside the cell."""
    cell = 5.0 * np.eye(3) if box is None else box
    drawn = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        coord: list[NDArray[np.float64]] = []
        while len(coord) < natoms:
            trial = rng.random(3) @ cell
            if all(np.linalg.norm(trial - other) > 0.9 for other in coord):
                coord.append(trial)
        drawn.append(coord)
    z = [kinds[index % len(kinds)] for index in range(natoms)]
    return _frames(z, np.array(drawn), box)


def _frames(
    z: NDArray[np.integer] | list[int],
    coord: NDArray[np.float64],
    box: NDArray[np.float64] | None,
) -> Frames:
    boxes = None if box is None else np.repeat(box[np.newaxis], len(coord), axis=0)
    return uniform(z=z, coord=coord, box=boxes)


def _rotation(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation about a vector by its length."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    )
    return turned
