"""``dpbench suites`` and ``dpbench evaluate --suite`` from the command line."""

import json

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from tests.conftest import REPOSITORY

SILICON = REPOSITORY / "tests" / "data" / "silicon.pth"


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_the_suites_that_ship_are_listed():
    done = run("suites", "list", "--json")
    assert done.exit_code == 0
    found = {facts["suite"].rpartition("-v")[0] for facts in json.loads(done.stdout)}
    assert found >= {"si-lda", "almg-lda", "water", "md-stability", "md-throughput"}
    assert "si-lda-v1" in run("suites", "list").stdout


def test_a_suite_tells_its_bounds():
    done = run("suites", "show", "si-lda-v1")
    assert "Force RMSE, accuracy on si8:test" in done.stdout
    facts = json.loads(run("suites", "show", "water", "--json").stdout)
    assert facts["data"][0]["ships"] is False


def test_an_unknown_suite_is_one_clear_line():
    done = run("suites", "show", "silicon")
    assert done.exit_code == 1
    assert "suite 'silicon': is unknown; expected one of almg-lda" in done.stderr


def test_all_tasks_are_named():
    found = json.loads(run("suites", "tasks", "--json").stdout)
    assert {"accuracy", "stability", "throughput", "elastic", "nve"} <= set(found)


def test_data_that_do_not_ship_are_asked_for(tmp_path):
    done = run("--workspace", tmp_path / "w", "suites", "prepare", "water")
    assert done.exit_code == 1
    assert "Give --data water=DIR" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--again",), "--again: needs --suite"),
        (("--model", SILICON, "--model", SILICON), "a second --model: needs --suite"),
        (("--suite", "si-lda", "--tasks", "nve"), "--tasks: has no effect"),
        (("--suite", "si-lda", "--temperature", "9"), "--temperature: has no effect"),
        (("--suite", "si-lda", "--data", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_would_have_no_effect_is_refused(words, expected):
    """O2: nothing that a user asks for is ignored."""
    done = run("evaluate", "--model", SILICON, *words)
    assert done.exit_code == 2
    assert expected in done.stderr


@pytest.mark.slow
def test_a_suite_is_run_and_scored(tmp_path):
    words = ("--workspace", tmp_path / "w", "evaluate", "--model", SILICON)
    suite = ("--suite", "si-lda", "--mode", "smoke")
    done = run(*words, *suite)
    assert done.exit_code == 0, done.stderr
    assert "si-lda-v1, smoke: " in done.stderr
    assert "smoke mode: rough" in done.stdout
    again = run(*words, *suite)
    assert " 0 of " in again.stderr
    assert again.stdout == done.stdout
