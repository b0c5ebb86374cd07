"""``dpbench dataset export``, ``import`` and ``card``, as users call them."""

import json

import pytest
from click.testing import CliRunner

from dpbench.cli.dataset.export import FORMATS
from dpbench.cli.main import cli
from dpbench.io.writers import WRITERS
from dpbench.store.dataset import open_dataset


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def ok(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_names_the_formats_of_the_table():
    assert tuple(WRITERS) == FORMATS


@pytest.mark.parametrize("format_name", FORMATS)
def test_export_and_import_of_each_format(home, away, tmp_path, format_name):
    out = tmp_path / "out"
    given = ("--workspace", home.root)
    text = ok("dataset", "export", "mixed-v1", format_name, out, *given)
    digest = open_dataset(home, "mixed").digest
    assert "8 frames (19 atoms) of mixed-v1" in text
    assert digest in text
    assert "licence   none declared" in text
    text = ok("dataset", "import", out, "--dataset", "back", "--workspace", away.root)
    assert text.startswith(f"back-v1  {digest}\n")
    assert "8 added, 0 repeated" in text
    assert "the frames that were exported" in text


def test_json_tells_the_same(home, away, tmp_path):
    out = tmp_path / "out"
    given = ("--json", "--workspace", home.root)
    told = json.loads(ok("dataset", "export", "crystal", "parquet", out, *given))
    assert (told["n_frames"], told["dataset"]) == (6, "crystal-v1")
    back = json.loads(ok("dataset", "import", out, "--json", "--workspace", away.root))
    assert back["is_same"]
    assert back["label"] == "crystal-v1"
    assert back["digest"] == told["digest"]


def test_failed_import_leaves_no_workspace(tmp_path):
    result = run("dataset", "import", tmp_path, "--workspace", tmp_path / "new")
    assert result.exit_code == 1
    assert "is no export of dpbench" in result.output
    assert not (tmp_path / "new").exists()


def test_unknown_format_is_a_usage_error(home, tmp_path):
    result = run(
        *("dataset", "export", "mixed", "xyz", tmp_path / "x"),
        *("--workspace", home.root),
    )
    assert result.exit_code == 2


def test_card_is_given_shown_and_exported(home, away, tmp_path):
    given = ("--workspace", away.root)
    ok(
        "dataset",
        "export",
        "crystal",
        "extxyz",
        tmp_path / "a",
        "--workspace",
        home.root,
    )
    ok("dataset", "import", tmp_path / "a", *given)
    assert "has no card" in ok("dataset", "card", "crystal", *given)
    card = tmp_path / "card.toml"
    card.write_text("title = 'Quartz'\nlicence = 'MIT'\ncitation = 'Me, 2026'\n")
    text = ok("dataset", "card", "crystal", card, *given)
    assert "licence   MIT" in text
    assert "licence   MIT" in ok(
        "dataset", "export", "crystal", "ase/db", tmp_path / "b", *given
    )
    told = json.loads(ok("dataset", "card", "crystal-v1", "--json", *given))
    assert [entry["title"] for entry in told] == ["Quartz"]


def test_card_follows_a_renamed_dataset(home, away, tmp_path):
    given = ("--workspace", away.root)
    ok(
        "dataset",
        "export",
        "crystal",
        "extxyz",
        tmp_path / "a",
        "--workspace",
        home.root,
    )
    ok("dataset", "import", tmp_path / "a", *given)
    card = tmp_path / "card.toml"
    card.write_text("title = 'Quartz'\nlicence = 'MIT'\ncitation = 'Me, 2026'\n")
    ok("dataset", "card", "crystal", card, *given)
    ok("dataset", "rename", "crystal", "quartz", *given)
    assert "licence   MIT" in ok("dataset", "card", "quartz", *given)
