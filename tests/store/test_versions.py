import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.pack import pack
from dpbench.store.segment import layout
from dpbench.store.staging import staging_folder, sweep
from dpbench.store.summary import describe_quarantine
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.verify.run import verify
from dpbench.store.versions import derive_version
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)


def piece(name, frames, **options):
    return segment_data(frames, [source_entry(name)], **options)


def test_next_version_shares_the_segments_of_its_parent(tmp_path):
    workspace = new_workspace(tmp_path)
    first = commit(workspace, "w", piece("a", random_frames(0, [2, 3])))
    second = commit(workspace, "w", piece("b", random_frames(1, [4])))
    assert (first.version.label, second.version.label) == ("w-v1", "w-v2")
    assert second.version.payload["data"][0] == first.version.payload["data"][0]
    assert second.version.payload["parent"] == first.version.object_id
    assert second.n_added == 1


def test_nothing_new_makes_no_version(tmp_path):
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", piece("a", random_frames(0, [2, 3])))
    again = commit(workspace, "w", piece("b", random_frames(0, [2, 3])))
    assert not again.is_new
    assert again.n_repeated == 2
    assert objects.version_numbers(workspace, "w") == [1]


def test_repeated_frames_are_masked_with_the_reason(tmp_path):
    workspace = new_workspace(tmp_path)
    frames = random_frames(0, [2, 3, 4])
    commit(workspace, "w", piece("a", frames.select([0])))
    outcome = commit(workspace, "w", piece("b", frames.select([0, 1, 1, 2])))
    assert outcome.n_added == 2
    assert outcome.n_repeated == 2
    entry = outcome.version.payload["data"][1]
    assert entry["excluded"] == {"repeated": [[0, 1], [2, 3]]}
    np.testing.assert_array_equal(
        outcome.version.read([1, 2]).coord, frames.select([1, 2]).coord
    )


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 5), max_size=3), data=st.data())
def test_version_digest_does_not_depend_on_how_the_data_came(
    tmp_path_factory, cuts, data
):
    frames = random_frames(0, [1, 2, 3, 2, 1, 4])
    whole = new_workspace(tmp_path_factory.mktemp("whole"))
    expected = commit(whole, "w", piece("all", frames)).version.digest
    order = data.draw(st.permutations(range(6)))
    other = new_workspace(tmp_path_factory.mktemp("parts"))
    for i, part in enumerate(np.split(np.array(order), sorted(set(cuts)))):
        if len(part):
            commit(other, "w", piece(f"part{i}", frames.select(part)))
    assert open_dataset(other, "w").digest == expected


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.integers(1, 8),
    per_shard=st.integers(1, 3),
    codec=st.sampled_from([None, "zstd"]),
    order=st.permutations(range(6)),
    cut=st.integers(0, 6),
)
def test_version_digest_does_not_depend_on_chunks_codec_quarantine_or_masks(
    tmp_path_factory, chunk, per_shard, codec, order, cut
):
    """The same four good and two bad frames, laid down in many ways; all verify."""
    frames = random_frames(0, [1, 2, 3, 2, 1, 4])
    good, bad = frames.select([0, 1, 2, 3]), frames.select([4, 5])
    whole = new_workspace(tmp_path_factory.mktemp("whole"))
    aside = piece("bad", bad, role="quarantine", reason="nan")
    expected = commit(whole, "w", piece("all", good), aside).version.digest
    other = new_workspace(tmp_path_factory.mktemp("parts"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_ROWS", chunk)
        patch.setattr(layout, "SHARD_ROWS", chunk * per_shard)
        for i, part in enumerate((order[:cut], order[cut:])):
            kept = [f for f in part if f < 4]
            out = [f for f in part if f >= 4]
            # Frames of the first part come again, and a frame that is left out later.
            again = [f for f in order[:cut] if f < 4] if i else []
            data = frames.select([*kept, *again])
            pieces = [piece(f"p{i}", data)] if data.nframes else []
            if out:
                data = frames.select(out)
                pieces.append(piece(f"q{i}", data, role="quarantine", reason="nan"))
            if pieces:
                commit(other, "w", *pieces)
        commit(other, "w", piece("extra", random_frames(7, [3])))
        head = open_dataset(other, "w")
        exclude = {"x": np.array([head.nframes - 1])}
        derive_version(other, head, exclude=exclude, created_at="2026-01-02")
        pack(other, "w", compress=codec, chunk_rows=chunk, created_at="2026-01-03")
    assert open_dataset(other, "w").digest == expected
    assert verify(other, None).findings == ()


def test_date_and_note_do_not_enter_the_digest(tmp_path):
    frames = random_frames(0, [2])
    one = commit(new_workspace(tmp_path / "1"), "w", piece("a", frames), note="x")
    two = commit(new_workspace(tmp_path / "2"), "v", piece("b", frames))
    assert one.version.digest == two.version.digest
    assert one.version.object_id != two.version.object_id


def test_quarantined_frames_are_no_data_but_can_be_read(tmp_path):
    workspace = new_workspace(tmp_path)
    bad = random_frames(5, [2])
    bad.force[0] = np.nan
    good = piece("a", random_frames(0, [2, 3]))
    aside = piece("a", bad, role="quarantine", reason="truncated")
    version = commit(workspace, "w", good, aside).version
    assert version.nframes == 2
    assert version.payload["quarantined"] == {"truncated": 1}
    kept_out = version.quarantine()
    assert kept_out.reasons == ("truncated",)
    np.testing.assert_array_equal(kept_out.frames.coord, bad.coord)
    rows = describe_quarantine(version)
    assert rows[0]["force_max"] is None
    clean = commit(new_workspace(tmp_path / "clean"), "w", good).version
    assert clean.digest != version.digest


def test_contradicting_levels_of_theory_are_refused_unless_allowed(tmp_path):
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", piece("a", random_frames(0, [2])))
    pbe = {**THEORY, "functional": "PBE"}
    other = segment_data(
        random_frames(1, [2]), [source_entry("b", theory=fingerprint(pbe))]
    )
    words = (
        r"functional: LDA-PZ \[A\] but PBE \[B\]\. \[A\] 1 source, e\.g\. runs/a\.out"
    )
    with pytest.raises(DatasetError, match=words):
        commit(workspace, "w", other, theories=[pbe])
    assert objects.version_numbers(workspace, "w") == [1]
    mixed = commit(workspace, "w", other, theories=[pbe], allow_mixed_theory=True)
    assert sorted(t["functional"] for t in mixed.version.theories.values()) == [
        "LDA-PZ",
        "PBE",
    ]


def test_rightly_differing_theories_go_together_and_undeclared_ones_do_not(tmp_path):
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", piece("a", random_frames(0, [2])))
    finer = {**THEORY, "kpoints": {"mesh": [2, 2, 2]}}
    for name, theory in (("b0", finer), ("b1", {})):
        source = source_entry(name, theory=fingerprint(theory))
        data = segment_data(random_frames(1, [2]), [source])
        if theory:
            assert commit(workspace, "w", data, theories=[theory]).is_new
            continue
        with pytest.raises(DatasetError, match=r"declared \[A\] but undeclared \[B\]"):
            commit(workspace, "w", data, theories=[theory])
        assert commit(workspace, "u", data, theories=[theory]).is_new


def test_staging_of_a_dead_process_is_swept_and_of_a_living_one_is_not(tmp_path):
    workspace = new_workspace(tmp_path)
    code = (
        "import os, sys\n"
        "from dpbench.store.staging import staging_folder\n"
        "from dpbench.store.workspace import Workspace\n"
        "with staging_folder(Workspace.find(sys.argv[1], create=True)) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert len(list(workspace.stores.glob("*.tmp"))) == 1
    with staging_folder(workspace) as mine:
        assert list(workspace.stores.glob("*.tmp")) == [mine]
        assert sweep(workspace) == []
    assert list(workspace.stores.iterdir()) == []


def test_damaged_segment_is_replaced_where_its_sources_are_read_again(tmp_path, caplog):
    workspace = new_workspace(tmp_path)
    data = piece("a", random_frames(0, [2, 3]))
    segment = commit(workspace, "w", data).version.segments[0].folder
    commit(workspace, "again", data)
    assert not caplog.records
    for name in ("segment.zarr/atoms/coord/c/0/0", "facts.npy", "segment.json"):
        content = bytearray((segment / name).read_bytes())
        content[len(content) // 2] ^= 1
        (segment / name).write_bytes(bytes(content))
        assert verify(workspace, None).findings
        commit(workspace, f"fresh-{name[-1]}", data)
        assert verify(workspace, None).findings == ()
        assert "is damaged; what was just read" in caplog.text
        caplog.clear()
    (segment / "segment.json").unlink()
    commit(workspace, "last", data)
    assert verify(workspace, None).findings == ()
    np.testing.assert_array_equal(
        open_dataset(workspace, "w").read([0, 1]).coord, data.frames.coord
    )
    assert sorted(path.name for path in workspace.stores.iterdir()) == [segment.name]


def test_segment_put_in_the_place_of_a_damaged_one_keeps_its_manifest(tmp_path):
    workspace = new_workspace(tmp_path)
    frames = random_frames(0, [2, 3])
    segment = commit(workspace, "w", piece("a", frames)).version.segments[0].folder
    before = (segment / "segment.json").read_bytes()
    (segment / "facts.npy").unlink()
    elsewhere = source_entry("a", path="copied/a.out")
    commit(workspace, "v", segment_data(frames, [elsewhere]))
    assert (segment / "segment.json").read_bytes() == before
    assert verify(workspace, None).findings == ()


@pytest.mark.parametrize("what", ["energy", "theory", "aside"])
def test_other_content_of_the_same_source_makes_another_segment(tmp_path, what):
    workspace = new_workspace(tmp_path)
    frames, theory, more = random_frames(0, [2, 3]), THEORY, {}
    first = commit(workspace, "one", segment_data(frames, [source_entry("a")])).version
    if what == "energy":
        frames.energy[1] += 1e-9
    elif what == "theory":
        theory = {**THEORY, "cutoff": 500.0}
    else:
        more = {"theory_aside": {"hashes": {"Si": "sha256:1"}}}
    entry = source_entry("a", theory=fingerprint(theory), **more)
    data = segment_data(frames, [entry])
    other = commit(workspace, "two", data, theories=[theory]).version
    assert other.segments[0].id != first.segments[0].id
    np.testing.assert_array_equal(other.read([0, 1]).energy, frames.energy)
    told = other.segments[0].manifest["sources"][0]
    assert (told["theory"], told.get("theory_aside")) == (
        entry["theory"],
        entry.get("theory_aside"),
    )
    assert verify(workspace, None).findings == ()
    again = commit(workspace, "three", data, theories=[theory]).version
    assert again.segments[0].id == other.segments[0].id


WRITER = """
import sys
from pathlib import Path
from dpbench.store.workspace import Workspace
from tests.store.synthetic import commit, random_frames, segment_data, source_entry
workspace, number = Workspace.find(sys.argv[1], create=True), int(sys.argv[2])
for i in range(4):
    seed = 100 * number + i
    data = segment_data(random_frames(seed, [2, 3]), [source_entry(f"s{seed}")])
    assert commit(workspace, "both", data).is_new
"""


def test_writers_at_once_make_consecutive_versions_and_lose_no_frame(tmp_path):
    root = tmp_path / "ws"
    command = [sys.executable, "-W", "error", "-c", WRITER, str(root)]
    writers = [subprocess.Popen([*command, str(i)]) for i in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    workspace = new_workspace(tmp_path)
    assert objects.version_numbers(workspace, "both") == list(range(1, 9))
    assert open_dataset(workspace, "both").nframes == 16
