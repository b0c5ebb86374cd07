import logging
from contextlib import contextmanager

import numpy as np
import pytest

from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.store import catalog, objects, versions
from dpbench.store.dataset import open_dataset
from dpbench.store.history import history, rename, retract, retraction
from dpbench.store.references import parse_reference
from dpbench.store.splits.making import list_splits, make_split, save_split
from dpbench.store.summary import describe, list_datasets
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import derive_version
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)
from tests.store.test_catalog import contents

NOW = "2026-01-02T00:00:00+00:00"


@pytest.fixture
def workspace(tmp_path):
    workspace = new_workspace(tmp_path)
    for seed in range(3):
        source = source_entry(f"s{seed}")
        commit(workspace, "w", segment_data(random_frames(seed, [2, 3]), [source]))
    return workspace


def take_back(workspace, label, reason="two cutoffs"):
    return retract(workspace, parse_reference(label), reason)


def test_history_tells_what_each_version_changed(workspace):
    head = open_dataset(workspace, "w")
    derive_version(
        workspace, head, exclude={"x": np.array([0])}, created_at=NOW, note="clean"
    )
    pbe = {**THEORY, "functional": "PBE"}
    other = segment_data(
        random_frames(9, [2]), [source_entry("p", theory=fingerprint(pbe))]
    )
    commit(workspace, "w", other, theories=[pbe], allow_mixed_theory=True)
    entries = history(workspace, "w")["versions"]
    keys = ("label", "parent", "added", "removed", "relabelled", "n_frames")
    assert [tuple(e[k] for k in keys) for e in entries] == [
        ("w-v1", None, 2, 0, 0, 2),
        ("w-v2", "w-v1", 2, 0, 0, 4),
        ("w-v3", "w-v2", 2, 0, 0, 6),
        ("w-v4", "w-v3", 0, 1, 0, 5),
        ("w-v5", "w-v4", 1, 0, 0, 6),
    ]
    assert entries[3]["note"] == "clean"
    assert entries[3]["created_at"] == NOW
    assert [bool(e["mixed_theory"]) for e in entries] == [False] * 4 + [True]
    assert entries[4]["mixed_theory"][0]["key"] == "functional"


def test_history_of_nothing_names_the_nearest(workspace):
    with pytest.raises(DatasetError, match=r"no such dataset .* did you mean 'w'"):
        history(workspace, "ww")


# -- retracting -------------------------------------------------------------------


def test_retracted_versions_are_kept_and_not_used(workspace):
    retracted = open_dataset(workspace, "w-v3")
    assert take_back(workspace, "w-v3") == "w-v3"
    assert open_dataset(workspace, "w").label == "w-v2"
    with pytest.raises(DatasetError, match=r"w-v3: was retracted by .*: two cutoffs\."):
        open_dataset(workspace, "w-v3")
    again = open_dataset(workspace, "w-v3", allow_retracted=True)
    assert again.digest == retracted.digest
    assert retraction(workspace, retracted.object_id).reason == "two cutoffs"
    assert retraction(workspace, open_dataset(workspace, "w").object_id) is None
    told = history(workspace, "w")["versions"][2]["retraction"]
    assert told["reason"] == "two cutoffs"
    row = list_datasets(workspace)[0]
    assert (row["label"], row["versions"], row["n_frames"]) == ("w-v2", 3, 4)
    listed = describe(open_dataset(workspace, "w"))["versions"]
    assert [r["retracted"] for r in listed] == [False, False, True]


def test_the_next_version_after_a_retracted_one_starts_from_what_holds(workspace):
    take_back(workspace, "w-v3")
    data = segment_data(random_frames(9, [2]), [source_entry("new")])
    version = commit(workspace, "w", data).version
    assert (version.label, version.nframes) == ("w-v4", 5)
    assert version.payload["parent"] == open_dataset(workspace, "w-v2").object_id


def test_when_all_versions_are_retracted_the_reason_is_told(workspace):
    for number in (1, 2, 3):
        take_back(workspace, f"w-v{number}", f"reason {number}")
    with pytest.raises(DatasetError, match="reason 3"):
        open_dataset(workspace, "w")
    row = list_datasets(workspace)[0]
    assert (row["label"], row["retracted"]) == ("w-v3", True)


@pytest.mark.parametrize(
    ("label", "reason", "error", "message"),
    [
        ("w", "x", ConfigError, "w: is not one version; expected its number"),
        ("w-v2:test", "x", ConfigError, "is not one version"),
        ("w-v2", "  ", ConfigError, "the reason is empty"),
        ("w-v9", "x", DatasetError, "no such version; w has versions 1 to 3"),
        ("u-v1", "x", DatasetError, "no such dataset"),
    ],
)
def test_what_cannot_be_retracted_is_refused(workspace, label, reason, error, message):
    with pytest.raises(error, match=message):
        take_back(workspace, label, reason)
    assert objects.digests(workspace, "event") == []


def test_a_name_without_number_is_never_a_retracted_version(workspace):
    take_back(workspace, "w-v3")
    assert open_dataset(workspace, "w", allow_retracted=True).label == "w-v2"


def test_a_version_is_retracted_once(workspace):
    take_back(workspace, "w-v2")
    with pytest.raises(DatasetError, match=r"was retracted already.*two cutoffs"):
        take_back(workspace, "w-v2", "other")
    assert retraction_reasons(workspace) == ["two cutoffs"]


