"""``dpbench bench kernels``: a table for a person, JSON for a machine."""

import json

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli

QUICK = ["bench", "kernels", "--size", "3", "--seconds", "0.001"]


def run(*words: str):
    return CliRunner().invoke(cli, [*QUICK, *words])


def test_kernels_are_timed_beside_their_reference():
    result = run("--precision", "float64", "--kernel", "P1", "--json", "--cpu-time")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)
    (found,) = report["times"]
    assert found["kernel"] == "P1 moments"
    assert found["variant"] == report["kernels"]["passes"] != "reference"
    assert found["reference_ratio"] == pytest.approx(
        found["reference_ms"] / found["ms"]
    )
    assert found["gflop_s"] == pytest.approx(found["gflop"] / found["ms"] * 1e3)
    assert (report["atoms"], report["clock"]) == (81, "cpu")
    assert report["peak"]["gflop_s"] == max(report["peak"]["products"].values())


def test_the_variable_decides_what_is_timed(monkeypatch):
    monkeypatch.setenv("DPBENCH_KERNELS", "reference")
    result = run("--precision", "float32", "--kernel", "P1", "--json")
    (report,) = json.loads(result.stdout)
    (found,) = report["times"]
    assert found["variant"] == "reference"
    assert found["reference_ms"] is None
    assert report["DPBENCH_KERNELS"] == "reference"


def test_the_table_is_for_people():
    result = run("--precision", "float32", "--kernel", "P1", "--kernel", "P2")
    lines = result.stdout.splitlines()
    assert "float32" in lines[0]
    assert [line[:2] for line in lines[2:]] == ["P1", "P2"]


def test_an_unknown_kernel_is_an_error():
    result = run("--kernel", "nothing")
    assert result.exit_code == 1
    assert "nothing" in result.output
