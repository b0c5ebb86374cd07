"""The demo's plan, its folder and the verdict on its two results."""

import pytest

from dpbench import demo
from dpbench.errors import WorkspaceError


def outcome(held, *, force, energy):
    return demo.judge(held, force_percent=force, energy_mae=energy)


def test_earlier_demo_is_replaced(tmp_path):
    folder = tmp_path / "demo"
    demo.prepare(folder)
    (folder / "m.pth").write_text("old")
    demo.prepare(folder)
    assert not (folder / "m.pth").exists()
    assert len(list((folder / "data").glob("*.out.gz"))) == 6


def test_foreign_folder_is_left_alone(tmp_path):
    precious = tmp_path / "thesis.tex"
    precious.write_text("years")
    with pytest.raises(WorkspaceError, match="was not made by 'dpbench demo'"):
        demo.prepare(tmp_path)
    assert precious.read_text() == "years"


def test_held_out_runs_are_in_the_shipped_data(tmp_path):
    demo.prepare(tmp_path / "demo")
    names = {path.name for path in (tmp_path / "demo" / "data").iterdir()}
    assert {f"{held.run}.out.gz" for held in demo.HELD_OUT} <= names


def test_both_modes_take_the_same_steps():
    def commands(mode):
        return [step.arguments[0] for step in demo.steps(mode)]

    links = "ingest dataset train evaluate evaluate leaderboard"
    assert commands("smoke") == commands("standard") == links.split()


def test_results_within_the_targets_are_met():
    test, ood = demo.HELD_OUT
    assert outcome(test, force=6.0, energy=4.0).is_met
    assert outcome(ood, force=25.0, energy=50.0).is_met


@pytest.mark.parametrize(("force", "energy"), [(6.1, 1.0), (1.0, 4.1), (None, 1.0)])
def test_a_missed_target_is_said(force, energy):
    test, ood = demo.HELD_OUT
    found = [
        outcome(test, force=force, energy=energy),
        outcome(ood, force=10.0, energy=10.0),
    ]
    assert not found[0].is_met
    text = demo.describe(found, mode="standard")
    assert text.count("MISSED") == 1
    assert text.count("met") == 1
    assert text.index("MISSED") < text.index("3000 K")


def test_smoke_numbers_are_called_no_result():
    found = [outcome(held, force=99.0, energy=99.0) for held in demo.HELD_OUT]
    text = demo.describe(found, mode="smoke")
    assert "no result" in text
    assert "MISSED" not in text
