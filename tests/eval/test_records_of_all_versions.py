"""Records that older releases wrote, and registries with many records."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.config import canonical_json
from dpbench.errors import EvaluationError
from dpbench.eval.filing import Wanted, list_records, read_records
from dpbench.eval.importing import import_files
from dpbench.eval.leaderboard import build
from dpbench.eval.record import (
    SCHEMA_VERSION,
    record_from_payload,
    record_to_payload,
)
from dpbench.eval.self_check import check_itself, check_origin
from dpbench.eval.strict_json import strict_loads
from dpbench.eval.summary import record_text
from dpbench.eval.verify import verify_record
from dpbench.store import catalog, objects
from dpbench.store.catalog import tables
from dpbench.store.catalog.result_facts import result_facts
from dpbench.store.workspace import Workspace
from tests.eval.synthetic_records import synthetic_record

RELEASED = Path(__file__).parents[1] / "data" / "results"
"""``schema-N.json``: one record of each schema, measured by the dpbench of that
schema."""

VERSIONS = range(1, SCHEMA_VERSION + 1)


def type_in(workspace, *words, exit_code=0):
    arguments = ["--workspace", str(workspace.root), *map(str, words)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "w", create=True)


def payload_of(version):
    data = (RELEASED / f"schema-{version}.json").read_bytes()
    return strict_loads(data, where=f"schema {version}")


def test_every_schema_has_its_record():
    assert [payload_of(n)["schema_version"] for n in VERSIONS] == list(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_of_an_older_release_is_read_listed_shown_and_ranked(
    workspace, version, tmp_path
):
    payload = payload_of(version)
    digest = catalog.register_result(workspace, payload)
    record = read_records(workspace)[digest]
    check_itself(record, where="r")
    check_origin(record, where="r")
    (row,) = list_records(workspace, Wanted(dataset="pairs-v1:test"))
    assert (row.digest, row.model) == (digest, record.model.name)
    assert row.standing is None
    assert "Force RMSE" in type_in(workspace, "results", "show", digest).stdout
    assert "digest" in verify_record(workspace, digest)
    build(workspace, tmp_path / "b")
    (table,) = json.loads((tmp_path / "b" / "leaderboard.json").read_text())["tables"]
    assert table["dataset"] == "pairs-v1"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_of_an_older_release_keeps_its_digest_when_imported(
    workspace, version
):
    """It is filed as it was written, not as this release would write it."""
    (found,) = import_files(workspace, [RELEASED / f"schema-{version}.json"])
    assert found.outcome == "unverified"
    assert found.digest == objects.digest_of(payload_of(version))
    assert objects.get(workspace, "result", found.digest) == payload_of(version)


def test_older_records_lack_what_came_later():
    one = record_from_payload(payload_of(1), where="r")
    assert one.leakage is one.kernels is one.foreign is None
    assert one.tasks == {}
    assert record_from_payload(payload_of(4), where="r").suite is None


def test_a_record_from_the_future_is_refused_by_its_number(workspace):
    later = payload_of(SCHEMA_VERSION) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(EvaluationError, match="newer dpbench"):
        record_from_payload(later | {"unknown": 1}, where="r")


# -- lists -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Records of two models, two datasets, two machines and a suite."""
    workspace = Workspace.find(tmp_path_factory.mktemp("many") / "w", create=True)
    for i in range(16):
        record = synthetic_record(
            model="large" if i % 2 else "small",
            dataset="water" if i % 4 > 1 else "si8",
            hardware="Big CPU, 64 threads" if i % 8 > 3 else "Small CPU, 2 threads",
            part="ood" if i > 7 else "test",
            created_at=f"2026-01-{i + 1:02d}T00:00:00+00:00",
        )
        if i == 0:
            record = replace(record, suite="si-lda-v1", stability=None, throughput=None)
        catalog.register_result(workspace, record_to_payload(record))
    return workspace


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 16),
        ({"model": "small"}, 8),
        ({"model": "sma"}, 0),
        ({"dataset": "water"}, 8),
        ({"dataset": "water-v1"}, 8),
        ({"dataset": "water-v2"}, 0),
        ({"dataset": "water:ood"}, 4),
        ({"hardware": "big cpu"}, 8),
        ({"backend": "dpbench"}, 16),
        ({"backend": "deepmd-pt"}, 0),
        ({"task": "stability"}, 15),
        ({"task": "stab"}, 0),
        ({"suite": "si-lda"}, 1),
        ({"suite": "si-lda-v1"}, 1),
        ({"suite": "si"}, 0),
        ({"since": "2026-01-10"}, 7),
        ({"model": "large", "dataset": "si8", "since": "2026-01-06"}, 3),
        ({"model": "%"}, 0),
    ],
)
def test_records_are_listed_by_what_they_are_of(many, wanted, count):
    found = list_records(many, Wanted(**wanted))
    assert len(found) == count
    assert [r.created_at for r in found] == sorted(r.created_at for r in found)


