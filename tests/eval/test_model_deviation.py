"""Model deviation of files and datasets, and beside DeePMD-kit's own command."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import EvaluationError, ModelError
from dpbench.eval.model_deviation import (
    Request,
    material_of_file,
    measure_deviation,
    native_evaluator,
    write_model_devi,
)
from dpbench.frames import concatenate
from dpbench.models.checkpoint import save_model
from dpbench.models.deepmd_file import write_deepmd
from tests.models.structures import BOX, model, water

SEEDS = (1, 2, 3)

PEER = """
import sys
from deepmd.entrypoints.convert_backend import convert_backend
from deepmd.infer.model_devi import make_model_devi

models = []
for path in sys.argv[2:]:
    models.append(path.replace(".dp", ".pth"))
    convert_backend(INPUT=path, OUTPUT=models[-1], atomic_virial=False)
for name, more in (
    ("plain", {}),
    ("relative", {"atomic": True, "relative": 0.7}),
    ("real", {"real_error": True}),
):
    make_model_devi(
        models=models, system=sys.argv[1], output=name + ".out", frequency=5, **more
    )
"""


def xyz(frames, *, labels=True):
    """Write frames as extended XYZ with all digits."""

    def numbers(values):
        return " ".join(repr(float(value)) for value in np.ravel(values))

    lines = []
    for i in range(frames.nframes):
        rows = frames.atoms_of(i)
        more = (
            f'energy={float(frames.energy[i])!r} virial="{numbers(frames.virial[i])}"'
        )
        columns = "species:S:1:pos:R:3" + (":forces:R:3" if labels else "")
        lines += [
            str(rows.stop - rows.start),
            f'Lattice="{numbers(frames.box[i])}" Properties={columns} pbc="T T T" '
            + (more if labels else ""),
        ]
        for z, coord, force in zip(
            frames.z[rows], frames.coord[rows], frames.force[rows], strict=True
        ):
            symbol = "O" if z == 8 else "H"
            values = [*coord, *force] if labels else coord
            lines.append(f"{symbol} {numbers(values)}")
    return "\n".join(lines) + "\n"


def symmetric(frames):
    virial = (frames.virial + frames.virial.transpose(0, 2, 1)) / 2
    frames.virial[:] = virial
    return frames


def rows_of(path):
    return np.loadtxt(path, ndmin=2)


@pytest.fixture
def ensemble(in_tmp):
    """Three models and a file of four frames in the current folder."""
    for seed in SEEDS:
        save_model(in_tmp / f"m{seed}.pth", model(seed, sel=(40, 80)), {})
    frames = symmetric(concatenate([water(seed) for seed in range(4)]))
    (in_tmp / "frames.extxyz").write_text(xyz(frames))
    return frames


def arguments(*more, models=SEEDS):
    named = [word for seed in models for word in ("--model", f"m{seed}.pth")]
    return ["-q", "model-devi", *named, "--frames", "frames.extxyz", *more]


def run(*more, models=SEEDS):
    return CliRunner().invoke(cli, arguments(*more, models=models))


def test_the_command_writes_one_row_a_frame(ensemble):
    done = run()
    assert done.exit_code == 0, done.output
    rows = rows_of("model_devi.out")
    assert rows.shape == (4, 8)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    assert (rows[:, 1:] > 0).all()
    assert "3 models on 4 frames" in done.output


def test_json_holds_the_numbers_of_the_file(ensemble):
    done = run("--json", "--frequency", "10")
    told = json.loads(done.output)
    rows = rows_of("model_devi.out")
    np.testing.assert_allclose(rows[:, 4], told["max_devi_f"], 1e-6)
    assert rows[:, 0].tolist() == [0, 10, 20, 30]
    assert told["step"] == [0, 1, 2, 3]


def test_a_model_beside_itself_deviates_by_nothing(ensemble):
    assert run(models=(1, 1, 1)).exit_code == 0
    assert not rows_of("model_devi.out")[:, 1:].any()


def test_models_with_the_same_weights_are_named(ensemble, in_tmp):
    write_deepmd(in_tmp / "same.dp", model(1, sel=(40, 80)))
    done = run("--model", "same.dp")
    assert done.exit_code == 0
    (warning,) = (line for line in done.stderr.splitlines() if "Warning" in line)
    assert "m1.pth and same.dp have the same weights" in warning
    assert "--seed" in warning
    assert "Warning" not in run().stderr


def test_frames_need_no_labels(ensemble, in_tmp):
    assert run("--out", "labelled.out").exit_code == 0
    (in_tmp / "frames.extxyz").write_text(xyz(ensemble, labels=False))
    assert run("--out", "bare.out").exit_code == 0
    np.testing.assert_array_equal(rows_of("labelled.out"), rows_of("bare.out"))


def test_real_error_without_labels_is_refused(ensemble, in_tmp):
    (in_tmp / "frames.extxyz").write_text(xyz(ensemble, labels=False))
    done = run("--real-error")
    assert done.exit_code == 1
    assert "has no forces" in done.output
    assert not (in_tmp / "model_devi.out").exists()


def test_real_error_of_one_model_is_its_error(ensemble):
    assert run("--real-error", models=(1,)).exit_code == 0
    answer = native_evaluator(Path("m1.pth")).predict(ensemble)
    error = (answer.energy - ensemble.energy) / 9
    np.testing.assert_allclose(rows_of("model_devi.out")[:, 7], np.abs(error), 1e-6)


def test_one_model_has_no_deviation(ensemble):
    done = run(models=(1,))
    assert done.exit_code == 1
    assert "expected at least 2" in done.output


def test_a_level_of_nothing_is_refused(ensemble):
    done = run("--relative", "0")
    assert done.exit_code == 1
    assert "relative = 0.0" in done.output


def test_frames_must_come_from_one_place(ensemble):
    done = run("--dataset", "water")
    assert done.exit_code == 2
    assert "one of --dataset and --frames" in done.output


def test_an_element_that_a_model_does_not_know_is_one_line(ensemble, in_tmp):
    text = (in_tmp / "frames.extxyz").read_text().replace("O ", "Si ")
    (in_tmp / "frames.extxyz").write_text(text)
    done = run()
    assert done.exit_code == 1
    assert "Si" in done.output
    assert not (in_tmp / "model_devi.out").exists()


def test_a_damaged_frame_is_left_out_and_the_others_keep_their_numbers(
    ensemble, in_tmp, caplog
):
    lines = (in_tmp / "frames.extxyz").read_text().splitlines()
    lines[11 + 2] = "O 0.1 nan 0.2 0 0 0"
    (in_tmp / "frames.extxyz").write_text("\n".join(lines) + "\n")
    material = material_of_file(in_tmp / "frames.extxyz")
    assert material.frame_idx.tolist() == [0, 2, 3]
    assert [block.nframes for block in material.blocks()] == [3]
    assert "1 of 4 frames cannot be used (nan)" in caplog.text


def test_atomic_starts_a_new_table_where_the_number_of_atoms_changes(in_tmp):
    for seed in SEEDS:
        save_model(in_tmp / f"m{seed}.pth", model(seed, sel=(40, 80)), {})
    sizes = (9, 9, 6)
    frames = [water(i, natoms=n, box=BOX) for i, n in enumerate(sizes)]
    (in_tmp / "frames.extxyz").write_text(xyz(symmetric(concatenate(frames))))
    assert run("--atomic").exit_code == 0
    lines = (in_tmp / "model_devi.out").read_text().splitlines()
    assert [line.startswith("#") for line in lines] == [1, 1, 0, 0, 1, 1, 0]
    assert [len(line.split()) for line in lines if line[0] != "#"] == [17, 17, 14]


def test_blocks_give_the_same_as_all_at_once(ensemble, in_tmp, monkeypatch):
    material = material_of_file(in_tmp / "frames.extxyz")
    evaluators = [native_evaluator(in_tmp / f"m{seed}.pth") for seed in SEEDS]
    together = measure_deviation(evaluators, material, names="abc")
    monkeypatch.setattr("dpbench.eval.model_deviation.BLOCK_ATOMS", 1)
    apart = measure_deviation(evaluators, material, names="abc")
    for column in ("max_devi_f", "devi_e"):
        np.testing.assert_allclose(
            together.column(column), apart.column(column), 1e-9, 1e-12
        )


def test_a_file_that_is_no_model_is_one_line(ensemble, in_tmp):
    (in_tmp / "m1.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError):
        native_evaluator(in_tmp / "m1.pth")
    assert run().exit_code == 1


def test_a_negative_level_is_no_request():
    with pytest.raises(EvaluationError, match="positive"):
        Request(relative_virial=-1.0)


@pytest.mark.slow
def test_columns_are_those_of_dp_model_devi(deepmd_python, ensemble, in_tmp):
    names = []
    for seed in SEEDS:
        names.append(str(in_tmp / f"theirs{seed}.dp"))
        write_deepmd(in_tmp / f"theirs{seed}.dp", model(seed, sel=(40, 80)))
    folder = in_tmp / "system" / "set.000"
    folder.mkdir(parents=True)
    for name in ("coord", "box", "force", "virial", "energy"):
        np.save(folder / f"{name}.npy", getattr(ensemble, name).reshape(4, -1))
    types = np.where(ensemble.z[:9] == 8, 0, 1)
    np.savetxt(in_tmp / "system" / "type.raw", types, fmt="%d")
    (in_tmp / "system" / "type_map.raw").write_text("O\nH\n")
    done = subprocess.run(
        [deepmd_python, "-c", PEER, "system", *names],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    material = material_of_file(in_tmp / "frames.extxyz")
    evaluators = [native_evaluator(in_tmp / f"m{seed}.pth") for seed in SEEDS]
    for name, request in (
        ("plain", Request()),
        ("relative", Request(relative=0.7)),
        ("real", Request(real_error=True)),
    ):
        report = measure_deviation(evaluators, material, names="abc", request=request)
        ours = in_tmp / "ours.out"
        write_model_devi(ours, report, atomic=name == "relative", frequency=5)
        theirs = (in_tmp / f"{name}.out").read_text().splitlines()
        assert ours.read_text().splitlines()[1:] == theirs[1:], name
