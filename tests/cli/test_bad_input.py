"""What users get wrong, end to end: one clear line, exit 1, nothing half-written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dpbench

DEMO = Path(dpbench.__file__).parent / "_demo"

pytestmark = pytest.mark.slow


def run(*arguments, cwd):
    """Run a command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "dpbench", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_one_clear_line(done, *words):
    """Exit 1, and the error is one line that holds ``words``; no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0]


def versions(folder):
    """References of dataset versions below ``folder``."""
    return [p for p in folder.rglob("objects/refs/*/*") if p.is_file()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a small dataset and a model of a few steps; never changed."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(DEMO / "si8_a540_300K.out.gz", folder)
    for command in (
        ["ingest", "qe", "si8_a540_300K.out.gz", "--dataset", "si8"],
        ["train", "--dataset", "si8", "--steps", "2"],
    ):
        done = run(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("ingest", "vasp", "empty", cwd=tmp_path)
    assert_one_clear_line(done, "empty", "no source found")
    assert not versions(tmp_path)


def test_path_that_does_not_exist(tmp_path):
    done = run("ingest", "vasp", "OUTCRA", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "OUTCRA" in done.stderr
    assert "Traceback" not in done.stderr


def test_binary_file(tmp_path):
    (tmp_path / "OUTCAR").write_bytes(bytes(range(256)) * 64)
    done = run("ingest", "vasp", "OUTCAR", cwd=tmp_path)
    assert_one_clear_line(done, "OUTCAR", "binary")
    assert not versions(tmp_path)


def test_truncated_outcar_keeps_whole_frames(tmp_path, shared_data):
    source = shared_data / "thirdparty" / "vasp_ch4" / "000000" / "OUTCAR"
    text = source.read_text()
    (tmp_path / "OUTCAR").write_text(text[: int(len(text) * 0.7)])
    lenient = run("ingest", "vasp", "OUTCAR", "--dataset", "cut", cwd=tmp_path)
    assert lenient.returncode == 0, lenient.stderr
    assert "truncated" in lenient.stdout + lenient.stderr
    strict = run(
        *("ingest", "vasp", "OUTCAR", "--dataset", "cut2", "--strict"), cwd=tmp_path
    )
    assert_one_clear_line(strict, "--strict", "quarantined")
    assert "truncated" in strict.stdout


def test_outcar_without_a_whole_frame(tmp_path, shared_data):
    source = shared_data / "thirdparty" / "vasp_ch4" / "000000" / "OUTCAR"
    (tmp_path / "OUTCAR").write_text(source.read_text()[:40_000])
    done = run("ingest", "vasp", "OUTCAR", cwd=tmp_path)
    assert_one_clear_line(done, "OUTCAR")
    assert not versions(tmp_path)


def test_dataset_that_does_not_exist(trained, tmp_path):
    done = run(
        *("--workspace", trained / ".dpbench", "train", "--dataset", "si9"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "si9", "si8")
    assert not list(tmp_path.iterdir())


def test_training_without_any_workspace(tmp_path):
    done = run("train", "--dataset", "si8", cwd=tmp_path)
    assert_one_clear_line(done, "dpbench ingest")
    assert not list(tmp_path.iterdir())


def test_version_cannot_be_named_on_ingest(tmp_path):
    shutil.copy(DEMO / "si8_a540_300K.out.gz", tmp_path)
    done = run(
        *("ingest", "qe", "si8_a540_300K.out.gz", "--dataset", "si8-v2"), cwd=tmp_path
    )
    assert_one_clear_line(done, "si8-v2")
    assert not versions(tmp_path)


def test_misspelt_config_key(trained, tmp_path):
    (tmp_path / "train.toml").write_text("[model.descriptor]\nrcut_smooth = 1.0\n")
    done = run(
        *("--workspace", trained / ".dpbench"),
        *("train", "--dataset", "si8", "--config", "train.toml"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "train.toml", "rcut_smooth", "'rcut_smth'")
    assert not (tmp_path / "m.pth").exists()


def test_unsupported_option_of_input_json(trained, tmp_path):
    (tmp_path / "input.json").write_text(
        '{"model": {"type_map": ["Si"], "descriptor": {"type": "dpa1", "sel": 40}, '
        '"fitting_net": {}}, "learning_rate": {"start_lr": 0.001}, "loss": {}, '
        '"training": {"training_data": {"systems": []}, "numb_steps": 1}}'
    )
    done = run(
        *("--workspace", trained / ".dpbench"),
        *("train", "--dataset", "si8", "--config", "input.json"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "attn_layer = 2", "supported: 0")


@pytest.mark.parametrize("fault", ["text", "cut", "zip"])
def test_corrupt_model(trained, tmp_path, fault):
    whole = (trained / "m.pth").read_bytes()
    content = {
        "text": b"not a model",
        "cut": whole[: len(whole) // 2],
        "zip": b"PK\x03",
    }
    (tmp_path / "m.pth").write_bytes(content[fault])
    done = run(
        *("--workspace", trained / ".dpbench", "evaluate", "--model", "m.pth"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "m.pth")


def test_missing_model(trained, tmp_path):
    done = run(
        *("--workspace", trained / ".dpbench", "evaluate", "--model", "mm.pth"),
        cwd=tmp_path,
    )
    assert done.returncode in (1, 2)
    assert "mm.pth" in done.stderr
    assert "Traceback" not in done.stderr


def test_element_that_the_model_does_not_know(trained, tmp_path, shared_data):
    shutil.copytree(trained / ".dpbench", tmp_path / ".dpbench")
    almg = next((shared_data / "generated" / "almg_qe_lda").glob("*300K*.out"))
    shutil.copy(almg, tmp_path)
    ingested = run("ingest", "qe", almg.name, "--dataset", "almg", cwd=tmp_path)
    assert ingested.returncode == 0, ingested.stderr
    done = run(
        *("evaluate", "--model", trained / "m.pth", "--dataset", "almg"),
        *("--tasks", "accuracy"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "Al")


def test_element_that_does_not_exist(tmp_path):
    (tmp_path / "odd.extxyz").write_text(
        '1\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 '
        "energy=-1.0\nXq 0 0 0 0 0 0\n"
    )
    done = run("ingest", "extxyz", "odd.extxyz", cwd=tmp_path)
    assert_one_clear_line(done, "Xq")
    assert not versions(tmp_path)


def test_leaderboard_without_results(trained, tmp_path):
    done = run(
        *("--workspace", trained / ".dpbench", "leaderboard", "--out", "board"),
        cwd=tmp_path,
    )
    assert_one_clear_line(done, "evaluate")
    assert not (tmp_path / "board").exists()


@pytest.mark.skipif(not shutil.which("mount"), reason="no mount command")
def test_full_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        done = run(
            *("--workspace", disk / "ws", "ingest", "qe", DEMO, "--dataset", "si8"),
            cwd=tmp_path,
        )
        assert_one_clear_line(done, "No space left")
        assert not versions(disk)
    finally:
        subprocess.run(["umount", disk], check=True)
