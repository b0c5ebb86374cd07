"""Stores on S3: the same data on every machine, checked, and whole or not there."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.store import catalog, objects
from dpbench.store.dataset import open_dataset
from dpbench.store.references import parse_reference
from dpbench.store.remote.fetch import fetch_version
from dpbench.store.segment import layout
from dpbench.store.summary import list_datasets
from dpbench.store.verify.run import verify
from tests.services.conftest import S3Server
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)


def shard_key(workspace, name="coord"):
    """Key of a shard of the first segment, and its content's length."""
    segment = next(workspace.stores.iterdir())
    manifest = json.loads((segment / "segment.json").read_text())
    file = next(f for f in manifest["files"] if f"atoms/{name}/c/" in f)
    return f"team/data/stores/{segment.name}/{file}"


def flip(bucket, key):
    """Flip one bit; return what it was before."""
    good = bytes(bucket.get(key).bytes())
    data = bytearray(good)
    data[len(data) // 3] ^= 4
    bucket.put(key, bytes(data))
    return good


def test_two_machines_see_the_same_dataset(machine, tmp_path):
    here = machine("here")
    trajectories(here, "t", [4, 3, 5])
    local = new_workspace(tmp_path)
    trajectories(local, "t", [4, 3, 5])
    there = machine("there")
    version = open_dataset(there, "t-v1")
    expected = open_dataset(local, "t")
    assert version.digest == expected.digest == open_dataset(here, "t").digest
    order = np.array([11, 0, 7, 7, 3])
    frames, same = version.read(order), expected.read(order)
    np.testing.assert_array_equal(frames.coord, same.coord)
    np.testing.assert_array_equal(frames.virial, same.virial)
    assert not list(there.stores.glob(f"*/{layout.GROUP}"))
    assert not version.is_mapped
    assert [row["label"] for row in list_datasets(there)] == ["t-v1"]


def test_fetched_dataset_is_mapped_and_equal(machine):
    trajectories(machine("here"), "t", [4, 3])
    there = machine("there")
    remote = open_dataset(there, "t").read(range(7))
    arrived = []
    fetched = fetch_version(open_dataset(there, "t"), arrived.append)
    assert (fetched.n_segments, fetched.n_new) == (2, 2)
    assert fetched.bytes_new == sum(arrived) > 0
    version = open_dataset(there, "t")
    assert version.is_mapped
    np.testing.assert_array_equal(version.read(range(7)).force, remote.force)
    assert fetch_version(version, arrived.append).n_new == 0


def test_stopped_fetch_goes_on_where_it_was(machine, objects_of):
    trajectories(machine("here"), "t", [4])
    there = machine("there")
    key = shard_key(machine("here"))
    good = bytes(objects_of.get(key).bytes())
    objects_of.delete(key)
    version = open_dataset(there, "t")
    first, second = [], []
    with pytest.raises(DatasetError, match="is missing"):
        fetch_version(version, first.append)
    part = next(there.stores.glob(f"*/{layout.GROUP}.part"))
    kept = {
        path.relative_to(part): path.stat().st_mtime_ns
        for path in part.rglob("*")
        if path.is_file()
    }
    objects_of.put(key, good)
    fetch_version(version, second.append)
    whole = part.with_suffix("")
    assert kept
    assert all((whole / p).stat().st_mtime_ns == time for p, time in kept.items())
    assert open_dataset(there, "t").is_mapped


def test_flipped_byte_is_found_by_fetch(machine, objects_of):
    trajectories(machine("here"), "t", [4])
    key = shard_key(machine("here"))
    flip(objects_of, key)
    there = machine("there")
    with pytest.raises(DatasetError, match=f"{key}: has changed"):
        fetch_version(open_dataset(there, "t"), lambda _: None)
    assert not list(there.stores.glob(f"*/{layout.GROUP}"))
    assert not list(there.stores.glob("*/*.fetch"))


def test_flipped_facts_manifest_and_object_are_found_at_open(machine, objects_of):
    here = machine("here")
    trajectories(here, "t", [4])
    segment = next(here.stores.iterdir()).name
    for i, name in enumerate(("facts.npy", "segment.json")):
        key = f"team/data/stores/{segment}/{name}"
        good = flip(objects_of, key)
        with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
            _ = open_dataset(machine(f"m{i}"), "t").facts
        objects_of.put(key, good)
    digest = objects.version_digest(here, "t", 1)
    flip(objects_of, f"team/data/objects/version/{digest[:2]}/{digest}.json")
    with pytest.raises(DatasetError, match="does not fit its name"):
        open_dataset(machine("m3"), "t")
    assert open_dataset(here, "t").nframes == 4  # its own copy is whole


def test_missing_shard_is_not_read_as_fill_values(machine, objects_of):
    trajectories(machine("here"), "t", [4])
    objects_of.delete(shard_key(machine("here")))
    with pytest.raises(DatasetError, match="coord/c/0/0: is missing"):
        open_dataset(machine("there"), "t").read([0])


def test_registry_is_rebuilt_from_the_bucket(machine):
    trajectories(machine("here"), "t", [4, 2])
    catalog.register_result(machine("here"), {"x": 1.5})
    there = machine("there")
    assert catalog.rebuild(there) == catalog.rebuild(machine("here")) == 3
    assert list_datasets(there) == list_datasets(machine("here"))
    assert catalog.results(there) == [{"x": 1.5}]


def test_two_machines_cannot_take_one_version_number(machine):
    here, there = machine("here"), machine("there")
    assert objects.claim_version(here, "t", number=1, digest="a" * 64)
    assert not objects.claim_version(there, "t", number=1, digest="b" * 64)
    assert objects.claim_version(there, "t", number=2, digest="b" * 64)
    assert objects.version_digest(here, "t", 1) == "a" * 64


COMMITTER = """
import sys
from dpbench.store.workspace import Workspace
from tests.store.synthetic import trajectories, commit, segment_data
from tests.store.synthetic import random_frames, source_entry
workspace = Workspace.find(sys.argv[1], create=True)
for i in range(int(sys.argv[2]), int(sys.argv[2]) + 2):
    frames = random_frames(i, [3, 4])
    commit(workspace, "t", segment_data(frames, [source_entry(f"s{i}")]))
"""


def test_machines_without_a_common_registry_lose_nothing(machine, tmp_path):
    roots = [machine(f"m{i}").root for i in range(3)]
    running = [
        subprocess.Popen([sys.executable, "-c", COMMITTER, str(root), str(2 * i)])
        for i, root in enumerate(roots)
    ]
    assert [process.wait(timeout=200) for process in running] == [0] * 3
    one = new_workspace(tmp_path)
    segments = [
        segment_data(random_frames(i, [3, 4]), [source_entry(f"s{i}")])
        for i in range(6)
    ]
    commit(one, "t", *segments)
    there = machine("there")
    assert objects.version_numbers(there, "t") == [1, 2, 3, 4, 5, 6]
    assert open_dataset(there, "t").digest == open_dataset(one, "t").digest
    parents = [open_dataset(there, f"t-v{i}").payload["parent"] for i in range(1, 7)]
    ids = [open_dataset(there, f"t-v{i}").object_id for i in range(1, 7)]
    assert parents == [None, *ids[:-1]]


def test_server_that_dies_during_an_upload_leaves_nothing_named(
    services_python, machine, credentials, monkeypatch
):
    server = S3Server(services_python)
    server.make_bucket("fragile")
    workspace = machine("fragile", endpoint=server.endpoint, bucket="fragile")
    monkeypatch.setattr("dpbench.store.remote.store.RETRIES", 1)
    sent = []

    from dpbench.store.remote import store as remote

    create = remote.RemoteStore.create

    def create_then_die(self, key, data):
        sent.append(key)
        if len(sent) == 9:
            server.kill()
        return create(self, key, data)

    monkeypatch.setattr(remote.RemoteStore, "create", create_then_die)
    with pytest.raises(WorkspaceError, match="The server cannot be reached"):
        trajectories(workspace, "t", [4])
    assert not any("refs" in key or key.endswith("segment.json") for key in sent)
    server.start()  # moto keeps buckets in memory: an empty server
    server.make_bucket("fragile")
    trajectories(workspace, "t", [4])
    assert open_dataset(workspace, "t").nframes == 4
    server.kill()


def test_bytes_that_change_on_the_way_are_found_and_removed(machine, monkeypatch):
    workspace = machine("here")
    from dpbench.store.remote import store as remote

    create = remote.RemoteStore.create

    def create_wrongly(self, key, data):
        is_shard = "coord/c/" in key
        return create(self, key, data[:-1] + b"?" if is_shard else data)

    with monkeypatch.context() as patch:
        patch.setattr(remote.RemoteStore, "create", create_wrongly)
        with pytest.raises(WorkspaceError, match="was changed when it was read back"):
            trajectories(workspace, "t", [4])
    assert objects.version_numbers(workspace, "t") == []
    trajectories(workspace, "t", [4])
    assert open_dataset(workspace, "t").read([2]).nframes == 1


def test_missing_credentials_are_one_clear_line(machine, monkeypatch):
    workspace = machine("here", bucket="never-opened")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="there are no credentials") as error:
        open_dataset(workspace, "t")
    assert "AWS_SECRET_ACCESS_KEY" in str(error.value)


