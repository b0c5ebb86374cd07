"""A suite is measured once: told beforehand, filed unit by unit, gone on with."""

import shutil
from dataclasses import replace

import pytest

from dpbench.errors import BackendError, DatasetError, EvaluationError
from dpbench.eval.filing import read_records
from dpbench.eval.options import Options
from dpbench.eval.suites import units as units_module
from dpbench.eval.suites.data import prepare_suite
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.suites.run import Wishes, run_suite
from dpbench.eval.suites.words import plan_text, scores_of
from dpbench.eval.tasks.doing import code_digest
from dpbench.eval.tasks.table import TASKS
from dpbench.io.ingest import ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.eval.suites.fake_tasks import FAKE
from tests.eval.suites.small_suites import (
    accuracy_suite,
    fake_suite,
    without_times,
    write_suite,
)

OPTIONS = Options(mode="smoke", command=("dpbench", "evaluate"))


@pytest.fixture
def fresh(trained, tmp_path, monkeypatch):
    """A workspace without records, and the fake task."""
    monkeypatch.setitem(TASKS, "fake", FAKE)
    shutil.copytree(trained.workspace.root, tmp_path / "w")
    workspace = Workspace.find(tmp_path / "w", create=False)
    for path in workspace.objects.glob("result/*/*.json"):
        path.unlink()
    (workspace.root / "registry.db").unlink()
    return workspace


@pytest.fixture
def wishes(trained):
    return Wishes(models=(trained.model,), options=OPTIONS)


def calls(folder):
    return (folder / "calls.txt").read_text(encoding="utf-8").split("\n")[:-1]


def test_every_unit_is_a_record_of_the_suite(fresh, wishes, tmp_path):
    suite = fake_suite(fresh, tmp_path)
    filed = run_suite(fresh, suite, wishes)
    assert [(i.record.part, *i.record.tasks) for i in filed] == [
        ("test",),
        ("ood",),
        ("test", "fake"),
        ("ood", "fake"),
    ]
    assert {i.record.suite for i in filed} == {"small-v1"}
    assert {i.record.suite_digest for i in filed} == {suite.digest}
    assert set(read_records(fresh)) == {i.digest for i in filed}
    assert filed[0].record.kernels
    ((_, score),) = scores_of(suite, filed)
    assert 0 < score.value <= 1


def test_a_second_run_measures_nothing(fresh, wishes, tmp_path):
    """O3: what is there under the same key is not measured again."""
    suite = fake_suite(fresh, tmp_path)
    first = run_suite(fresh, suite, wishes)
    plans = []
    second = run_suite(fresh, suite, wishes, show=plans.append)
    assert second == first
    assert calls(tmp_path) == ["test 1", "ood 1"]
    assert "0 of 4 to be measured" in plan_text(plans[0])
    run_suite(fresh, suite, replace(wishes, again=True))
    assert len(calls(tmp_path)) == 4


@pytest.mark.parametrize("planted", ["code", "settings", "model", "hardware", "data"])
def test_what_changes_a_number_changes_the_key(
    fresh, wishes, tmp_path, monkeypatch, planted
):
    """O3: data, code, parameters, model and hardware are in the key."""
    suite = fake_suite(fresh, tmp_path)
    units = []

    def lay_out(wishes, suite=suite):
        plans = []
        with pytest.raises(KeyboardInterrupt):
            run_suite(fresh, suite, wishes, show=lambda p: stop(plans, p))
        units.append([p.unit.key("here") for p in plans[0].planned])
        return plans[0].planned[2].unit

    def stop(plans, plan):
        plans.append(plan)
        raise KeyboardInterrupt

    unit = lay_out(wishes)
    assert lay_out(wishes).key("here") == unit.key("here")
    if planted == "code":
        changed = (*FAKE.sources, "dpbench.eval.tasks.task")
        monkeypatch.setitem(TASKS, "fake", replace(FAKE, sources=changed))
        assert code_digest(changed) != code_digest(FAKE.sources)
    elif planted == "settings":
        suite = fake_suite(fresh, tmp_path, extra="seed = 7\n")
    elif planted == "model":
        other = tmp_path / "other.pth"
        other.write_bytes(wishes.models[0].read_bytes() + b"\0")
        monkeypatch.setattr(
            units_module, "sha256_of_file", lambda path: f"{path.stat().st_size:064x}"
        )
        assert lay_out(wishes).key("here") != unit.key("here")
        return
    elif planted == "hardware":
        assert unit.key("here") != unit.key("there")
        return
    else:
        assert units[0][2] != units[0][3]  # the same task on two parts
        return
    assert lay_out(wishes, suite).key("here") != unit.key("here")