def retraction_reasons(workspace):
    entries = history(workspace, "w")["versions"]
    return [e["retraction"]["reason"] for e in entries if e["retraction"]]


def test_what_was_derived_from_a_version_retracted_meanwhile_is_refused(workspace):
    head = open_dataset(workspace, "w")
    for number in (1, 2, 3):
        take_back(workspace, f"w-v{number}")
    with pytest.raises(DatasetError, match=r"w-v3: was retracted meanwhile, and no"):
        derive_version(workspace, head, exclude={"x": np.array([0])}, created_at=NOW)
    assert objects.version_numbers(workspace, "w") == [1, 2, 3]


def test_interrupt_after_the_rows_are_there_leaves_the_version(workspace, monkeypatch):
    plain = versions.transaction

    @contextmanager
    def interrupted(*arguments, **options):
        with plain(*arguments, **options) as connection:
            yield connection
        raise KeyboardInterrupt

    data = segment_data(random_frames(7, [2]), [source_entry("s7")])
    with monkeypatch.context() as patch:
        patch.setattr(versions, "transaction", interrupted)
        with pytest.raises(KeyboardInterrupt):
            commit(workspace, "w", data)
    assert open_dataset(workspace, "w").label == "w-v4"
    data = segment_data(random_frames(8, [2]), [source_entry("s8")])
    assert commit(workspace, "w", data).version.label == "w-v5"


def test_version_whose_rows_cannot_be_written_is_taken_back(workspace, monkeypatch):
    def fail(*_):
        raise WorkspaceError("no rows")

    data = segment_data(random_frames(7, [2]), [source_entry("s7")])
    with monkeypatch.context() as patch:
        patch.setattr(versions, "index_version", fail)
        with pytest.raises(WorkspaceError, match="no rows"):
            commit(workspace, "w", data)
    assert objects.version_numbers(workspace, "w") == [1, 2, 3]
    assert commit(workspace, "w", data).version.label == "w-v4"


# -- renaming ---------------------------------------------------------------------


def test_a_renamed_dataset_keeps_its_versions_and_its_old_name(workspace, caplog):
    before = open_dataset(workspace, "w-v2")
    split = make_split(before, fractions={"train": 0.5, "test": 0.5})
    save_split(before, split)
    assert rename(workspace, "w", "h2o") == "w"
    with caplog.at_level(logging.WARNING, logger="dpbench"):
        version = open_dataset(workspace, "h2o-v2")
        assert not caplog.records
        old = open_dataset(workspace, "w-v2")
        assert open_dataset(workspace, "w").label == "h2o-v3"
        assert [r.getMessage() for r in caplog.records] == ["w is called h2o now"]
    assert version.label == old.label == "h2o-v2"
    assert version.object_id == before.object_id
    assert [s.digest for s in list_splits(version)] == [split.digest]
    assert [row["label"] for row in list_datasets(workspace)] == ["h2o-v3"]
    told = history(workspace, "w")
    assert (told["name"], [e["before"] for e in told["names"]]) == ("h2o", ["w"])


def test_both_names_go_on_growing_one_dataset(workspace):
    rename(workspace, "w", "h2o")
    for number, name in ((4, "h2o"), (5, "w")):
        data = segment_data(random_frames(number, [2]), [source_entry(f"n{number}")])
        assert commit(workspace, name, data).version.label == f"h2o-v{number}"
    assert objects.dataset_names(workspace) == ["w"]


def test_names_are_never_given_twice(workspace):
    trajectories(workspace, "u", [2])
    rename(workspace, "w", "h2o")
    for old, new in (("u", "w"), ("u", "h2o"), ("w", "u")):
        with pytest.raises(DatasetError, match="of another dataset"):
            rename(workspace, old, new)
    with pytest.raises(ConfigError, match="is called h2o already"):
        rename(workspace, "w", "h2o")
    with pytest.raises(ConfigError, match="names a version"):
        rename(workspace, "w", "x-v2")
    with pytest.raises(DatasetError, match="no such dataset"):
        rename(workspace, "nothing", "x")


def test_a_dataset_may_get_its_first_name_back(workspace):
    rename(workspace, "w", "a")
    rename(workspace, "a", "b")
    rename(workspace, "b", "w")
    assert open_dataset(workspace, "a").label == "w-v3"
    assert [e["name"] for e in history(workspace, "b")["names"]] == ["a", "b", "w"]


def test_a_name_given_away_during_an_ingest_is_noticed(workspace, monkeypatch):
    """Between the look at the name and the lock of the commit."""
    from dpbench.store import versions

    upload = versions.upload_early

    def rename_first(*arguments):
        upload(*arguments)
        rename(workspace, "w", "new")

    monkeypatch.setattr(versions, "upload_early", rename_first)
    data = segment_data(random_frames(9, [2]), [source_entry("n")])
    with pytest.raises(WorkspaceError, match="has just been given this name"):
        commit(workspace, "new", data)
    assert objects.dataset_names(workspace) == ["w"]


def test_names_and_retractions_are_in_the_rebuilt_registry(workspace):
    take_back(workspace, "w-v3")
    rename(workspace, "w", "h2o")
    before, rows = contents(workspace), list_datasets(workspace)
    assert len(before["history"]) == 2
    (workspace.root / "registry.db").unlink()
    catalog.rebuild(workspace)
    assert contents(workspace) == before
    assert list_datasets(workspace) == rows
