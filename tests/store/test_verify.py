import json
import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import DatasetError
from dpbench.store import catalog, objects
from dpbench.store.dataset import open_dataset
from dpbench.store.events import new_event
from dpbench.store.history import rename, retract
from dpbench.store.references import parse_reference
from dpbench.store.segment import chunks, layout
from dpbench.store.shelf import FolderShelf
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.verify.findings import Findings
from dpbench.store.verify.registry import verify_rows
from dpbench.store.verify.run import verify
from dpbench.store.versions import derive_version
from dpbench.store.workspace import Workspace
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

FORMAT_1 = Path(__file__).parents[1] / "data" / "workspace-format-1.zip"
FRAMES = random_frames(0, [3, 4, 2, 5, 3, 3, 4, 2])


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Small chunks: 4 rows each, two a shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_ROWS", 4)
        patch.setattr(layout, "SHARD_ROWS", 8)
        workspace = new_workspace(tmp_path_factory.mktemp("template"))
        commit(workspace, "w", segment_data(FRAMES, [source_entry("a")]))
        good = segment_data(random_frames(1, [2, 2]), [source_entry("b")])
        bad = segment_data(
            random_frames(2, [3]), [source_entry("c")], role="quarantine", reason="nan"
        )
        commit(workspace, "w", good, bad)
    head = open_dataset(workspace, "w")
    derive_version(
        workspace, head, exclude={"x": np.array([0])}, created_at="2026-01-02"
    )
    save_split(head, make_split(head, strategy="random"))
    commit(workspace, "u", segment_data(random_frames(9, [2]), [source_entry("u")]))
    catalog.register_model(workspace, {"digest": "m"})
    catalog.register_run(workspace, {"run_id": "r"})
    catalog.register_result(workspace, {"x": 1})
    return workspace.root


@pytest.fixture
def workspace(tmp_path, template):
    shutil.copytree(template, tmp_path / "ws")
    return Workspace.find(tmp_path / "ws")


def found(workspace, reference=None):
    wanted = None if reference is None else parse_reference(reference)
    return list(verify(workspace, wanted).findings)


def only(workspace, reference=None):
    findings = found(workspace, reference)
    assert len(findings) == 1, [str(f) for f in findings]
    return findings[0]


def first_segment(workspace):
    return workspace.stores / open_dataset(workspace, "w-v1").payload["data"][0]["id"]


def flip(path, position=0, bit=0):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_whole_workspace_verifies(workspace):
    verified = verify(workspace, None)
    assert verified.findings == ()
    assert (verified.n_versions, verified.n_segments) == (4, 4)
    assert verified.n_frames == 8 + 2 + 1 + 1
    sizes = [p.stat().st_size for p in workspace.root.rglob("*") if p.is_file()]
    assert verified.n_bytes < sum(sizes)
    assert verify(workspace, parse_reference("w")).n_versions == 3
    assert verify(workspace, parse_reference("w-v1")).n_segments == 1


@pytest.mark.parametrize(
    ("array", "shard", "byte", "chunk", "frames"),
    [
        ("atoms/coord", 0, 0, 0, (0, 2)),  # 3 + 1 atoms
        ("atoms/coord", 1, 4 * 24 + 5, 3, (3, 5)),  # atoms 12 to 15
        ("atoms/z", 3, 1, 6, (7, 8)),  # atoms 24 and 25
        ("frames/energy", 0, 4 * 8, 1, (4, 8)),
        ("frames/hash", 0, 0, 0, (0, 4)),
    ],
)
def test_a_flipped_bit_is_found_in_its_chunk(
    workspace, array, shard, byte, chunk, frames
):
    folder = first_segment(workspace) / "segment.zarr" / array / "c" / str(shard)
    path = next(p for p in [folder, *folder.rglob("*")] if p.is_file())
    flip(path, byte, 3)
    finding = found(workspace)[0]
    assert finding.where == str(path)
    assert (finding.array, finding.chunk, finding.frames) == (array, chunk, frames)
    assert f"chunk {chunk} has changed" in finding.found
    assert finding.versions == ("w-v1", "w-v2", "w-v3")
    assert found(workspace, "u") == []


