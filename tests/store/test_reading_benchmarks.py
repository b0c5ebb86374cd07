"""The benchmarks of reading run, agree with each other, and refuse what they must."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(monkeypatch, name, *arguments):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    module.main()


def test_million_frames_want_room_on_the_disk(monkeypatch, tmp_path):
    usage = SimpleNamespace(free=19_999_999_999)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(SystemExit, match=r"20\.0 GB are free; expected at least 20 GB"):
        run(monkeypatch, "million_frames", "--folder", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_left_alone(monkeypatch, tmp_path):
    for name in ("million_frames", "read_batches"):
        with pytest.raises(SystemExit, match="exists"):
            run(monkeypatch, name, "--folder", tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.slow
def test_a_few_frames_go_through_both(monkeypatch, tmp_path):
    out = tmp_path / "read.json"
    few = ["--frames", 300, "--rounds", 1, "--seconds", 0.02, "--out", out]
    run(monkeypatch, "read_batches", "--folder", tmp_path / "r", *few)
    assert json.loads(out.read_text())["frames"] == 300
    usage = SimpleNamespace(free=10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    few = ["--frames", 200, "--systems", 2, "--workers", 0, "--out", out]
    run(monkeypatch, "million_frames", "--folder", tmp_path / "m", *few)
    record = json.loads(out.read_text())
    assert record["read"]["frames"] == 200
    assert 0 < record["largest_resident_mb"] < record["bound_mb"]