def test_missing_bucket_and_server_are_one_clear_line(machine, monkeypatch):
    monkeypatch.setattr("dpbench.store.remote.store.RETRIES", 0)
    nowhere = machine("nowhere", bucket="nosuchbucket")
    with pytest.raises(WorkspaceError, match=r"NoSuchBucket.*Make the bucket"):
        open_dataset(nowhere, "t")
    with pytest.raises(WorkspaceError, match="NoSuchBucket"):
        trajectories(nowhere, "t", [2])
    down = machine("down", endpoint="http://127.0.0.1:9")
    with pytest.raises(WorkspaceError, match="server cannot be reached") as error:
        open_dataset(down, "t")
    assert "\n" not in str(error.value)


UPLOADER = """
import os, signal, sys
from dpbench.store.remote import store as remote
from dpbench.store.workspace import Workspace
from tests.store.synthetic import trajectories
create, sent = remote.RemoteStore.create, []
def create_or_die(self, key, data):
    sent.append(key)
    if len(sent) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, key, data)
remote.RemoteStore.create = create_or_die
trajectories(Workspace.find(sys.argv[1]), "t", [4])
"""


def test_killed_upload_leaves_nothing_named_and_is_taken_up_again(
    machine, objects_of, tmp_path
):
    here = machine("here")
    command = [sys.executable, "-c", UPLOADER, str(here.root)]
    # 14 arrays with metadata and shards, 3 groups, the facts; then the manifest
    for at in ("4", "30", "32"):
        assert subprocess.run([*command, at], timeout=100).returncode == -9
        there = machine("there")
        assert objects.dataset_names(there) == []
        assert list_datasets(there) == []
        assert verified(there).findings == ()
    assert objects_of.list_with_delimiter("team/data/stores")["common_prefixes"]
    trajectories(here, "t", [4])
    trajectories(new_workspace(tmp_path), "t", [4])
    expected = open_dataset(new_workspace(tmp_path), "t").digest
    assert open_dataset(there, "t").digest == expected
    assert verified(there).findings == ()


