"""The shipped demo runs are the generated ones, whole and under their licence."""

import gzip
from pathlib import Path

import pytest

import dpbench

DEMO = Path(dpbench.__file__).parent / "_demo"
RUNS = [
    "si8_a525_900K",
    "si8_a535_3000K",
    "si8_a540_1500K",
    "si8_a540_300K",
    "si8_a540_900K",
    "si8_a555_900K",
]


def test_six_runs_ship_with_their_inputs():
    assert sorted(p.name for p in DEMO.glob("*.out.gz")) == [
        f"{run}.out.gz" for run in RUNS
    ]
    assert sorted(p.stem for p in DEMO.glob("*.in")) == RUNS


@pytest.mark.parametrize("run", RUNS)
def test_shipped_run_is_the_generated_one(run, shared_data):
    generated = shared_data / "generated" / "si8_qe_lda"
    shipped = gzip.decompress((DEMO / f"{run}.out.gz").read_bytes())
    assert shipped == (generated / f"{run}.out").read_bytes()
    assert (DEMO / f"{run}.in").read_bytes() == (generated / f"{run}.in").read_bytes()


def test_gzip_headers_hold_no_time_and_no_name():
    for path in DEMO.glob("*.gz"):
        flags, time = path.read_bytes()[3], path.read_bytes()[4:8]
        assert flags == 0
        assert time == bytes(4)


def test_licence_is_named():
    assert "CC-BY-4.0" in (DEMO / "LICENSE.txt").read_text(encoding="utf-8")


def test_demo_data_stay_small():
    assert sum(p.stat().st_size for p in DEMO.iterdir()) < 2_000_000
