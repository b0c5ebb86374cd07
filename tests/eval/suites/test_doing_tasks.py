"""A task is done in two stages; a model that fails is a result, a backend is not."""

from dataclasses import replace

import pytest

from dpbench.errors import BackendError, EvaluationError
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.options import Options
from dpbench.eval.parts import parts_to_evaluate
from dpbench.eval.run import evaluate
from dpbench.eval.tasks.doing import bare_code, code_digest, do_task, score_again
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.tasks.task import Job
from dpbench.models.files import load_potential
from tests.eval.suites.fake_tasks import FAKE, METRIC, FakeSettings


@pytest.fixture
def job(trained):
    (part,) = parts_to_evaluate(trained.workspace, None, "pairs:test")
    return Job(workspace=trained.workspace, part=part, settings=FakeSettings())


@pytest.fixture
def evaluator(trained):
    return NativeEvaluator(load_potential(trained.model)[0])


def test_a_result_names_its_code_and_its_answers(evaluator, job):
    result = do_task(FAKE, evaluator, job)
    assert result.status == "ok"
    assert result.code == code_digest(FAKE.sources)
    assert (job.workspace.root / result.kept.path).is_file()
    assert result.metrics[0].name == METRIC


def test_answers_are_scored_again_without_a_model(evaluator, job):
    result = do_task(FAKE, evaluator, job)
    assert score_again(FAKE, result, job) == result


def test_a_model_that_fails_is_a_result(evaluator, job):
    """E4: a failed run stays."""
    failing = replace(job, settings=FakeSettings(fails="model"))
    result = do_task(FAKE, evaluator, failing)
    assert result.status == "failed"
    assert result.reason == "m.pth: the net broke; expected it whole."
    assert result.protocol["fails"] == "model"
    with pytest.raises(EvaluationError, match="kept no answers"):
        score_again(FAKE, result, failing)


def test_a_backend_that_fails_is_an_error(evaluator, job):
    failing = replace(job, settings=FakeSettings(fails="backend"))
    with pytest.raises(BackendError, match="gone"):
        do_task(FAKE, evaluator, failing)


def test_the_code_digest_is_that_of_all_sources():
    one = code_digest(("dpbench.eval.tasks.kept",))
    both = ("dpbench.eval.tasks.kept", "dpbench.eval.tasks.task")
    assert code_digest(both) == code_digest(both[::-1]) != one
    with pytest.raises(EvaluationError, match="has no source"):
        code_digest(("dpbench.no_such_module",))


def test_words_about_the_code_are_no_part_of_it():
    code = 'x = 1\n\n\ndef f():\n    return "# kept", """a\nb"""\n'
    told = (
        '"""What it is."""\nx = 1  # why\n"""One."""\n# more\ndef f():\n    """Do.\n\n'
        '    It.\n    """\n    return "# kept", """a\nb"""\n'
    )
    assert bare_code(code) == bare_code(told)
    assert bare_code(code) != bare_code(code.replace("1", "2"))
    assert bare_code(code) != bare_code(code.replace("# kept", "# k"))


def test_evaluate_takes_the_name_of_any_task(trained, monkeypatch):
    monkeypatch.setitem(TASKS, "fake", FAKE)
    options = Options(tasks=("accuracy", "fake"), mode="smoke")
    first, second = evaluate(trained.workspace, trained.model, options=options)
    assert first.record.tasks["fake"].status == "ok"
    assert first.record.accuracy is not None
    assert second.record.tasks == {}


def test_a_task_that_does_not_exist_is_named():
    with pytest.raises(EvaluationError, match="task 'elastc'"):
        Options(tasks=("elastc",))
