"""The suite mlearn: published rows, the published split, and what it leaks."""

import json

import pytest

from dpbench.eval.suites.data import prepare_suite
from dpbench.eval.suites.loading import load_suite
from dpbench.io.leakage.compare import leakage
from dpbench.store.workspace import Workspace

ENERGY, FORCE = "energy_mae_per_atom_mev", "force_mae_component_mev_per_ang"


def published():
    return {
        row.model: {(v.data, v.metric): v.value for v in row.values}
        for row in load_suite("mlearn").published()
    }


def test_published_rows_hold_two_errors_of_six_elements_each():
    found = published()
    assert list(found) == ["GAP", "MTP", "SNAP", "qSNAP"]
    elements = {"ni", "cu", "li", "mo", "si", "ge"}
    for values in found.values():
        assert set(values) == {(e, m) for e in elements for m in (ENERGY, FORCE)}


def test_published_rows_name_their_source():
    for row in load_suite("mlearn").published():
        assert "Zuo et al." in row.source
        assert row.url.startswith("https://")
        assert row.note


def test_rows_of_snap_are_those_computed_from_the_papers_files(shared_data):
    path = shared_data / "thirdparty/mlearn/reproduced_snap_test_errors.json"
    reference = json.loads(path.read_text())
    for model, values in published().items():
        for (element, metric), value in values.items():
            told = reference.get(f"{element.capitalize()}/{model.lower()}")
            if told is None:
                continue
            scale, key = (1.0, "E_MAE") if metric == ENERGY else (1e3, "F_MAE")
            assert value == pytest.approx(scale * told[key], rel=2e-3)


@pytest.mark.slow
def test_published_split_shares_runs_and_has_three_twins(shared_data, tmp_path):
    """L3: what the published split shares is measured, and stays as published."""
    workspace = Workspace.find(tmp_path / "ws", create=True)
    folder = shared_data / "thirdparty" / "mlearn"
    prepared = prepare_suite(
        workspace, load_suite("mlearn"), folders={"": folder}, keys=("si",)
    )[0]
    parts = prepared.split.parts
    assert {name: len(index) for name, index in parts.items()} == {
        "train": 214,
        "test": 25,
    }
    version = prepared.version
    found = leakage(version, parts["train"], version, parts["test"]).facts()
    assert found["exact"] == 0
    assert found["invariant"] == 3
    assert found["same_trajectory"] == 17
