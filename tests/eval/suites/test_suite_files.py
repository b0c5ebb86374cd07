"""Suite files are read strictly, and those that are published never change."""

import json

import pytest

from dpbench.errors import ConfigError
from dpbench.eval.suites.loading import (
    FROZEN,
    files_of,
    frozen_files,
    is_frozen,
    list_suites,
    load_suite,
    suites_folder,
)
from dpbench.eval.suites.words import suite_facts, suite_text
from dpbench.eval.tasks.table import TASKS
from dpbench.metrics.definitions import METRICS
from tests.eval.suites.fake_tasks import FAKE
from tests.eval.suites.small_suites import ACCURACY, HEAD, METRIC, write_suite
from tests.eval.suites.small_suites import FAKE as FAKE_TASK

DIGEST = "dpb1:" + "a" * 64
TEXT = "".join(
    [
        HEAD.format(dataset=DIGEST, split=DIGEST),
        ACCURACY.format(part="test"),
        FAKE_TASK.format(part="test", calls=""),
        METRIC.format(task="accuracy", part="test"),
    ]
)
SHIPPED = [suite.label for suite in list_suites()]


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setitem(TASKS, "fake", FAKE)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "Small"', 'titel = "Small"', "did you mean 'title'"),
        ('calls = ""', 'cals = ""', "did you mean 'calls'"),
        ('calls = ""', "seed = true", r"fake\.seed = True; expected int"),
        ('task = "fake"', 'task = "fak"', "expected one of accuracy"),
        ('part = "test"\n\n[[task]]', 'part = "tset"\n\n[[task]]', "expected one of"),
        ('part = "test"\n\n[[task]]', 'parts = "test"\n\n[[task]]', "'part'"),
        ("weight = 1.0", "weight = -1.0", "expected 0 or more"),
        ('polarity = "lower"', 'polarity = "higher"', "expected 'lower'"),
        ("useless = 1000.0", "useless = -1.0", "wrong way round"),
        ("perfect = 0.0", "perfekt = 0.0", "did you mean 'perfect'"),
        ('name = "force_mae', 'name = "forse_mae', "is no metric"),
        ('data = "pairs"\npart', 'data = "pears"\npart', "is no key"),
        (f'digest = "{DIGEST}"', 'digest = "abc"', "64 hex digits"),
        ('name = "small"', 'name = "other"', "Rename one"),
        ("version = 1", "version = 2", "Rename one"),
        ('elements = ["Si", "C"]', "elements = []", "at least one"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, words):
    """O2: unknown keys and settings are errors."""
    assert old in TEXT
    with pytest.raises(ConfigError, match=words):
        write_suite(tmp_path, TEXT.replace(old, new))


def test_settings_go_by_suite_then_mode(tmp_path):
    text = TEXT.replace('calls = ""', 'calls = "a"\n\n[task.modes.full]\nseed = 9\n')
    suite = write_suite(tmp_path, text)
    task = suite.file.task[1]
    assert suite.settings(task, "smoke").seed == 1
    assert suite.settings(task, "full").seed == 9
    assert suite.settings(task, "full").calls == "a"
    assert suite.settings(suite.file.task[0], "full") is None


def test_a_suite_is_found_by_name_version_and_path(tmp_path):
    path = write_suite(tmp_path, TEXT).path
    newer = TEXT.replace("version = 1", "version = 2")
    (path.parent / "v2.toml").write_text(newer, encoding="utf-8")
    assert load_suite("small", folder=tmp_path).label == "small-v2"
    assert load_suite("small-v1", folder=tmp_path).label == "small-v1"
    assert load_suite(str(path)).label == "small-v1"
    with pytest.raises(ConfigError, match="expected one of small"):
        load_suite("smal", folder=tmp_path)


def test_published_rows_are_read_strictly(tmp_path):
    text = TEXT + '\n[[published]]\nfile = "rows.toml"\n'
    suite = write_suite(tmp_path, text)
    row = '[[row]]\nmodel = "GAP"\nsource = "A paper"\n'
    value = (
        '[[row.values]]\nmetric = "force_mae_component_mev_per_ang"\n'
        'data = "pairs"\npart = "test"\nvalue = 9.0\n'
    )
    path = suite.folder / "rows.toml"
    path.write_text(row + value, encoding="utf-8")
    assert suite.published()[0].values[0].value == 9.0
    assert "published rows: GAP" in suite_text(suite_facts(suite))
    path.write_text(row + value + "colour = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'colour'"):
        suite.published()


def test_the_seal_breaks_when_a_file_changes(tmp_path):
    suite = write_suite(tmp_path, TEXT)
    assert not is_frozen(suite)
    sealed = json.dumps(files_of(tmp_path))
    (tmp_path / FROZEN).write_text(sealed, encoding="utf-8")
    assert is_frozen(suite)
    suite.path.write_text(TEXT + "\n# a word\n", encoding="utf-8")
    assert files_of(tmp_path) != frozen_files(tmp_path)
    assert not is_frozen(load_suite(str(suite.path)))


@pytest.mark.parametrize("label", SHIPPED)
def test_suites_that_ship_are_whole(label):
    """Tasks are of parts that there are, published numbers of known metrics."""
    suite = load_suite(label)
    places = {(data.key, part) for data in suite.file.data for part in parts(data)}
    for row in suite.published():
        assert all(value.metric in METRICS for value in row.values)
    assert {(task.data, task.part) for task in suite.file.task} <= places
    assert suite_text(suite_facts(suite))


def parts(data):
    return {*data.split.hold_out, *(data.split.fractions or ("train", "validation"))}


def test_what_is_published_is_unchanged():
    """L4: a published suite is frozen. Another choice is another version: vN+1.toml."""
    folder = suites_folder()
    found, sealed = files_of(folder), frozen_files(folder)
    assert {n: found.get(n) for n in sealed} == sealed
