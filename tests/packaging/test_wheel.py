"""What users do with the installed wheel, without the clone."""

import json
import shutil
import zipfile

import pytest

pytestmark = pytest.mark.slow


def test_wheel_holds_the_data_that_the_code_reads(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "dpbench/_demo/train.toml",
        "dpbench/_demo/si8_a540_900K.out.gz",
        "dpbench/py.typed",
        "dpbench/_registry/datasets/si8_qe_lda.toml",
        "dpbench/eval/leaderboard/assets/",
        "dpbench/store/catalog/migrations/",
    ):
        assert any(name.startswith(needed) for name in names), needed
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]


def test_smoke_demo_runs_from_the_wheel(installed, run, tmp_path):
    done = run(installed / "dpbench", "demo", "--mode", "smoke", cwd=tmp_path)
    page = tmp_path / "demo" / "leaderboard" / "index.html"
    assert page.is_file()
    assert "index.html" in done.stdout.splitlines()[-1]
    report = json.loads((tmp_path / "demo" / "demo.json").read_text(encoding="utf-8"))
    assert [outcome["part"] for outcome in report["outcomes"]] == ["test", "ood"]


def test_the_four_lines_that_users_type(installed, run, tmp_path, shared_data):
    outcars = shared_data / "thirdparty" / "vasp_ch4"
    shutil.copytree(outcars, tmp_path / "OUTCAR")
    dpbench = installed / "dpbench"
    run(dpbench, "ingest", "vasp", "OUTCAR/", cwd=tmp_path)
    run(
        *(dpbench, "train", "--dataset", "OUTCAR", "--steps", "40"),
        cwd=tmp_path,
    )
    assert (tmp_path / "m.pth").is_file()
    run(
        *(dpbench, "evaluate", "--model", "m.pth", "--mode", "smoke"),
        cwd=tmp_path,
    )
    done = run(dpbench, "leaderboard", cwd=tmp_path)
    assert "index.html" in done.stdout
    assert list(tmp_path.rglob("index.html"))
