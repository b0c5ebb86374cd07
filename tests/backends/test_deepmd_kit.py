"""The worker of DeePMD-kit itself: conversion, compression, what it refuses."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends import consistency
from dpbench.backends.client import open_backend
from dpbench.backends.consistency import ONE_THREAD, native_answers
from dpbench.backends.consistency_cases import cases, structures
from dpbench.backends.deepmd_convert import compress_by_deepmd, convert_by_deepmd
from dpbench.backends.launch import Launch
from dpbench.backends.trust import Trust, digest_of
from dpbench.errors import BackendError, BackendRefused
from dpbench.frames import concatenate
from dpbench.models.deepmd_file import write_deepmd

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

CASES = {case.name: case.model for case in cases()}
PLAIN = "se_e2_a, float64"


@pytest.fixture
def launch(deepmd_python):
    adapter = consistency.WORKER.with_name("deepmd_kit.py")
    return Launch(
        name="deepmd",
        python=Path(deepmd_python),
        adapter=adapter,
        env=ONE_THREAD,
        takes_suffix=True,
    )


def written(folder: Path, name: str) -> Path:
    path = folder / "m.dp"
    write_deepmd(path, CASES[name], min_distance=0.8)
    return path


def test_a_model_that_tensorflow_would_change_is_not_converted(launch, tmp_path):
    source = written(tmp_path, "se_e2_a, widening fitting net, float64")
    with pytest.raises(BackendError, match="gives another energy than dpbench's"):
        convert_by_deepmd(launch, source, tmp_path / "m.pb", trust=Trust())
    assert [path.name for path in tmp_path.iterdir()] == ["m.dp"]


@pytest.mark.parametrize("suffix", [".pth", ".pb"])
def test_a_compressed_model_says_what_the_plain_one_says(launch, tmp_path, suffix):
    source, target = written(tmp_path, PLAIN), tmp_path / f"small{suffix}"
    made = compress_by_deepmd(launch, source, target, trust=Trust())
    assert target.is_file()
    assert made.compared == "dpbench's kernels"
    assert made.energy < 1e-9
    assert made.force < 1e-7


def test_frames_of_every_size_come_back_in_order_with_energies_per_atom(
    launch, tmp_path, figures
):
    """A portable file goes to the backend that is asked for, in the worker itself."""
    source = written(tmp_path, PLAIN)
    blocks = list(structures().values())
    frames = concatenate(blocks)
    options = {"backend": "tensorflow", "atom_energy": True}
    with open_backend(launch, source, trust=Trust(), options=options) as model:
        assert model.facts["backend"] == "DeePMD-kit TensorFlow"
        assert model.facts["precision"] == "float64"
        assert model.facts["versions"]["deepmd-kit"] == "3.2.0"
        answer = model.evaluate(frames)
        partly = concatenate(blocks[:1])
        partly.pbc[:, 2] = False
        with pytest.raises(BackendRefused, match="all three cell vectors or none"):
            model.evaluate(partly)
        again = model.evaluate(frames.select([3])).predictions
    expected = [native_answers(CASES[PLAIN], block) for block in blocks]
    energy = np.concatenate([part.energy for part in expected])
    force = np.concatenate([part.force.reshape(-1, 3) for part in expected])
    np.testing.assert_allclose(answer.predictions.energy, energy, 0, 1e-10)
    np.testing.assert_allclose(answer.predictions.force, force, 0, 1e-10)
    assert again.energy[0] == pytest.approx(energy[3], abs=1e-10)
    assert answer.atom_energy is not None
    sums = np.add.reduceat(answer.atom_energy, frames.atom_offset[:-1])
    np.testing.assert_allclose(sums, energy, 0, 1e-10)
    share = answer.overhead_s / answer.total_s
    figures(f"way to the worker and back: {share:.1%} of {answer.total_s:.2f} s")


def test_what_is_no_model_or_option_of_deepmd_kit_is_refused(launch, tmp_path):
    source = written(tmp_path, PLAIN)
    for options, said in (
        ({"backend": "torch"}, "unknown backend 'torch'"),
        ({"precise": True}, "unknown option precise"),
        ({"backend": "numpy"}, "energies alone"),
        ({"backend": "paddle"}, "Paddle backend, which is not installed"),
    ):
        with pytest.raises(BackendRefused, match=said):
            open_backend(launch, source, trust=Trust(), options=options)
    broken = tmp_path / "broken.pb"
    broken.write_bytes(b"this is no graph \xff" * 50)
    named = Trust(named=frozenset({digest_of(broken)}))
    options = {"suffix": ".pb"}
    with pytest.raises(BackendError) as caught:
        open_backend(launch, broken, trust=named, options=options)
    assert "\n" not in str(caught.value)


def test_a_model_is_opened_as_what_it_is_and_not_by_its_name(launch, tmp_path):
    """An archive behind the model would be loaded as TorchScript by its suffix."""
    source, block = written(tmp_path, PLAIN), next(iter(structures().values()))
    disguised = tmp_path / "m.pth"
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("m/code/__torch__/x.py", "")
        archive.writestr("m/constants.pkl", b"\x80\x02.")
    zipped = (tmp_path / "code.zip").read_bytes()
    disguised.write_bytes(source.read_bytes() + zipped)
    assert zipfile.is_zipfile(disguised)
    with open_backend(launch, disguised, trust=Trust()) as model:
        found = model.evaluate(block).predictions
    expected = native_answers(CASES[PLAIN], block)
    np.testing.assert_allclose(found.energy, expected.energy, 0, 1e-10)
