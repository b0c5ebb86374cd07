import json
import shutil

import pytest
from click.testing import CliRunner

import dpbench
from dpbench.cli.main import cli
from dpbench.errors import ConfigError
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.store.synthetic import (
    commit,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    workspace = Workspace.find(tmp_path_factory.mktemp("w") / ".dpbench", create=True)
    trajectories(workspace, "t", [6, 5, 4, 7])
    bad = segment_data(
        random_frames(50, [2]), [source_entry("bad")], role="quarantine", reason="nan"
    )
    commit(workspace, "t", bad)
    return workspace.root


@pytest.fixture
def workspace(in_tmp, template):
    shutil.copytree(template, in_tmp / ".dpbench")
    return Workspace.find()


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def as_json(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("workspace")
def test_list_names_the_newest_version():
    rows = as_json("dataset", "list")
    assert [(row["label"], row["n_frames"]) for row in rows] == [("t-v2", 22)]
    assert "t-v2" in run("dataset", "list").stdout


def test_show_tells_what_a_version_is_made_of(workspace):
    facts = as_json("dataset", "show", "t")
    assert facts["digest"] == open_dataset(workspace, "t").digest
    assert facts["labels"] == {"energy": 22, "force": 22, "virial": 22, "box": 22}
    assert facts["quarantined"] == {"nan": 1}
    assert [row["label"] for row in facts["versions"]] == ["t-v1", "t-v2"]
    assert [row["n_frames"] for row in facts["sources"]] == [6, 5, 4, 7]
    assert facts["theories"][0]["theory"]["functional"] == "LDA-PZ"
    text = run("dataset", "show", "t-v1").stdout
    assert "t-v1" in text
    assert "LDA-PZ" in text
    assert "runs/t-run3.out" in text


@pytest.mark.usefixtures("workspace")
def test_quarantined_frames_are_listed_with_their_reason():
    rows = as_json("dataset", "show", "t", "--quarantined")
    assert [(row["reason"], row["path"]) for row in rows] == [("nan", "runs/bad.out")]
    assert "nan" in run("dataset", "show", "t", "--quarantined").stdout
    assert "no frame is" in run("dataset", "show", "t-v1", "--quarantined").stdout


@pytest.mark.usefixtures("workspace")
def test_split_is_filed_and_shown():
    facts = as_json("dataset", "split", "t", "--seed", 2, "--hold-out", "ood=*run1*")
    assert facts["sizes"]["ood"] == 5
    assert sum(facts["sizes"].values()) == 22
    text = run(
        "dataset", "split", "t", "--strategy", "block", "--fractions", "train=0.5,x=0.5"
    ).stdout
    assert "strategy      block" in text
    assert len(as_json("dataset", "show", "t")["splits"]) == 2


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "tt"), "did you mean 't'?"),
        (("show", "t-v9"), "versions 1 to 2"),
        (("split", "t", "--hold-out", "test"), "expected PART=PATTERN"),
        (("split", "t", "--hold-out", "test=*no*"), "fits no source"),
        (("split", "t", "--fractions", "train=much"), "'much' is no number"),
        (("split", "t", "--fractions", "a b=1"), "is no name"),
    ],
)
def test_faults_are_one_line_and_exit_1(arguments, message):
    result = run("dataset", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("command", [("dataset", "list"), ("registry", "rebuild")])
def test_reading_without_a_workspace_is_one_clear_line(command):
    result = run(*command)
    assert result.exit_code == 1
    assert "expected a dpbench workspace" in result.stderr


def test_registry_is_rebuilt(workspace):
    (workspace.root / "registry.db").unlink()
    assert as_json("registry", "rebuild")["objects"] == 3
    assert "3 objects indexed" in run("registry", "rebuild").stdout
    assert as_json("dataset", "list")[0]["label"] == "t-v2"


def test_ingest_prints_the_name_it_takes_and_reports(in_tmp, shared_data):
    path = shared_data / "generated" / "qe_fixtures"
    result = run("ingest", "qe", path)
    assert result.exit_code == 0, result.output
    assert "Dataset: qe_fixtures" in result.stderr
    assert result.stdout.startswith("qe_fixtures-v1  dpb1:")
    assert "1 truncated, 1 unconverged" in result.stdout
    again = as_json("ingest", "qe", path, "--dataset", "qe_fixtures")
    assert (again["is_new"], again["n_already_in"]) == (False, 4)
    stats = as_json("dataset", "stats", "qe_fixtures")["quantities"]
    assert stats["nearest_distance_angstrom"]["min"] == pytest.approx(2.19, abs=0.01)
    assert "pressure_gpa" in run("dataset", "stats", "qe_fixtures").stdout


@pytest.mark.usefixtures("in_tmp")
def test_strict_ingest_exits_1_and_commits_nothing(shared_data):
    path = shared_data / "generated" / "qe_fixtures"
    result = run("ingest", "qe", path, "--strict")
    assert result.exit_code == 1
    assert "nothing was committed" in result.stdout
    assert "--strict: 2 frames quarantined" in result.stderr
    assert as_json("dataset", "list") == []


@pytest.mark.usefixtures("in_tmp")
def test_ingest_into_a_version_is_refused():
    result = run("ingest", "qe", ".", "--dataset", "water-v2")
    assert result.exit_code == 1
    assert "versions are made by ingest" in result.stderr


def test_failed_first_ingest_leaves_no_workspace(in_tmp):
    (in_tmp / "data").mkdir()
    result = run("ingest", "qe", "data")
    assert result.exit_code == 1
    assert "no source found" in result.stderr
    assert [path.name for path in in_tmp.iterdir()] == ["data"]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    "command",
    [
        ("dataset", "show"),
        ("dataset", "stats"),
        ("dataset", "quality"),
        ("dataset", "verify"),
        ("dataset", "log"),
        ("dataset", "report"),
        ("dataset", "split"),
        ("dataset", "diff", "t"),
        ("train", "--dataset"),
    ],
)
@pytest.mark.parametrize("name", ["t:test", "t-v2:nosuch"])
def test_a_part_is_refused_where_a_whole_version_is_meant(command, name):
    result = run(*command, name)
    assert result.exit_code == 1
    assert f"dataset '{name}': names a part" in result.stderr
    assert "dpbench evaluate" in result.stderr


@pytest.mark.usefixtures("workspace")
def test_a_part_is_refused_in_python():
    with pytest.raises(ConfigError, match="names a part"):
        dpbench.open_dataset("t:nosuch")


@pytest.mark.usefixtures("workspace")
def test_a_renaming_is_told_once_and_without_the_name_of_a_module():
    assert run("dataset", "rename", "t", "u").exit_code == 0
    lines = run("dataset", "show", "t").stderr.splitlines()
    assert lines == ["WARNING: t is called u now"]
