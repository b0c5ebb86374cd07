"""Records that ship stand beside those of the workspace where they are asked for."""

import json

import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.leaderboard import build
from dpbench.eval.record import record_to_payload
from dpbench.eval.shipped import shipped_records
from dpbench.store.workspace import Workspace
from tests.eval.synthetic_records import synthetic_record


def test_shipped_records_are_named_by_their_content(tmp_path):
    payload = record_to_payload(synthetic_record(model="one"))
    for layout, name in ((None, "a"), (1, "b")):
        text = json.dumps(payload, indent=layout)
        (tmp_path / f"{name}.json").write_text(text)
    found = shipped_records(tmp_path)
    assert list(found.values()) == [synthetic_record(model="one")]


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match="leave --shipped out"):
        shipped_records(tmp_path)


def test_a_shipped_file_that_is_no_record_is_named(tmp_path):
    (tmp_path / "odd.json").write_text('{"schema": "dpbench.result"}')
    with pytest.raises(EvaluationError, match=r"odd\.json"):
        shipped_records(tmp_path)


def test_the_page_of_an_empty_workspace_can_show_what_ships(tmp_path, monkeypatch):
    shipped = tmp_path / "registry" / "results"
    shipped.mkdir(parents=True)
    payload = record_to_payload(synthetic_record(model="one"))
    (shipped / "one.json").write_text(json.dumps(payload))
    monkeypatch.setattr(
        "dpbench.eval.shipped.registry_folder", lambda: tmp_path / "registry"
    )
    workspace = Workspace.find(tmp_path / "w", create=True)
    with pytest.raises(EvaluationError, match="no result record"):
        build(workspace, tmp_path / "out")
    paths = build(workspace, tmp_path / "out", shipped=True)
    assert synthetic_record(model="one").model.name in paths[0].read_text()


def test_what_ships_is_valid_and_names_no_place_of_its_machine():
    for digest, record in shipped_records().items():
        payload = record_to_payload(record)
        # how somebody built a foreign program is a fact of that program
        payload["foreign"] = {**(payload["foreign"] or {}), "build": None}
        text = json.dumps(payload)
        for place in ("/tmp/", "/home/", "/root/", "/work/", "/opt/", "file:"):
            assert place not in text, (digest[:12], place)


def test_the_shipped_throughput_has_every_backend_plain_and_compressed():
    told = {
        (record.backend, record.model.kind)
        for record in shipped_records().values()
        if "md_throughput" in record.tasks
    }
    deepmd = ("dpbench", "deepmd-tf", "deepmd-pt", "deepmd-jax")
    wanted = {(name, kind) for name in deepmd for kind in ("plain", "compressed")}
    assert told >= {*wanted, ("emt", "foreign"), ("lammps", "foreign")}
    for record in shipped_records().values():
        assert record.mode == "standard"
        assert record.tasks["md_throughput"].status == "ok"
