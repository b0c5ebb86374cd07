"""Compressing a trained model, and evaluating what comes out."""

import json
from dataclasses import replace

import pytest
import torch

from dpbench.cli.__main__ import main
from dpbench.errors import DatasetError, ModelError
from dpbench.eval.compression import MOST_FRAMES, compress_file
from dpbench.eval.options import Options
from dpbench.eval.run import evaluate
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.compressed import TableSettings
from dpbench.models.files import load_potential, potential_digest

QUICK = TableSettings(intervals=128)


def compressed(trained, tmp_path, **options):
    options = {"settings": QUICK, "workspace": trained.workspace} | options
    return compress_file(trained.model, tmp_path / "m-compressed.pth", **options)


def test_the_error_is_measured_on_the_training_data_and_kept(trained, tmp_path):
    report = compressed(trained, tmp_path)
    model, provenance = load_potential(tmp_path / "m-compressed.pth")
    assert report.dataset == "pairs-v1"
    assert report.source == model_digest(load_model(trained.model)[0])
    assert report.digest == potential_digest(model)
    assert 0 < report.frames.force_max < 1e-4
    assert report.frames.nframes == MOST_FRAMES
    told = provenance["compression"]
    assert told["frames"]["force_max"] == report.frames.force_max
    assert told["source"] == report.source
    assert provenance["run_id"] == load_model(trained.model)[1]["run_id"]
    assert f"{report.frames.nframes} frames of pairs-v1" in report.summary()


def test_finer_tables_are_nearer(trained, tmp_path):
    coarse, fine = (
        compressed(trained, tmp_path, settings=TableSettings(intervals=n))
        for n in (16, 64)
    )
    assert coarse.frames.force_max > 100 * fine.frames.force_max
    assert coarse.scan.slope > 50 * fine.scan.slope


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_a_tolerance_is_met_by_few_intervals(trained, tmp_path, tolerance):
    report = compressed(
        trained, tmp_path, settings=TableSettings(), tolerance=tolerance
    )
    assert report.frames.force_max <= tolerance


def test_a_tolerance_without_frames_is_refused(trained, tmp_path):
    with pytest.raises(ModelError, match="tolerance of forces needs frames"):
        compressed(trained, tmp_path, workspace=None, tolerance=1e-5)
    with pytest.raises(ModelError, match="expected a positive number"):
        compressed(trained, tmp_path, tolerance=-1.0)
    with pytest.raises(DatasetError, match="no workspace"):
        compressed(trained, tmp_path, workspace=None, dataset="pairs")


def test_without_a_dataset_the_tables_alone_are_judged(trained, tmp_path):
    report = compressed(trained, tmp_path, workspace=None)
    assert report.frames is None
    assert report.scan.slope > 0
    assert "not measured" in report.summary()


def test_float32_is_judged_beside_its_own_rounding(trained, tmp_path):
    model, provenance = load_model(trained.model)
    single = tmp_path / "single.pth"
    save_model(single, model.to("cpu", torch.float32), provenance)
    report = compress_file(
        single, tmp_path / "c.pth", settings=QUICK, workspace=trained.workspace
    )
    assert report.precision == "float32"
    assert report.plain.force_max > 0
    assert report.frames.force_max < 100 * report.plain.force_max + 1e-5


def test_a_compressed_model_is_not_compressed_again(trained, tmp_path):
    compressed(trained, tmp_path)
    with pytest.raises(ModelError, match="compressed already"):
        compress_file(tmp_path / "m-compressed.pth", tmp_path / "x.pth", settings=QUICK)


def test_a_compressed_model_is_evaluated_as_the_plain_one(trained, tmp_path):
    compressed(trained, tmp_path, settings=TableSettings())
    options = Options(tasks=("accuracy",))
    plain, small = (
        evaluate(trained.workspace, path, dataset="pairs:test", options=options)
        for path in (trained.model, tmp_path / "m-compressed.pth")
    )
    one, other = plain[0].record, small[0].record
    assert (one.model.kind, other.model.kind) == ("plain", "compressed")
    assert one.model.digest != other.model.digest
    assert one.model.parameters == other.model.parameters
    assert other.kernels["embedding"] == "tabulated embedding"
    metrics = [{m.name: m.value for m in r.accuracy.metrics} for r in (one, other)]
    for name in ("force_rmse_component_mev_per_ang", "energy_rmse_per_atom_mev"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-4)
    # A file of tables is what it is: there is no exact model to compare it with.
    assert other.accuracy.fidelity is None


@pytest.mark.slow
def test_a_compressed_model_runs_dynamics(trained, tmp_path):
    compressed(trained, tmp_path)
    options = Options(tasks=("stability", "throughput"), mode="smoke")
    # So rough a model does not hold its atoms apart.
    options = replace(options, temperature=50.0, sel_overflow="deepmd")
    path = tmp_path / "m-compressed.pth"
    filed = evaluate(trained.workspace, path, dataset="pairs:test", options=options)
    assert filed[0].record.stability is not None
    assert filed[0].record.throughput.sizes[0].status == "ok"
    assert filed[0].record.kernels["inference"] == "numba"


def test_the_command_prints_a_report(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(trained.model.read_bytes())
    workspace = ["--workspace", str(trained.workspace.root)]
    assert main(["compress", "m.pth", "--intervals", "64", *workspace]) == 0
    said = capsys.readouterr().out
    assert "m-compressed.pth" in said.splitlines()[-1]
    assert "force max" in said
    assert main(["compress", "m.pth", "--out", "x.pth", "--json", *workspace]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == "x.pth"
    assert load_potential(tmp_path / "x.pth")[0].intervals == report["intervals"]


def test_the_command_needs_no_workspace_but_a_model(
    trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(trained.model.read_bytes())
    assert main(["compress", "m.pth", "--shortest", "0.4"]) == 0
    assert "down to 0.4 Å" in capsys.readouterr().out
    assert main(["compress", "missing.pth"]) == 1
    assert "missing.pth: cannot be read" in capsys.readouterr().err
    both = ["--intervals", "9", "--tolerance", "1e-4"]
    assert main(["compress", "m.pth", *both]) == 2
