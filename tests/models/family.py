"""A small model of every kind of the family."""

from dataclasses import replace

import numpy as np

from dpbench.models.config import (
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
from tests.models import structures

SHAPE = {"rcut": 4.0, "rcut_smth": 1.0, "neuron": (4, 8, 16)}
SE_E2_A = SeE2AConfig(sel=(40, 80), axis_neuron=3, **SHAPE)
SE_E2_R = SeE2RConfig(sel=(40, 80), **SHAPE)
STRIP = SeAttenConfig(sel=(120,), axis_neuron=3, tebd_dim=4, **SHAPE)
ROUGH = replace(STRIP, type="se_atten", smooth_type_embedding=False, set_davg_zero=True)

DESCRIPTORS = {
    "radial": SE_E2_R,
    "radial_excluded": replace(SE_E2_R, exclude_types=((0, 1),), set_davg_zero=True),
    "strip": STRIP,
    "strip_one_side": replace(
        STRIP, type="dpa1", type_one_side=True, concat_output_tebd=False
    ),
    # As many components as types: the type embedding has a shortcut then.
    "strip_biased": replace(STRIP, tebd_dim=2, use_tebd_bias=True, resnet_dt=True),
    "strip_rough": ROUGH,
    "strip_excluded": replace(STRIP, exclude_types=((1, 1),), set_davg_zero=True),
    "hybrid": HybridConfig(list=(SE_E2_A, replace(SE_E2_R, rcut=3.0))),
    "hybrid_mixed": HybridConfig(list=(replace(STRIP, rcut=3.2), SE_E2_A)),
}
"""Descriptors beside plain se_e2_a."""

_NOT_THERE = ("radial_pairs", "pair_table")
"""Kinds that DeePMD-kit does not have in its PyTorch backend."""

FAMILY = (
    *DESCRIPTORS,
    *_NOT_THERE,
    "pair_table_strip",
    "frame_numbers",
    "atom_numbers",
)
"""Names of the models that ``model`` makes."""

PEER_KINDS = tuple(name for name in FAMILY if name not in _NOT_THERE)
"""Those that DeePMD-kit has in its PyTorch backend."""


def config(kind: str) -> ModelConfig:
    """Return the configuration of a kind."""
    descriptor = DESCRIPTORS.get(kind, SE_E2_A)
    has_table = kind.startswith("pair_table")
    if kind in ("pair_table_strip", "strip_atom_numbers"):
        descriptor = STRIP
    fitting = EnergyFittingConfig(neuron=(10, 10, 20))
    if kind == "radial_pairs":
        descriptor = replace(SE_E2_R, type_one_side=False)
    if kind == "frame_numbers":
        fitting = replace(fitting, numb_fparam=2, default_fparam=(0.3, 310.0))
    if kind in ("atom_numbers", "strip_atom_numbers"):
        fitting = replace(fitting, numb_aparam=1)
    return ModelConfig(
        type_map=("O", "H"),
        descriptor=descriptor,
        fitting=fitting,
        pair_table=PairTableConfig(sw_rmin=0.9, sw_rmax=1.6) if has_table else None,
    )


def table(rcut: float = 4.0) -> np.ndarray:
    """Three pair potentials of H and O that end in zeros."""
    r = np.arange(1, round(rcut / 0.02) + 2) * 0.02
    fade = np.clip(1 - r / (rcut - 0.5), 0, None) ** 3
    return np.stack([r, *(z * np.exp(-r) / r * fade for z in (64, 8, 1))], axis=1)


def statistics(cfg: ModelConfig) -> ModelStatistics:
    """Statistics that differ between types and between the parts of a hybrid."""
    plain = structures.statistics()
    davg, dstd = [], []
    for index, part in enumerate(cfg.descriptor.parts):
        davg.append((plain.davg * (1 + index)) * (not part.set_davg_zero))
        dstd.append(plain.dstd * (1 - 0.3 * index))
        if part.type == "se_e2_r":
            dstd[-1][:, 1:] = 1
    is_hybrid = cfg.descriptor.type == "hybrid"
    numbers = np.array([[0.2, 300.0], [0.1, 50.0]])
    return replace(
        plain,
        davg=np.stack(davg) if is_hybrid else davg[0],
        dstd=np.stack(dstd) if is_hybrid else dstd[0],
        fparam=numbers if cfg.fitting.numb_fparam else None,
        aparam=np.array([[0.4], [0.2]]) if cfg.fitting.numb_aparam else None,
        pair_table=table(cfg.descriptor.rcut) if cfg.pair_table else None,
    )


def model(kind: str, seed: int = 5) -> DeepPotential:
    """Make a model of a kind."""
    cfg = config(kind)
    return DeepPotential.initialise(cfg, statistics(cfg), seed)
