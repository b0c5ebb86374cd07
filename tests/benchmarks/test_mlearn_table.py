"""The table of the mlearn benchmark: means, spread over seeds, ratios."""

import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def mlearn():
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    try:
        import mlearn
    finally:
        sys.path.pop(0)
    return mlearn


def test_table_has_means_with_spread_and_ratios_to_published_rows(mlearn):
    runs = [{mlearn.ENERGY: e, mlearn.FORCE: f} for e, f in ((3.0, 90.0), (5.0, 110.0))]
    lines = mlearn.table({"Mo": runs}, mlearn.published()).splitlines()
    assert lines[0] == "| model | Mo energy | Mo force |"
    assert lines[2] == (
        "| dpbench, defaults, 2 seeds | **4.00** ± 1.41 | **0.100** ± 0.014 |"
    )
    assert lines[3] == "| GAP, published | 2.24 (1.79) | 0.090 (1.11) |"
    assert [line.split(",")[0] for line in lines[4:]] == ["| MTP", "| SNAP", "| qSNAP"]


def test_benchmark_names_an_element_by_its_symbol_as_the_suite_does(mlearn):
    snap = mlearn.published()["SNAP"]
    assert snap["Si", mlearn.ENERGY] == pytest.approx(6.44, abs=0.01)
    assert snap["Mo", mlearn.FORCE] == pytest.approx(207, abs=0.5)