def test_the_frames_that_changed_are_named(workspace):
    folder = first_segment(workspace) / "segment.zarr"
    flip(folder / "frames/energy/c/0", 6 * 8 + 2, 1)
    file, frame = found(workspace, "w-v1")
    assert file.chunk == 1
    assert "digest of frame 6" in frame.found
    assert "step 6 of runs/a.out" in frame.found


def test_the_index_of_a_shard_is_told_from_its_chunks(workspace):
    path = first_segment(workspace) / "segment.zarr/frames/energy/c/0"
    flip(path, path.stat().st_size - 2)
    finding = found(workspace)[0]
    assert finding.found.startswith("chunks 0 to 1: the index")
    assert finding.chunk is None


def test_a_cut_file_is_told_with_its_sizes(workspace):
    path = first_segment(workspace) / "segment.zarr/atoms/force/c/1/0"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    finding = found(workspace)[0]
    assert finding.found == f"chunks 2 to 3: the file has {size - 3} bytes; " + (
        f"expected {size}"
    )
    assert finding.frames == (2, 5)


def test_missing_and_extra_files_are_named(workspace):
    folder = first_segment(workspace)
    (folder / "segment.zarr/atoms/force/c/0/0").unlink()
    (folder / "note.txt").write_text("x")
    findings = found(workspace, "w")
    assert [(Path(f.where).name, f.found.split(";")[0]) for f in findings] == [
        ("note.txt", "is an extra file"),
        ("0", "is missing (chunks 0 to 1)"),
    ]


@pytest.mark.parametrize(
    "name", ["facts.npy", "segment.json", "segment.zarr/zarr.json"]
)
@pytest.mark.parametrize("where", [0.05, 0.5, 0.95])
def test_a_flip_in_the_other_files_of_a_segment_is_named(workspace, name, where):
    path = first_segment(workspace) / name
    flip(path, int(path.stat().st_size * where), 2)
    assert str(path) in {f.where for f in found(workspace)}


