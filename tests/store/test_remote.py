"""Stores below a URL, tried on file:// and memory://; S3 itself is in services."""

import builtins
import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from obstore.exceptions import GenericError

from dpbench.cli.main import cli
from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.store import catalog, objects
from dpbench.store.dataset import open_dataset
from dpbench.store.history import rename, retract
from dpbench.store.pack import pack
from dpbench.store.references import parse_reference
from dpbench.store.remote.fetch import fetch_version
from dpbench.store.remote.store import remote_errors, remote_of
from dpbench.store.remote_rows import RemoteRows
from dpbench.store.segment import layout
from dpbench.store.summary import list_datasets
from dpbench.store.verify.run import verify
from dpbench.store.versions import derive_version
from dpbench.store.workspace import Workspace
from tests.store.synthetic import new_workspace, trajectories


def configured(folder, text):
    """A workspace with this dpbench.toml."""
    folder.mkdir(exist_ok=True)
    (folder / "dpbench.toml").write_text(text)
    return Workspace.find(folder, create=True)


@pytest.fixture
def url(tmp_path):
    (tmp_path / "store").mkdir()
    return (tmp_path / "store").as_uri()


@pytest.fixture
def two(tmp_path, url):
    """Two workspaces on one store."""
    return [configured(tmp_path / name, f'stores = "{url}"') for name in ("a", "b")]


def test_truth_lies_below_the_url_and_the_folder_is_a_cache(two, tmp_path):
    here, there = two
    outcome = trajectories(here, "t", [3, 2])
    assert (tmp_path / "store" / "objects" / "refs" / "t" / "1").exists()
    assert not (here.root / "objects").exists()
    assert [row["label"] for row in list_datasets(there)] == ["t-v1"]
    version = open_dataset(there, "t")
    trajectories(new_workspace(tmp_path), "t", [3, 2])
    local = open_dataset(new_workspace(tmp_path), "t")
    assert version.digest == local.digest == outcome.version.digest
    np.testing.assert_array_equal(version.read([4, 0]).coord, local.read([4, 0]).coord)
    assert not version.is_mapped


def test_cache_can_be_thrown_away(two):
    here, _ = two
    trajectories(here, "t", [3])
    before = open_dataset(here, "t").read([0, 2]).force
    shutil.rmtree(here.root / "cache")
    here = Workspace.find(here.root)
    assert [row["label"] for row in list_datasets(here)] == ["t-v1"]
    np.testing.assert_array_equal(open_dataset(here, "t").read([0, 2]).force, before)
    assert fetch_version(open_dataset(here, "t"), lambda _: None).n_new == 1
    assert open_dataset(here, "t").is_mapped


def test_damaged_copy_of_an_object_is_fetched_again(two):
    here, _ = two
    trajectories(here, "t", [3])
    digest = objects.version_digest(here, "t", 1)
    path = here.objects / "version" / digest[:2] / f"{digest}.json"
    path.write_text("{}")
    assert open_dataset(here, "t").nframes == 3
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_changed_copy_of_a_manifest_is_refused_and_named(two):
    first, _ = two
    trajectories(first, "w", [3])
    version = open_dataset(first, "w")
    path = first.stores / version.segments[0].id / "segment.json"
    text = path.read_text()
    path.write_text(text.replace("run0.out", "run9.out"))
    with pytest.raises(DatasetError, match="content does not fit its digest"):
        open_dataset(first, "w").segments[0].manifest  # noqa: B018
    for reference in (parse_reference("w"), None):
        places = [finding.where for finding in verify(first, reference).findings]
        assert str(path) in places
    path.unlink()
    assert verify(first, None).findings == ()


def test_missing_objects_references_and_manifests_are_named(two, tmp_path):
    here, there = two
    trajectories(here, "t", [3])
    with pytest.raises(DatasetError, match=r"model/aa/aaaa\.json: there is no such"):
        objects.get(there, "model", "aaaa")
    with pytest.raises(DatasetError, match="the reference of t-v9"):
        objects.version_digest(there, "t", 9)
    next((tmp_path / "store").glob("stores/*/segment.json")).unlink()
    with pytest.raises(DatasetError, match="there is no such object; expected the man"):
        _ = open_dataset(there, "t").segments


def test_registry_is_rebuilt_from_the_store(two):
    here, there = two
    trajectories(here, "t", [3])
    trajectories(here, "u", [2])
    catalog.register_result(here, {"x": 1.0})
    assert catalog.rebuild(there) == catalog.rebuild(here)
    assert list_datasets(there) == list_datasets(here)
    trajectories(there, "t", [3, 4])
    assert [row["label"] for row in list_datasets(here)] == ["t-v2", "u-v1"]


def test_changed_reference_is_noticed_by_its_tag(two, tmp_path):
    here, _ = two
    assert objects.claim_version(here, "t", number=1, digest="a" * 64)
    assert list(objects.all_versions(here)) == [("t", 1, "a" * 64)]
    (tmp_path / "store" / "objects" / "refs" / "t" / "1").unlink()
    assert list(objects.all_versions(here)) == []
    assert objects.claim_version(here, "t", number=1, digest="b" * 64)
    assert list(objects.all_versions(here)) == [("t", 1, "b" * 64)]


