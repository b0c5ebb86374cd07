from pathlib import Path

import pytest

from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.store import objects
from dpbench.store.files import write_exclusively
from dpbench.store.workspace import Workspace


def test_first_write_makes_a_hidden_folder_here(in_tmp):
    assert Workspace.find(create=True).root == in_tmp / ".dpbench"
    assert Workspace.find().stores.is_dir()


def test_nearest_workspace_upwards_is_found(in_tmp, monkeypatch):
    made = Workspace.find(create=True)
    below = in_tmp / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Workspace.find().root == made.root


def test_explicit_wins_over_variable_and_variable_over_nearest(in_tmp, monkeypatch):
    Workspace.find(create=True)
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(in_tmp / "named"))
    assert Workspace.find(create=True).root == in_tmp / "named"
    explicit = Workspace.find(in_tmp / "explicit", create=True)
    assert explicit.root == in_tmp / "explicit"


@pytest.mark.parametrize("make", [False, True])
def test_reading_where_there_is_no_workspace_is_one_clear_error(in_tmp, make):
    if make:
        (in_tmp / "ws").mkdir()
    with pytest.raises(WorkspaceError, match="expected a dpbench workspace"):
        Workspace.find(in_tmp / "ws")


def test_file_in_place_of_a_workspace_is_refused(in_tmp):
    (in_tmp / "ws").write_text("")
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.find(in_tmp / "ws", create=True)


def test_configuration_is_read_strictly(in_tmp):
    root = Workspace.find(create=True).root
    (root / "dpbench.toml").write_text('registry = "sqlite:///x.db"')
    assert Workspace.find().config.registry == "sqlite:///x.db"
    (root / "dpbench.toml").write_text('registri = "x"')
    with pytest.raises(ConfigError, match="did you mean 'registry'"):
        Workspace.find()


def test_objects_are_found_by_their_content(in_tmp):
    workspace = Workspace.find(create=True)
    digest = objects.put(workspace, "model", {"b": 1, "a": [1.5, None]})
    assert objects.put(workspace, "model", {"a": [1.5, None], "b": 1}) == digest
    assert objects.get(workspace, "model", digest) == {"a": [1.5, None], "b": 1}
    assert objects.all_of(workspace, "model").keys() == {digest}
    assert objects.all_of(workspace, "run") == {}


def test_damaged_or_missing_objects_are_named(in_tmp):
    workspace = Workspace.find(create=True)
    digest = objects.put(workspace, "model", {"a": 1})
    path = next(workspace.objects.rglob("*.json"))
    path.write_text('{"a":2}')
    with pytest.raises(DatasetError, match=f"{digest}.json: the content"):
        objects.get(workspace, "model", digest)
    path.unlink()
    with pytest.raises(DatasetError, match=f"{digest}.json: cannot be"):
        objects.get(workspace, "model", digest)


def test_not_a_number_is_refused_in_objects(in_tmp):
    with pytest.raises(ValueError, match="JSON"):
        objects.put(Workspace.find(create=True), "model", {"a": float("nan")})


def test_only_one_of_two_can_claim_a_version(in_tmp):
    assert write_exclusively(in_tmp / "1", b"first")
    assert not write_exclusively(in_tmp / "1", b"second")
    assert (in_tmp / "1").read_bytes() == b"first"
    assert [path.name for path in in_tmp.iterdir()] == ["1"]


def test_link_whose_answer_got_lost_is_known_as_ours(in_tmp, monkeypatch):
    link = Path.hardlink_to

    def link_twice(self, target):
        link(self, target)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", link_twice)
    assert write_exclusively(in_tmp / "1", b"first")
    assert not write_exclusively(in_tmp / "1", b"second")
    assert (in_tmp / "1").read_bytes() == b"first"


def test_only_a_workspace_without_any_file_is_removed(in_tmp):
    workspace = Workspace.find(create=True)
    (workspace.root / "registry.db").write_text("")
    workspace.remove_if_empty()
    assert workspace.stores.is_dir()
    (workspace.root / "registry.db").unlink()
    workspace.remove_if_empty()
    assert not workspace.root.exists()
