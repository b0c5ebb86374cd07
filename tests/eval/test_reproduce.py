"""E1: a run tells everything it depends on, and a record can be made again from it."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import EvaluationError
from dpbench.eval import run as run_module
from dpbench.eval.filing import write_record
from dpbench.eval.options import Options
from dpbench.eval.record import record_to_payload
from dpbench.eval.reproduce import judge, reproduce, verdict_line
from dpbench.eval.reproduction import Wishes, plan_reproduction
from dpbench.eval.run import evaluate
from dpbench.eval.stability import StabilitySettings
from dpbench.eval.throughput import ThroughputSettings
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.store import catalog, objects
from dpbench.store.workspace import Workspace

FORCE = "force_rmse_component_mev_per_ang"


@pytest.fixture(scope="module")
def measured(trained):
    patch = pytest.MonkeyPatch()
    stability = StabilitySettings(steps=40, seeds=(0, 1), min_natoms=8)
    speed = ThroughputSettings(window_s=0.01, min_natoms=8, growth=2, nsizes=2)
    patch.setitem(run_module.STABILITY, "smoke", stability)
    patch.setitem(run_module.THROUGHPUT, "smoke", speed)
    options = Options(mode="smoke", command=("dpbench", "evaluate"))
    filed = evaluate(trained.workspace, trained.model, options=options)[0]
    patch.undo()
    return filed


def type_in(workspace, *words, exit_code=0):
    arguments = ["--workspace", str(workspace.root), *map(str, words)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture(scope="module")
def forged(trained, measured):
    """The record, its error made better by hand."""
    only = replace(measured.record, stability=None, throughput=None)
    payload = record_to_payload(only)
    for metric in payload["accuracy"]["metrics"]:
        if metric["name"] == FORCE:
            metric["value"] *= 0.9
    digest = objects.put(trained.workspace, "result", payload)
    yield digest
    path = trained.workspace.objects / "result" / digest[:2] / f"{digest}.json"
    path.unlink()


def test_every_run_tells_data_split_configuration_code_packages_and_hardware(trained):
    """E1: dataset root, split hash, config, seed, commit and dirty, env, hardware."""
    _, kept = load_model(trained.model)
    folder = trained.workspace.runs / kept["run_id"]
    told = json.loads((folder / "run.json").read_text())
    (filed,) = (
        run["provenance"]
        for run in catalog.runs(trained.workspace)
        if run["run_id"] == kept["run_id"]
    )
    for run in (told, kept, filed):
        assert run["dataset"]["digest"].startswith("dpb")
        assert len(run["split"]["digest"]) >= 40
        assert run["config"]["training"]["seed"] == run["seed"]
        assert set(run["code"]) == {"commit", "dirty"}
        assert run["environment"]["numpy"] == run["versions"]["numpy"]
        assert len(run["environment"]) > 10
        assert len(run["hardware"]["id"]) == 12


def test_a_record_tells_the_code_and_hardware_of_the_training(measured):
    run = measured.record.provenance.run
    assert run["hardware"]["cpu"]
    assert "commit" in run["code"]


def test_a_record_is_reproduced_from_what_it_says(trained, measured):
    """The same frames, tasks and settings, although no option repeats them."""
    planned = plan_reproduction(trained.workspace, measured.digest[:12], Wishes())
    assert planned.missing == ()
    assert planned.data == "pairs-v1:test"
    assert "accuracy" in planned.cost()
    assert planned.tasks["stability"].steps == 40
    found = reproduce(trained.workspace, planned, say=lambda _: None)
    again = objects.get(trained.workspace, "result", found.again)
    told = measured.record.stability.protocol
    assert again["stability"]["protocol"]["steps"] == told.steps
    sizes = [size.natoms for size in measured.record.throughput.sizes]
    assert [s["natoms"] for s in again["throughput"]["sizes"]] == sizes
    exact = [one for one in found.numbers if one.by.startswith("rounding")]
    assert FORCE in {one.name for one in exact}
    assert all(one.verdict == "agrees" for one in exact)
    drift = next(one for one in found.numbers if one.name.startswith("nve_drift"))
    assert drift.verdict == "agrees"


def test_a_number_that_was_improved_is_called(trained, forged):
    result = type_in(
        trained.workspace, "reproduce", forged, "--mode", "smoke", exit_code=1
    )
    assert "cost, as " in result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert last.strip().startswith("differs:")
    assert FORCE in last


def test_a_record_file_is_reproduced_and_speaks_json(trained, measured, tmp_path):
    """Exit 0, with every number in JSON."""
    only = replace(measured.record, stability=None, throughput=None)
    write_record(tmp_path / "r.json", record_to_payload(only))
    result = type_in(trained.workspace, "reproduce", tmp_path / "r.json", "--json")
    told = json.loads(result.stdout)
    assert told["agrees"] is True
    assert told["verdict"].startswith("agrees: ")


def test_what_is_missing_is_named_with_how_to_get_it(trained, measured, tmp_path):
    """No data, no model: nothing starts, and the line says what to do."""
    elsewhere = Workspace.find(tmp_path / "w", create=True)
    record = replace(
        measured.record, model=replace(measured.record.model, path="gone/m.pth")
    )
    write_record(tmp_path / "r.json", record_to_payload(record))
    result = type_in(elsewhere, "reproduce", tmp_path / "r.json", exit_code=1)
    assert "the dataset version pairs-v1" in result.stderr
    assert "dpbench dataset fetch pairs" in result.stderr
    assert "is not at gone/m.pth" in result.stderr
    assert "--retrain" in result.stderr


def test_another_model_is_not_taken_for_it(trained, measured, tmp_path):
    model, provenance = load_model(trained.model)
    model.parameters.flat.mul_(1.001)
    save_model(tmp_path / "m.pth", model, provenance)
    wishes = Wishes(model=tmp_path / "m.pth")
    planned = plan_reproduction(trained.workspace, measured.digest, wishes)
    assert planned.model is None
    assert "is another model" in planned.missing[0]
    with pytest.raises(EvaluationError, match="cannot be reproduced here"):
        reproduce(trained.workspace, planned, say=lambda _: None)


def test_a_backend_that_is_not_here_is_named(trained, measured):
    record = replace(measured.record, backend="deepmd-paddle")
    digest = objects.put(trained.workspace, "result", record_to_payload(record))
    planned = plan_reproduction(trained.workspace, digest, Wishes())
    path = trained.workspace.objects / "result" / digest[:2] / f"{digest}.json"
    path.unlink()
    assert "dpbench backends install" in planned.missing[0]


def test_a_model_is_trained_again_from_its_run(trained, measured):
    """E1: the same configuration, seed and split, on the same machine: the same."""
    wishes = Wishes(retrain=True)
    planned = plan_reproduction(trained.workspace, measured.digest, wishes)
    assert planned.missing == ()
    assert planned.training.config.training.steps == 20
    assert "training" in planned.cost()
    only = replace(
        planned,
        tasks={"accuracy": None},
        record=replace(measured.record, stability=None, throughput=None),
    )
    found = reproduce(trained.workspace, only, say=lambda _: None)
    assert found.agrees, verdict_line(found)
    out = trained.workspace.runs / f"reproduced-{measured.digest[:12]}"
    again, _ = load_model(out / "m.pth")
    assert model_digest(again) == measured.record.model.digest
    shutil.rmtree(out)


def test_speeds_of_other_hardware_are_not_judged(measured):
    other = replace(
        measured.record, hardware=replace(measured.record.hardware, id="0" * 12)
    )
    judged = {one.name: one for one in judge(measured.record, other)}
    md = judged["md_us_per_atom_step"]
    assert md.verdict == "not judged"
    assert "other hardware" in md.by
