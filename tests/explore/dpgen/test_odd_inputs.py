"""Whatever stands in an input of DP-GEN: it is translated, or refused in one line."""

import json

import pytest

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.dpgen2_input import translate_dpgen2
from dpbench.explore.dpgen.translate import translate
from tests.explore.dpgen.inputs import JOBS, MACHINE, write_run
from tests.explore.dpgen.test_dpgen2 import write_input

pytestmark = pytest.mark.slow

ODD = [3, -1, 2.5, True, "x", "", [], {}, [[]], [None], [{}], {"a": None}, {"0": "x"}]


def outcome(function):
    """What came of it; any error but a plain refusal rises."""
    try:
        function()
    except ConfigError as error:
        return str(error)
    return ""


def odd_versions(content):
    """Yield the content with each key, and each key of a table in it, made odd."""
    for key in content:
        for value in ODD:
            yield {**content, key: value}
        if isinstance(content[key], dict):
            for inner in odd_versions(content[key]):
                yield {**content, key: inner}


def test_odd_parameters_raise_nothing_but_refusals(tmp_path):
    content = json.loads(write_run(tmp_path).read_text())
    path = tmp_path / "odd.json"
    messages = []
    for odd in odd_versions(content):
        path.write_text(json.dumps(odd))
        messages.append(outcome(lambda: translate(path, None, out=tmp_path / "out")))
    assert messages.count("") > 50
    assert len([text for text in messages if text]) > 50
    assert not [text for text in messages if "\n" in text]


@pytest.mark.parametrize("number", range(2))
def test_odd_jobs_raise_nothing_but_refusals(tmp_path, number):
    for job in odd_versions(JOBS[number]):
        path = write_run(tmp_path, model_devi_jobs=[job])
        outcome(lambda path=path: translate(path, None, out=tmp_path / "out"))


def test_odd_machines_raise_nothing_but_refusals(tmp_path):
    param = write_run(tmp_path)
    path = tmp_path / "machine.json"
    for odd in odd_versions(MACHINE):
        path.write_text(json.dumps(odd))
        outcome(lambda: translate(param, path, out=tmp_path / "out"))


def test_odd_inputs_of_dpgen2_raise_nothing_but_refusals(tmp_path):
    content = json.loads(write_input(tmp_path / "run").read_text())
    path = tmp_path / "run" / "odd.json"
    for odd in odd_versions(content):
        path.write_text(json.dumps(odd))
        outcome(lambda: translate_dpgen2(path, out=tmp_path / "out"))