def test_a_model_is_listed_by_digits_of_its_digest(many):
    digest = synthetic_record(model="large").model.digest
    assert len(list_records(many, Wanted(model=digest[:10]))) == 8


def test_filters_are_typed_as_options(many):
    words = ("results", "list", "--task", "accuracy", "--since", "2026-01-15", "--json")
    rows = json.loads(type_in(many, *words).stdout)
    assert len(rows) == 2
    assert rows[0]["standing"] == "own"
    assert "of that kind" in type_in(many, "results", "list", "--suite", "x").stdout
    wrong = type_in(many, "results", "list", "--since", "monday", exit_code=1)
    assert "is no date" in wrong.stderr


def test_ten_thousand_records_are_listed_without_reading_them(
    workspace, monkeypatch, figures
):
    """By the registry alone: no file of a record is opened."""
    base = replace(synthetic_record(), stability=None, throughput=None)
    facts = result_facts(record_to_payload(base))
    rows = [
        {
            "id": f"{i:064x}",
            "created_at": f"2026-01-01T00:00:{i:05d}",
            "payload": {},
            **facts,
        }
        for i in range(10_000)
    ]
    with catalog.transaction(workspace, write=True) as connection:
        connection.execute(tables.result.insert(), rows)
    monkeypatch.setattr(objects, "get", None)
    begin = time.perf_counter()
    found = list_records(workspace, Wanted(dataset="si8"))
    seconds = time.perf_counter() - begin
    assert len(found) == 10_000
    figures(f"10,000 records listed in {seconds:.2f} s")


# -- what two records say of each other ----------------------------------------------


def filed(workspace, record):
    return catalog.register_result(workspace, record_to_payload(record))


def test_speeds_of_two_machines_are_not_compared(workspace):
    """T6: the reason stands in the place of a number."""
    a = filed(workspace, synthetic_record())
    b = filed(workspace, synthetic_record(hardware="Other", speed=400.0))
    told = type_in(workspace, "results", "compare", a, b).stdout
    assert "speeds of two machines are never compared" in told
    assert "md_us_per_atom_step" not in told


def test_a_slowdown_on_the_same_machine_is_called(workspace):
    a = filed(workspace, synthetic_record())
    b = filed(workspace, synthetic_record(speed=60.0, seed=1))
    words = ("results", "compare", a, b)
    told = type_in(workspace, *words)
    assert "regressions: " in told.stdout
    assert "md_us_per_atom_step" in told.stdout.rsplit("regressions: ")[-1]
    type_in(workspace, *words, "--fail-on-regression", exit_code=3)
    back = ("results", "compare", b, a, "--fail-on-regression", "--json")
    assert json.loads(type_in(workspace, *back).stdout)["regressions"] == []


def test_errors_whose_intervals_lie_apart_are_called(workspace):
    a = filed(workspace, synthetic_record(force=50.0))
    b = filed(workspace, synthetic_record(force=80.0, model="worse"))
    told = json.loads(type_in(workspace, "results", "compare", a, b, "--json").stdout)
    assert "force_rmse_component_mev_per_ang" in told["regressions"]


def test_records_of_other_data_say_why_nothing_is_compared(workspace):
    only = {"stability": None, "throughput": None}
    a = filed(workspace, replace(synthetic_record(), **only))
    b = filed(workspace, replace(synthetic_record(part="ood"), **only))
    told = type_in(workspace, "results", "compare", a, b, exit_code=1)
    assert "on other parts ('test'; 'ood')" in told.stderr


def test_the_same_record_is_level_with_itself(workspace):
    a = filed(workspace, synthetic_record())
    told = json.loads(type_in(workspace, "results", "compare", a, a, "--json").stdout)
    assert told["regressions"] == []
    assert {line["verdict"]["outcome"] for line in told["lines"]} <= {
        "level",
        "unknown",
    }


def test_a_task_of_the_table_is_shown_with_its_unit():
    from dpbench.eval.task_results import TaskResult
    from dpbench.metrics.definitions import metric_value

    result = TaskResult(
        task="nve",
        code="sha256:0",
        status="failed",
        reason="exploded",
        metrics=(metric_value("nve_drift_mev_per_atom_ps", None, n=0),),
    )
    text = record_text(replace(synthetic_record(), tasks={"nve": result}), "r")
    assert "Task nve" in text
    assert "failed: exploded" in text


def test_canonical_json_of_a_released_record_gives_its_bytes():
    """The file in tests/data is what its release wrote."""
    for version in VERSIONS:
        data = (RELEASED / f"schema-{version}.json").read_bytes()
        assert canonical_json(json.loads(data)) == data