def test_a_run_that_was_ended_goes_on(fresh, wishes, tmp_path, monkeypatch):
    """O4: ended at any unit and called again, it files the same records."""
    suite = fake_suite(fresh, tmp_path)

    def interrupted(evaluator, job):
        if job.part.name == "ood":
            raise KeyboardInterrupt
        return FAKE.predict(evaluator, job)

    monkeypatch.setitem(TASKS, "fake", replace(FAKE, predict=interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_suite(fresh, suite, wishes)
    assert len(read_records(fresh)) == 3
    monkeypatch.setitem(TASKS, "fake", FAKE)
    resumed = run_suite(fresh, suite, wishes)
    assert calls(tmp_path) == ["test 1", "ood 1"]
    assert set(read_records(fresh)) == {item.digest for item in resumed}
    whole = run_suite(fresh, suite, replace(wishes, again=True))
    assert [without_times(i.record) for i in resumed] == [
        without_times(i.record) for i in whole
    ]


def test_what_another_suite_measured_counts_for_this_one(fresh, wishes, tmp_path):
    first = run_suite(fresh, fake_suite(fresh, tmp_path), wishes)
    text = fake_suite(fresh, tmp_path).path.read_text(encoding="utf-8")
    path = tmp_path / "other" / "v1.toml"
    path.parent.mkdir()
    path.write_text(text.replace('name = "small"', 'name = "other"'), encoding="utf-8")
    suite = load_suite(str(path))
    second = run_suite(fresh, suite, wishes)
    assert len(calls(tmp_path)) == 2
    assert {i.record.suite for i in second} == {"other-v1"}
    assert [without_times(replace(i.record, suite=None)) for i in second] == [
        without_times(replace(i.record, suite=None, suite_digest=suite.digest))
        for i in first
    ]
    ((_, score),) = scores_of(suite, second)
    assert score.value is not None


def test_the_plan_tells_the_cost_before_it_starts(fresh, wishes, tmp_path):
    """O1: the cost is printed beforehand."""
    suite = fake_suite(fresh, tmp_path)
    plans = []

    def show(plan):
        assert not read_records(fresh)
        plans.append(plan)

    said = []
    run_suite(fresh, suite, wishes, show=show, say=said.append)
    assert all(planned.seconds > 0 for planned in plans[0].planned)
    text = plan_text(plans[0])
    assert "small-v1, smoke: 4 of 4 to be measured, about " in text
    assert "fake on pairs:ood" in text
    assert any(words.startswith("[4/4] fake on pairs:ood is filed") for words in said)


def test_a_model_that_fails_counts_as_useless(fresh, wishes, tmp_path):
    """E4: a failed task lowers the score, and stays."""
    good = run_suite(fresh, fake_suite(fresh, tmp_path), wishes)
    suite = fake_suite(fresh, tmp_path, extra='fails = "model"\n')
    filed = run_suite(fresh, suite, wishes)
    assert [i.record.tasks["fake"].status for i in filed[2:]] == ["failed"] * 2
    ((_, score),) = scores_of(suite, filed)
    ((_, better),) = scores_of(suite, good)
    assert [term.status for term in score.terms] == ["ok", "failed"] * 2
    assert score.value > better.value


def test_a_backend_that_fails_is_tried_again(fresh, wishes, tmp_path):
    suite = fake_suite(fresh, tmp_path, extra='fails = "backend"\n')
    filed = run_suite(fresh, suite, wishes)
    assert "worker: gone" in filed[2].record.failure
    ((_, score),) = scores_of(suite, filed)
    assert score.value is None
    assert "not measured" in score.why_none
    run_suite(fresh, suite, wishes)
    assert len(calls(tmp_path)) == 4


def test_a_broken_note_is_measured_again(fresh, wishes, tmp_path):
    suite = fake_suite(fresh, tmp_path)
    run_suite(fresh, suite, wishes)
    for path in (fresh.root / "suites").glob("*.json"):
        path.write_text('{"format": 1, "result": "00"}', encoding="utf-8")
    run_suite(fresh, suite, wishes)
    assert len(calls(tmp_path)) == 4


def test_a_suite_of_other_elements_is_refused(fresh, wishes, tmp_path):
    text = fake_suite(fresh, tmp_path).path.read_text(encoding="utf-8")
    suite = write_suite(tmp_path / "o", text.replace('["Si", "C"]', '["Mo"]'))
    with pytest.raises(EvaluationError, match="no model knows Mo"):
        run_suite(fresh, suite, wishes)


def test_other_data_are_refused(fresh, trained, tmp_path):
    """Prepare holds content and split against the digests of the suite."""
    text = accuracy_suite(fresh)
    digest = "dpb1:" + "0" * 64
    lines = text.splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("digest = ")]
    other = [*lines]
    other[at[0]] = f'digest = "{digest}"'
    suite = write_suite(
        tmp_path / "a", "\n".join(other).replace('dataset = "pairs"', 'dataset = "new"')
    )
    with pytest.raises(DatasetError, match=f"gave dpb1:.*expected {digest}"):
        prepare_suite(fresh, suite, folders={"": trained.root / "systems"})
    lines[at[1]] = f'digest = "{digest}"'
    suite = write_suite(tmp_path / "b", "\n".join(lines))
    with pytest.raises(DatasetError, match=f"split has digest .*expected {digest}"):
        prepare_suite(fresh, suite)


def test_a_name_that_is_taken_stops_no_suite(fresh, trained, tmp_path):
    """Another dataset of the name is left alone; digests tell the two apart."""
    suite = write_suite(tmp_path, accuracy_suite(fresh))
    other = Workspace.find(tmp_path / "other", create=True)
    one = sorted((trained.root / "systems").iterdir())[:1]
    ingest(other, "deepmd", one, dataset="pairs", workers=0)
    said = []
    folders = {"": trained.root / "systems"}
    (made,) = prepare_suite(other, suite, folders=folders, say=said.append)
    assert made.version.digest == suite.data("pairs").digest
    assert made.version.name == f"pairs-{made.version.digest[5:13]}"
    assert any("is another dataset in this workspace" in line for line in said)
    assert open_dataset(other, "pairs-v1").digest != made.version.digest


def test_data_that_do_not_ship_are_asked_for(fresh, trained, tmp_path):
    suite = write_suite(tmp_path, accuracy_suite(fresh))
    empty = Workspace.find(tmp_path / "empty", create=True)
    with pytest.raises(DatasetError, match="--data pairs=DIR"):
        prepare_suite(empty, suite)
    with pytest.raises(DatasetError, match="no dataset 'pears'"):
        prepare_suite(empty, suite, folders={"pears": tmp_path})
    (made,) = prepare_suite(empty, suite, folders={"pairs": trained.root / "systems"})
    assert made.split.sizes["test"] == 12
    (again,) = prepare_suite(empty, suite)
    assert again.version.object_id == made.version.object_id


def test_a_backend_that_is_not_there_is_refused_at_once(fresh, wishes, tmp_path):
    wanted = replace(wishes, options=replace(OPTIONS, backends=("no-such",)))
    with pytest.raises(BackendError, match="no-such"):
        run_suite(fresh, fake_suite(fresh, tmp_path), wanted)
