"""evaluate, leaderboard and results as typed; the library does the work."""

import json

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from tests.eval.conftest import trained

__all__ = ["trained"]  # a fixture


def type_in(*words, workspace=None, exit_code=0):
    arguments = [str(word) for word in words]
    if workspace is not None:
        arguments = ["--workspace", str(workspace.root), *arguments]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def evaluated(trained, tmp_path):
    out = tmp_path / "record.json"
    result = type_in(
        "evaluate",
        *("--model", trained.model, "--tasks", "accuracy", "--out", out),
        workspace=trained.workspace,
    )
    return trained, result, out


def test_evaluate_prints_numbers_with_units_beside_the_baseline(evaluated):
    _, result, _ = evaluated
    assert "pairs-v1:test: 12 frames" in result.stdout
    assert "pairs-v1:ood: 12 frames" in result.stdout
    (line,) = [s for s in result.stdout.splitlines() if "Force RMSE, rel" in s][:1]
    assert "%" in line
    assert line.split()[-1] in ("100", "100.0")
    assert "accuracy on 12 frames" in result.stderr


def test_out_writes_one_file_a_part(evaluated):
    _, _, out = evaluated
    for part in ("test", "ood"):
        record = json.loads(out.with_stem(f"record-{part}").read_text())
        assert record["part"] == part
        assert record["schema"] == "dpbench.result"


def test_evaluate_speaks_json(trained):
    result = type_in(
        "evaluate",
        *("--model", trained.model, "--dataset", "pairs:test"),
        *("--tasks", "accuracy", "--json"),
        workspace=trained.workspace,
    )
    ((item),) = json.loads(result.stdout)
    assert item["record"]["part"] == "test"
    assert len(item["digest"]) == 64


def test_results_are_listed_shown_and_verified(evaluated):
    trained, _, _ = evaluated
    space = trained.workspace
    rows = json.loads(type_in("results", "list", "--json", workspace=space).stdout)
    assert len(rows) >= 2
    shown = type_in("results", "show", rows[-1]["record"], workspace=space)
    assert "Force RMSE" in shown.stdout
    whole = type_in("results", "show", rows[-1]["record"], "--json", workspace=space)
    assert json.loads(whole.stdout)["schema"] == "dpbench.result"
    verified = type_in("results", "verify", workspace=space)
    assert verified.stdout.count("  ok  ") == len(rows)
    assert "rescored" in verified.stdout


def test_an_unknown_record_is_one_clear_line(trained):
    result = type_in("results", "show", "zz", workspace=trained.workspace, exit_code=1)
    assert "no such record" in result.stderr


def test_leaderboard_prints_where_it_is(evaluated, tmp_path):
    trained, _, _ = evaluated
    out = tmp_path / "a board"
    result = type_in("leaderboard", "--out", out, workspace=trained.workspace)
    assert str(out / "index.html") in result.stdout
    assert (out / "leaderboard.csv").is_file()
    paths = json.loads(
        type_in(
            "leaderboard", "--out", out, "--json", workspace=trained.workspace
        ).stdout
    )
    assert {"html", "md", "csv", "json"} <= set(paths)


@pytest.mark.parametrize("command", ["leaderboard", "results"])
def test_an_empty_workspace_is_one_clear_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dpbench" / "objects").mkdir(parents=True)
    if command == "results":
        assert "No result" in type_in("results", "list").stdout
    else:
        result = type_in("leaderboard", exit_code=1)
        assert "dpbench evaluate" in result.stderr
        assert not (tmp_path / "leaderboard").exists()


def test_a_missing_model_is_one_clear_line(trained, tmp_path):
    result = type_in(
        "evaluate",
        *("--model", tmp_path / "gone.pth"),
        workspace=trained.workspace,
        exit_code=1,
    )
    assert "gone.pth" in result.stderr
    assert "Traceback" not in result.stderr
