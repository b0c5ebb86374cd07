"""``dpbench bench throughput``: one command, a record of each configuration."""

import json
import os

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.eval.record import record_from_payload
from tests.eval.speed.test_probes import model  # noqa: F401 -- a fixture


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def run(root, *words):
    start = ["--workspace", str(root / "workspace"), "bench", "throughput"]
    return CliRunner().invoke(cli, [*start, *words])


@pytest.mark.slow
def test_the_smoke_run_files_a_record_and_tells_the_cost_first(model, tmp_path):  # noqa: F811
    """O1: cost printed beforehand; T3, T5 and the three levels in one record."""
    out = tmp_path / "speed.json"
    choice = ["--family", "dense", "--sizes", "32", "--mode", "smoke"]
    found = run(tmp_path, "--model", str(model), *choice, "--out", str(out))
    assert found.exit_code == 0, found.output
    told = found.stderr.splitlines()
    cost = next(index for index, line in enumerate(told) if "configurations" in line)
    assert cost < told.index("dense, 32 atoms: m, dpbench float64 tables ...")
    record = record_from_payload(json.loads(out.read_text()), where="out")
    result = record.tasks["md_throughput"]
    (size,) = result.samples["families"]["dense"]["sizes"]
    assert size["status"] == "ok"
    assert size["peak_mib"] > 50
    assert len([level for level in size["levels"].values() if level]) == 3
    assert result.samples["fidelity"]["force_max_component_mev_per_ang"] < 1.0
    assert result.metrics[0].value == size["levels"]["md_us_per_atom_step"]["median"]


@pytest.mark.slow
def test_a_size_beyond_the_memory_is_a_row_and_exit_0(model, tmp_path):  # noqa: F811
    """T5, through the command."""
    choice = ["--family", "dense", "--sizes", "32,64", "--mode", "smoke", "--json"]
    found = run(tmp_path, "--model", str(model), *choice, "--memory", "0.05")
    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)
    (size,) = row["record"]["tasks"]["md_throughput"]["samples"]["families"]["dense"][
        "sizes"
    ]
    assert size["status"] == "out_of_memory"
    assert row["record"]["tasks"]["md_throughput"]["status"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to measure"),
        (["--sizes", "many", "--model", "m.pth"], "no list of counts"),
        (["--model", "gone.pth"], "gone.pth"),
        (["--backend", "nobody"], "nobody"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, words, message):
    found = run(tmp_path, *words)
    assert found.exit_code in (1, 2)
    assert message in found.output
    assert "Traceback" not in found.output


def test_threads_of_processes_are_those_of_the_command(model, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OMP_NUM_THREADS", str((os.cpu_count() or 1) + 1))
    found = run(tmp_path, "--model", str(model), "--mode", "smoke")
    assert found.exit_code == 1
    assert "Set OMP_NUM_THREADS" in found.output