def rewritten(path, old, new):
    """A manifest with another value, written as dpbench writes it."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_manifest_that_reads_well_and_says_otherwise_is_named(workspace):
    path = first_segment(workspace) / "segment.json"
    rewritten(path, "runs/a.out", "runs/b.out")
    assert "does not fit its digest" in only(workspace).found


def forged(workspace, change):
    """A segment whose files, manifest and hashes fit each other, and not the truth."""
    folder = first_segment(workspace)
    change(folder)
    from dpbench.store.files import sha256_of_tree
    from dpbench.store.segment.manifest import (
        manifest_digest,
        manifest_text,
        storage_digest,
    )

    path = folder / "segment.json"
    content = json.loads(path.read_text())
    files = {n: d for n, d in sha256_of_tree(folder).items() if n != "segment.json"}
    content["files"], content["storage_digest"] = files, storage_digest(files)
    content["chunks"] = chunks.checksums(folder, list(files))
    content["manifest_digest"] = manifest_digest(content)
    path.write_text(manifest_text(content))


def test_frames_that_do_not_make_their_digests_are_found_behind_right_hashes(
    workspace,
):
    forged(workspace, lambda f: flip(f / "segment.zarr/atoms/coord/c/0/0", 7, 0))
    finding = only(workspace)
    assert "digest of frame 0 does not fit the arrays" in finding.found
    assert finding.versions == ("w-v1", "w-v2", "w-v3")


@pytest.mark.parametrize("name", ["step", "source_id", "natoms", "n_scf", "labels"])
def test_facts_that_contradict_the_arrays_are_found_behind_right_hashes(
    workspace, name
):
    def change(folder):
        facts = np.load(folder / "facts.npy")
        if name == "natoms":
            facts["natoms"][[0, 1]] = facts["natoms"][[1, 0]]
        else:
            facts[name][-1] += 1
        np.save(folder / "facts.npy", facts)

    forged(workspace, change)
    told = " ".join(f.found for f in found(workspace))
    assert f"the {name} of frame" in told


# -- objects, references, registry ------------------------------------------------


@pytest.mark.parametrize("kind", ["version", "split", "theory", "model", "run"])
def test_damaged_and_missing_objects_are_named(workspace, kind):
    path = next((workspace.objects / kind).glob("*/*.json"))
    whole = path.read_bytes()
    flip(path, len(whole) // 2)
    findings = found(workspace)
    assert str(path) in {f.where for f in findings}
    assert "does not fit its name" in findings[0].found
    path.unlink()
    assert any(str(path) in str(f) for f in found(workspace))


def test_damaged_references_are_named(workspace):
    path = workspace.objects / "refs" / "w" / "2"
    whole = path.read_text()
    path.write_text(whole[:-1] + ("0" if whole[-1] != "0" else "1"))
    assert str(path) in found(workspace)[0].where
    assert "is not there" in found(workspace)[0].found
    path.write_text(whole[:10])
    assert "expected the digest of a version" in found(workspace)[0].found
    path.write_text((workspace.objects / "refs" / "w" / "1").read_text())
    assert "names the object of w-v1; expected w-v2" in found(workspace)[0].found
    path.unlink()
    assert "is missing; expected the reference of w-v2" in found(workspace)[0].found
    newest = workspace.objects / "refs" / "w" / "3"
    path.write_text(whole)
    newest.unlink()
    assert "is missing; the registry knows w-v3" in only(workspace).found


def test_a_version_that_does_not_fit_its_frames_is_named(workspace):
    """Written whole, under its right name, and wrong."""
    path = workspace.objects / "refs" / "u" / "1"
    payload = objects.get(workspace, "version", path.read_text())
    path.write_text(objects.put(workspace, "version", {**payload, "n_frames": 2}))
    assert "holds {'data': 1, 'quarantine': 0} frames" in found(workspace, "u")[0].found
    wrong = {**payload, "digest": f"dpb1:{'0' * 64}"}
    path.write_text(objects.put(workspace, "version", wrong))
    assert f"expected dpb1:{'0' * 64}" in only(workspace, "u").found


def test_a_foreign_file_among_the_objects_is_named(workspace):
    (workspace.objects / "version" / "note.txt").write_text("x")
    assert "is an extra file" in only(workspace).found
    (workspace.objects / "version" / ".x.json.abc.tmp").write_text("left by a kill")
    assert len(found(workspace)) == 1


def test_a_damaged_registry_and_one_that_says_otherwise_are_named(workspace):
    connection = sqlite3.connect(workspace.root / "registry.db")
    connection.execute("DROP TRIGGER guard_version_update")
    connection.execute("UPDATE version SET n_frames = 7 WHERE number = 2")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    finding = only(workspace)
    assert finding.where.endswith("registry.db")
    assert "table version does not say what the files say" in finding.found
    (workspace.root / "registry.db").write_bytes(b"none at all" * 500)
    assert "registry rebuild" in only(workspace).found
    catalog.rebuild(workspace)
    assert found(workspace) == []


def test_a_commit_while_the_registry_is_compared_is_no_fault(workspace, monkeypatch):
    catch_up = catalog.catch_up

    def and_then_a_colleague(connection, place):
        monkeypatch.setattr(catalog, "catch_up", catch_up)
        n_objects = catch_up(connection, place)
        data = segment_data(random_frames(20, [2]), [source_entry("late")])
        commit(place, "late", data)
        return n_objects

    monkeypatch.setattr(catalog, "catch_up", and_then_a_colleague)
    assert found(workspace) == []
    assert open_dataset(workspace, "late").nframes == 1


def test_a_file_that_comes_after_the_listing_is_not_missing(workspace, monkeypatch):
    keys = FolderShelf.keys
    monkeypatch.setattr(
        FolderShelf, "keys", lambda shelf, prefix: keys(shelf, prefix)[1:]
    )
    findings = Findings()
    verify_rows(workspace, FolderShelf(workspace), findings)
    assert findings.faults == []


def test_two_datasets_of_one_name_are_named(workspace):
    """As two machines make them that share no lock."""
    objects.put(workspace, "event", new_event("renamed", "w", name="u", before="w"))
    catalog.synchronise(workspace)
    finding = only(workspace)
    assert "dataset w is called u today, and so is another one" in finding.found
    assert open_dataset(workspace, "u").key == "u"
    assert open_dataset(workspace, "w").key == "w"
    rename(workspace, "w", "free")
    assert found(workspace) == []


def test_retracted_and_renamed_versions_verify(workspace):
    retract(workspace, parse_reference("w-v2"), "a reason")
    rename(workspace, "w", "h2o")
    assert found(workspace) == []
    assert verify(workspace, parse_reference("h2o")).n_versions == 3
    assert verify(workspace, parse_reference("w-v2")).n_versions == 1
    flip(first_segment_of(workspace, "h2o-v1") / "facts.npy", -1)
    assert found(workspace, "h2o")[0].versions == ("h2o-v1", "h2o-v2", "h2o-v3")


def first_segment_of(workspace, label):
    return workspace.stores / open_dataset(workspace, label).payload["data"][0]["id"]


def test_a_damaged_segment_does_not_hide_another(workspace):
    flip(first_segment(workspace) / "facts.npy", -1)
    second = open_dataset(workspace, "w").payload["data"][1]["id"]
    flip(workspace.stores / second / "facts.npy", -1)
    bad = {f.where for f in found(workspace) if f.where.endswith("facts.npy")}
    assert len(bad) == 2


def test_what_does_not_exist_is_not_verified(workspace):
    with pytest.raises(DatasetError, match="no such dataset"):
        found(workspace, "v")
    with pytest.raises(DatasetError, match="no such version"):
        found(workspace, "w-v7")


# -- segments of older releases ----------------------------------------------------


def test_a_segment_without_checksums_of_chunks_names_the_chunk_by_the_frames(
    tmp_path,
):
    with zipfile.ZipFile(FORMAT_1) as archive:
        archive.extractall(tmp_path / "ws")
    workspace = Workspace.find(tmp_path / "ws")
    assert found(workspace) == []
    folder = next(p for p in workspace.stores.iterdir() if p.is_dir())
    flip(folder / "segment.zarr/atoms/coord/c/0/0", 30, 4)
    finding = found(workspace)[0]
    assert (finding.array, finding.chunk) == ("atoms/coord", 0)
    assert finding.found.startswith("chunk 0: has changed")
    assert finding.frames is not None


def test_every_flip_in_a_shard_changes_one_checksum(workspace):
    """Every byte of a shard of 4 chunks, its index too."""
    folder = first_segment(workspace)
    entries = json.loads((folder / "segment.json").read_text())["chunks"]
    name = "segment.zarr/atoms/z/c/0"
    data = (folder / name).read_bytes()
    assert chunks.damaged_places(name, entries[name], data) == []
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 16
        places = chunks.damaged_places(name, entries[name], bytes(flipped))
        assert [p.part for p in places] == ["chunk" if position < 8 else "index"], (
            position
        )
        if position < 8:
            assert places[0].first == position // 4


# -- the command ------------------------------------------------------------------


def command(workspace, *arguments):
    root = str(workspace.root)
    return CliRunner().invoke(
        cli, ["--workspace", root, "dataset", "verify", *arguments]
    )


def test_the_command_lists_every_finding_and_exits_1(workspace):
    done = command(workspace, "--all")
    assert done.exit_code == 0
    assert "everything is as it was written" in done.output
    flip(first_segment(workspace) / "segment.zarr/frames/energy/c/0")
    done = command(workspace, "w")
    assert done.exit_code == 1
    assert "array frames/energy; chunk 0 has changed" in done.output
    told = json.loads(command(workspace, "w", "--json").output)
    assert told["ok"] is False
    assert told["findings"][0]["chunk"] == 0
    assert command(workspace).exit_code == 2
    assert command(workspace, "w", "--all").exit_code == 2
    assert objects.version_numbers(workspace, "w") == [1, 2, 3]
