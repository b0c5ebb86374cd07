"""Every kind of model against DeePMD-kit, which runs in an environment of its own."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpbench.frames import Frames, concatenate
from dpbench.models.deepmd_dict import model_to_dict
from dpbench.models.deepmd_file import read_deepmd, write_deepmd
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import (
    ModelStatistics,
    descriptor_statistics,
    energy_normal,
    environment_moments,
    number_moments,
)
from dpbench.train.engine import Prefactors, losses_and_gradients
from dpbench.train.optimisers.adam import Adam
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.schedule import LearningRateConfig, LossConfig, Schedule
from tests.models import family
from tests.models.structures import batch_of, neighbours_of, water
from tests.train import test_deepmd_parity as parity

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

PEER = Path(__file__).with_name("deepmd_family_peer.py")
FORCE, ENERGY = 1e-10, 1e-10


def frames_of(count: int) -> Frames:
    return concatenate([water(seed) for seed in range(count)])


def numbers(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the frames and of their atoms."""
    rng = np.random.default_rng(8)
    fparam = rng.normal([0.2, 300.0], [0.1, 40.0], (frames.nframes, 2))
    return fparam, (np.sqrt(frames.z.astype(np.float64)) / 5)[:, np.newaxis]


def write_frames(folder: Path, frames: Frames) -> None:
    count = frames.nframes
    fparam, aparam = numbers(frames)
    np.savez(
        folder / "frames.npz",
        coord=frames.coord.reshape(count, -1),
        box=frames.box.reshape(count, 9),
        atype=np.where(frames.z == 8, 0, 1)[: len(frames.z) // count],
        energy=frames.energy,
        fparam=fparam,
        aparam=aparam.reshape(count, -1),
    )


def ask(python: str, task: str, folder: Path) -> None:
    done = subprocess.run(
        [python, str(PEER), task, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "DP_INTERFACE_PREC": "high"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def predicted(frames: Frames, potential):
    batch = batch_of(frames, potential)
    if potential.config.fitting.numb_fparam:
        batch = replace(batch, fparam=torch.from_numpy(numbers(frames)[0]))
    return potential.energy_and_forces(batch)


def assert_same(ours, theirs) -> None:
    energy = ours.energy.numpy()
    allowed = 1e-12 * np.abs(energy) + ENERGY
    assert (np.abs(energy - theirs["energy"].ravel()) <= allowed).all()
    np.testing.assert_allclose(ours.force, theirs["force"].reshape(-1, 3), 0, FORCE)
    virial = theirs["virial"].reshape(-1, 3, 3)
    tolerance = 1e-10 * (np.abs(virial).max() + 1)
    np.testing.assert_allclose(ours.virial, virial, 0, tolerance)


def test_predictions_are_those_of_deeppot_and_files_go_both_ways(
    deepmd_python, tmp_path
):
    frames = frames_of(3)
    write_frames(tmp_path, frames)
    for kind in family.PEER_KINDS:
        write_deepmd(tmp_path / f"{kind}.dp", family.model(kind))
    ask(deepmd_python, "predict", tmp_path)
    for kind in family.PEER_KINDS:
        potential = family.model(kind)
        theirs = np.load(tmp_path / f"{kind}.npz")
        assert_same(predicted(frames, potential), theirs)
        if kind.startswith("pair_table"):
            continue
        back = read_deepmd(tmp_path / f"{kind}.back.dp")
        assert torch.equal(back.parameters.flat, potential.parameters.flat), kind
        assert_same(predicted(frames, back), theirs)


def scripts() -> dict[str, dict]:
    """Sections ``model`` of an input.json, one per kind."""
    found = {}
    for kind in family.PEER_KINDS:
        script = model_to_dict(family.model(kind))["model_def_script"]
        if kind.startswith("pair_table"):
            script["use_srtab"] = "zbl.txt"
        found[kind] = script
    return found


def test_models_that_deepmd_kit_made_are_read_and_have_our_statistics(
    deepmd_python, tmp_path
):
    frames = frames_of(6)
    write_frames(tmp_path, frames)
    np.savetxt(tmp_path / "zbl.txt", family.table(), fmt="%.18e")
    for kind, script in scripts().items():
        if "use_srtab" in script:
            script["use_srtab"] = str(tmp_path / "zbl.txt")
        (tmp_path / f"{kind}.json").write_text(json.dumps(script))
    ask(deepmd_python, "fresh", tmp_path)
    for kind in family.PEER_KINDS:
        theirs = read_deepmd(tmp_path / f"{kind}.fresh.dp")
        assert_same(predicted(frames, theirs), np.load(tmp_path / f"{kind}.npz"))
        cfg = theirs.config
        found = neighbours_of(frames, cfg.descriptor.rcut)
        moments = environment_moments(frames, found, cfg)
        davg, dstd = descriptor_statistics(moments, cfg)
        bias, _, _ = energy_normal(frames, cfg.type_map).solve()
        known = theirs.statistics
        np.testing.assert_allclose(davg, known.davg, 1e-11, 1e-14, err_msg=kind)
        np.testing.assert_allclose(dstd, known.dstd, 1e-11, 1e-14, err_msg=kind)
        np.testing.assert_allclose(bias, known.energy_bias, 1e-11, err_msg=kind)
        for name, values in zip(("fparam", "aparam"), numbers(frames), strict=True):
            if getattr(known, name) is not None:
                scale = number_moments(values).scale()
                np.testing.assert_allclose(scale, getattr(known, name), 1e-11)


@pytest.mark.parametrize("kind", ["radial", "strip", "strip_rough", "atom_numbers"])
def test_training_follows_deepmd_kit(deepmd_python, shared_data, kind, tmp_path):
    """100 Adam steps on one batch, virial included: the same losses to 1e-8."""
    folder = shared_data / "generated/npy/almg_qe_lda/Al2Mg2_fcc_900K"
    frames = parity.real_alloy(folder, 8)
    cfg = family.config(kind)
    part = replace(cfg.descriptor, rcut=5.0)
    cfg = replace(cfg, type_map=("Al", "Mg"), descriptor=part)
    found = neighbours_of(frames, part.rcut)
    davg, dstd = descriptor_statistics(environment_moments(frames, found, cfg), cfg)
    bias, _, _ = energy_normal(frames, cfg.type_map).solve()
    known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias)
    aparam = np.random.default_rng(4).normal(2, 3, (len(frames.z), 1))
    if cfg.fitting.numb_aparam:
        known = replace(known, aparam=number_moments(aparam).scale())
    potential = DeepPotential.initialise(cfg, known, 11)
    steps, prefactors = parity.STEPS, parity.PREFACTORS
    setting = json.dumps(parity.RATE | {"steps": steps, "prefactors": prefactors})
    theirs = parity.ask(
        deepmd_python,
        "train",
        potential,
        frames,
        tmp_path,
        setting=setting,
        aparam=aparam,
    )
    schedule = Schedule(
        LearningRateConfig(type="exp", smooth=False, **parity.RATE),
        LossConfig(course="rate", **prefactors),
        steps=steps,
    )
    adam = Adam(potential.parameters.flat, OptimiserConfig(type="adam"))
    batch = replace(batch_of(frames, potential), aparam=torch.from_numpy(aparam))
    losses = []
    for step in range(steps):
        energy, force, virial = schedule.prefactors(step)
        weights = Prefactors(energy=energy, force=force, virial=virial)
        result = losses_and_gradients(potential, batch, weights)
        adam.step(result.gradient, learning_rate=schedule.learning_rate(step))
        losses.append(float(result.loss))
    assert losses[-1] < 0.9 * losses[0]
    np.testing.assert_allclose(losses, theirs["losses"], 1e-8)