def test_lost_answer_to_a_claim_is_not_taken_for_a_loss(two):
    here, there = two
    assert objects.claim_version(here, "t", number=1, digest="a" * 64)
    assert objects.claim_version(here, "t", number=1, digest="a" * 64)
    assert not objects.claim_version(there, "t", number=1, digest="b" * 64)


def test_copies_of_two_stores_are_kept_apart(tmp_path, url):
    one = configured(tmp_path / "ws", f'stores = "{url}"')
    trajectories(one, "t", [3])
    (tmp_path / "other").mkdir()
    other = configured(tmp_path / "ws", f'stores = "{(tmp_path / "other").as_uri()}"')
    assert objects.dataset_names(other) == []
    assert list_datasets(other) == []


def test_memory_store_lives_as_long_as_the_process(tmp_path):
    here = configured(tmp_path / "a", 'stores = "memory:///"')
    trajectories(here, "t", [2])
    there = configured(tmp_path / "b", 'stores = "memory:///"')
    assert open_dataset(there, "t").read([1]).nframes == 1


def test_fetch_of_a_local_workspace_says_that_there_is_nothing_to_fetch(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [2])
    with pytest.raises(WorkspaceError, match="nothing to fetch"):
        fetch_version(open_dataset(workspace, "t"), lambda _: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stores = "bucket/prefix"', "is not a URL"),
        ('stores = "s3://key:secret@bucket"', "not a URL without a password"),
        ('stores = "foo://x/y"', "Unable to recognise URL"),
        ('stores = "s3://b"\n[stores_options]\nendpont = "x"', "endpont"),
        ('stores = "s3://b"\n[stores_options]\nsecret_access_key = "x"', "credential"),
        ('stores = "s3://b"\n[stores_options]\nAWS_ACCESS_KEY_ID = "x"', "credential"),
        ('stores = "gs://b"\n[stores_options]\ntimeout = "abc"', "timeout|abc|durat"),
        ('registry = "sqlite:///x.db"\nindex = "local"', "both 'registry' and 'index'"),
    ],
)
def test_configuration_that_cannot_be_used_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        remote_of(configured(tmp_path / "ws", text))
    assert "dpbench.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_obstore_says_what_to_install(tmp_path, monkeypatch):
    workspace = configured(tmp_path / "ws", 'stores = "s3://never-opened/x"')
    for name in [n for n in sys.modules if n.split(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.split(".")[0] == "obstore":
            raise ImportError("No module named 'obstore'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'dpbench\[s3\]'"):
        remote_of(workspace)


def test_wrong_credentials_are_one_clear_line():
    said = (
        "Generic S3 error: ... status code: 403 Forbidden: <Error>"
        "<Code>InvalidAccessKeyId</Code><Message>It does not exist.</Message></Error>"
    )
    with (
        pytest.raises(WorkspaceError, match="AWS_ACCESS_KEY_ID") as error,
        remote_errors("s3://b/k"),
    ):
        raise GenericError(said)
    expected = "s3://b/k: InvalidAccessKeyId, It does not exist. Set the credentials"
    assert str(error.value).startswith(expected)


def test_derived_and_packed_versions_work_on_a_store(two):
    here, there = two
    trajectories(here, "t", [3, 2])
    head = open_dataset(there, "t")
    less = derive_version(
        there, head, exclude={"bad": np.array([1])}, created_at="2026-01-02"
    )
    assert (less.number, less.nframes) == (2, 4)
    packed = pack(there, "t", created_at="2026-01-03")
    assert packed.is_new
    assert packed.digest == less.digest
    archived = pack(there, "t", compress="zstd", created_at="2026-01-04")
    assert (archived.label, archived.digest) == ("t-v4", less.digest)
    for number in range(1, 5):
        ours, theirs = (open_dataset(w, f"t-v{number}") for w in two)
        np.testing.assert_array_equal(
            ours.read(range(ours.nframes)).coord,
            theirs.read(range(theirs.nframes)).coord,
        )
    assert [row["label"] for row in list_datasets(here)] == ["t-v4"]


def test_renaming_and_retracting_reach_every_machine(two):
    here, there = two
    trajectories(here, "t", [3])
    trajectories(here, "t", [3, 2])
    retract(there, parse_reference("t-v2"), "wrong cutoff")
    rename(there, "t", "u")
    assert open_dataset(here, "u").label == "u-v1"
    with pytest.raises(DatasetError, match="wrong cutoff"):
        open_dataset(here, "u-v2")
    assert list_datasets(here) == list_datasets(there)
    before = list_datasets(here)
    catalog.rebuild(here)
    assert list_datasets(here) == before


def test_damaged_facts_among_many_segments_are_named(two, tmp_path):
    here, there = two
    trajectories(here, "t", [1] * 20)
    facts = sorted((tmp_path / "store").glob("stores/*/facts.npy"))[7]
    facts.write_bytes(facts.read_bytes()[:-1] + b"?")
    with pytest.raises(DatasetError, match=f"{facts.parent.name}/facts.npy: has cha"):
        _ = open_dataset(there, "t").segments


def test_workspace_is_moved_into_a_store_by_copying_two_folders(tmp_path, url, caplog):
    local = new_workspace(tmp_path)
    trajectories(local, "t", [3])
    trajectories(local, "t", [3, 2])
    rename(local, "t", "u")
    before = list_datasets(local)
    for name in ("objects", "stores"):
        shutil.copytree(local.root / name, tmp_path / "store" / name)
    moved = configured(tmp_path / "new", f'stores = "{url}"')
    assert list_datasets(moved) == before
    assert verify(moved, None).findings == ()
    assert not trajectories(moved, "t", [3, 2]).is_new
    assert "of its own" not in caplog.text
    hidden = configured(local.root, f'stores = "{url}"')
    assert list_datasets(hidden) == before
    assert "holds datasets of its own" in caplog.text


@pytest.fixture
def small_shards(monkeypatch):
    """Arrays of many chunks and shards."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 8)
    monkeypatch.setattr(layout, "SHARD_ROWS", 32)


def test_rows_across_chunks_and_shards_are_those_of_the_disk(
    two, tmp_path, small_shards
):
    here, there = two
    trajectories(here, "t", [9, 30], natoms=5)
    local, remote = open_dataset(here, "t"), open_dataset(there, "t")
    assert local.is_mapped
    assert not remote.is_mapped
    arrays = remote.segments[0].arrays
    assert {type(array) for array in arrays.values()} == {RemoteRows}
    rng = np.random.default_rng(0)
    for order in (np.arange(39), rng.permutation(39), [38, 0, 0, 7]):
        ours, theirs = local.read(order), remote.read(order)
        for name in ("coord", "force", "z", "box", "pbc", "energy", "virial"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_archive_is_read_from_a_store_through_zarr(two):
    here, there = two
    trajectories(here, "t", [9, 3])
    pack(here, "t", compress="zstd", created_at="2026-01-03")
    remote = open_dataset(there, "t-v2")
    assert not any(
        isinstance(array, RemoteRows) for array in remote.segments[0].arrays.values()
    )
    np.testing.assert_array_equal(
        remote.read([11, 2]).coord, open_dataset(here, "t-v1").read([11, 2]).coord
    )


def test_cut_or_lost_shard_is_named_when_it_is_read(two, tmp_path, small_shards):
    here, there = two
    trajectories(here, "t", [30], natoms=5)
    shard = next((tmp_path / "store").glob("stores/*/segment.zarr/atoms/coord/c/2/0"))
    good = shard.read_bytes()
    reader = open_dataset(there, "t").segments[0].arrays["coord"]
    out = np.empty((4, 3))
    shard.write_bytes(good[: len(good) // 2])
    with pytest.raises((DatasetError, WorkspaceError), match="atoms/coord"):
        reader.copy(64, 68, out)
    shard.unlink()
    reader = open_dataset(there, "t")
    with pytest.raises(DatasetError, match="coord/c/2/0: is missing"):
        reader.read([0])


def test_shard_of_another_writer_is_read_through_zarr(two, tmp_path, small_shards):
    here, there = two
    trajectories(here, "t", [30], natoms=5)
    local = open_dataset(here, "t").read(range(30)).coord
    shard = next((tmp_path / "store").glob("stores/*/segment.zarr/atoms/coord/c/1/0"))
    data = shard.read_bytes()
    size = 8 * 3 * 8  # one chunk
    chunks = [data[i * size : (i + 1) * size] for i in range(4)]
    places = [3, 0, 1, 2]  # where each chunk lies now
    index = np.array([[size * place, size] for place in places], dtype="<u8").tobytes()
    body = b"".join(chunks[places.index(place)] for place in range(4))
    shard.write_bytes(body + index + crc32c(index))
    remote = open_dataset(there, "t")
    np.testing.assert_array_equal(remote.read(range(30)).coord, local)


def crc32c(data):
    """The checksum behind a shard's index, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return (value ^ 0xFFFFFFFF).to_bytes(4, "little")


def test_fetch_command_says_what_it_brought(two):
    here, there = two
    trajectories(here, "t", [3, 2])
    arguments = ["--workspace", str(there.root), "-q", "dataset", "fetch"]
    first = CliRunner().invoke(cli, [*arguments, "t"])
    assert first.exit_code == 0, first.output
    assert first.output.startswith("t-v1: 2 segments are on the local disk, 2 of them")
    again = CliRunner().invoke(cli, [*arguments, "t-v1", "--json"])
    told = json.loads(again.output)
    assert told == {"label": "t-v1", "n_segments": 2, "n_new": 0, "bytes_new": 0}