def test_commands_work_on_a_bucket(machine, shared_data):
    source = shared_data / "generated" / "water8_qe_pbe"
    here, there = machine("here"), machine("there")

    def run(workspace, *arguments):
        result = CliRunner().invoke(cli, [*arguments, "--workspace", workspace.root])
        assert result.exit_code == 0, result.output
        return result.output

    run(here, "ingest", "qe", str(source), "--dataset", "w", "--workers", "0")
    assert "w-v1" in run(here, "dataset", "list")
    assert run(here, "dataset", "show", "w") == run(there, "dataset", "show", "w")
    assert "of them new" in run(there, "dataset", "fetch", "w", "-q")
    assert json.loads(run(there, "dataset", "fetch", "w", "--json"))["n_new"] == 0
    run(there, "registry", "rebuild")
    again = run(there, "-q", "ingest", "qe", str(source), "--dataset", "w", "--json")
    assert json.loads(again)["label"] == "w-v1"


def test_training_on_a_bucket_is_training_on_the_disk(machine, shared_data, tmp_path):
    """Below one block of frames, where the shuffle is the same, bit for bit."""
    source = shared_data / "generated" / "water8_qe_pbe"
    (tmp_path / "disk").mkdir()
    roots = {"disk": tmp_path / "disk", "bucket": machine("here").root}
    told = {}
    for name, root in roots.items():
        arguments = ["--workspace", root, "-q"]
        ingest = ["ingest", "qe", source, "--dataset", "w", "--workers", "0"]
        train = ["train", "--dataset", "w", "--steps", "3", "--json", "--device", "cpu"]
        result = CliRunner().invoke(cli, [*arguments, *map(str, ingest)])
        assert result.exit_code == 0, result.output
        if name == "bucket":
            root = machine("there").root
            arguments[1] = root
        result = CliRunner().invoke(
            cli, [*arguments, *train, "--out", str(tmp_path / f"{name}.pth")]
        )
        assert result.exit_code == 0, result.output
        told[name] = json.loads(result.stdout)
    assert not list(machine("there").stores.glob(f"*/{layout.GROUP}"))
    errors = [
        {key: v for key, v in told[name]["last"].items() if key.startswith("rmse_")}
        for name in ("bucket", "disk")
    ]
    assert len(errors[0]) == 6
    assert errors[0] == errors[1]


def verified(workspace, name=None):
    return verify(workspace, parse_reference(name) if name else None)


def test_whole_bucket_is_verified_and_a_flipped_bit_named(machine, objects_of):
    here, there = machine("here"), machine("there")
    trajectories(here, "t", [4, 3])
    catalog.register_result(here, {"x": 1.5})
    fetch_version(open_dataset(there, "t"), lambda _: None)
    for workspace in (here, there, machine("third")):
        told = verified(workspace)
        assert told.findings == ()
        assert (told.n_versions, told.n_segments, told.n_frames) == (1, 2, 7)
    key = shard_key(here)
    good = flip(objects_of, key)
    for workspace in (here, machine("fourth")):
        finding = verified(workspace, "t").findings[0]
        assert finding.where.endswith(key)
        assert finding.where.startswith("s3://")
        assert (finding.array, finding.chunk) == ("atoms/coord", 0)
    objects_of.put(key, good)
    digest = objects.version_digest(here, "t", 1)
    flip(objects_of, f"team/data/objects/version/{digest[:2]}/{digest}.json")
    assert digest in verified(here, "t").findings[0].where


def test_flipped_bit_in_a_fetched_copy_is_named(machine):
    here = machine("here")
    trajectories(here, "t", [4])
    path = here.stores.parent / shard_key(here).removeprefix("team/data/")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    finding = verified(here, "t").findings[0]
    assert finding.where == str(path)
    assert "remove the folder" in finding.found
