"""A record counts for a suite only if it is what the suite asks for."""

from dataclasses import replace

import pytest

from dpbench.errors import EvaluationError
from dpbench.eval import suite_membership
from dpbench.eval.options import Options
from dpbench.eval.record import record_to_payload
from dpbench.eval.run import evaluate
from dpbench.eval.suite_membership import check_membership, suite_of
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.verify import verify_record
from dpbench.store import objects
from tests.eval.suites.fake_tasks import FAKE
from tests.eval.suites.small_suites import ACCURACY, METRIC, head, write_suite
from tests.eval.suites.small_suites import FAKE as FAKE_ENTRY


@pytest.fixture
def suite(trained, tmp_path, monkeypatch):
    """A suite of two tasks on the small dataset, as if it shipped."""
    monkeypatch.setitem(TASKS, FAKE.name, FAKE)
    tasks = [ACCURACY.format(part="test"), FAKE_ENTRY.format(part="test", calls="")]
    metrics = [METRIC.format(task=t, part="test") for t in ("accuracy", "fake")]
    text = "".join([head(trained.workspace), *tasks, *metrics])
    found = write_suite(tmp_path, text)
    monkeypatch.setattr(suite_membership, "load_suite", lambda _: found)
    return found


@pytest.fixture
def measured(trained, suite):
    """What the suite asks for, measured in its mode."""
    options = Options(tasks=("accuracy", "fake"), mode="smoke")
    record = evaluate(trained.workspace, trained.model, options=options)[0].record
    return replace(record, suite=suite.label, suite_digest=suite.digest)


def test_a_record_of_the_suite_is_one(trained, suite, measured):
    assert suite_of(measured) is suite
    check_membership(measured, suite, where="r")
    digest = objects.put(trained.workspace, "result", record_to_payload(measured))
    done = verify_record(trained.workspace, digest)
    path = trained.workspace.objects / "result" / digest[:2] / f"{digest}.json"
    path.unlink()  # the workspace is that of other tests too
    assert "suite" in done


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: replace(r, part="ood"), "accuracy on pairs-v1:ood is no part of"),
        (lambda r: replace(r, split=None), "is no part of"),
        (
            lambda r: replace(r, dataset=replace(r.dataset, digest="dpb1:" + "0" * 64)),
            "is no part of",
        ),
        (lambda r: replace(r, mode="full"), "fake was done with other settings"),
    ],
)
def test_a_record_of_something_else_is_not(suite, measured, change, words):
    with pytest.raises(EvaluationError, match=words):
        check_membership(change(measured), suite, where="r")


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, None])
def test_a_suite_that_is_another_here_is_an_error(suite, measured, digest):
    with pytest.raises(EvaluationError, match="A published suite never changes"):
        suite_of(replace(measured, suite_digest=digest))


@pytest.mark.parametrize("name", ["../x-v1", "/etc/passwd", "si-lda", "a" * 99, ""])
def test_a_suite_is_looked_for_by_its_label_alone(suite, measured, name):
    assert suite_of(replace(measured, suite=name)) is None
