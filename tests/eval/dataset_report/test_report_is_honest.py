"""The page about a dataset leaves nothing out unsaid."""

import re
import sys
from dataclasses import replace

import numpy as np

from dpbench.eval.dataset_report import plots, write_report
from dpbench.eval.dataset_report.collect import _trajectory_row
from dpbench.eval.dataset_report.profile import profile
from dpbench.io.quality.judge import judge
from dpbench.store.dataset import open_dataset
from dpbench.store.theory.mixture import fingerprint
from tests.eval.dataset_report.test_dataset_report import crystal, dataset
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    segment_data,
    source_entry,
)


def page_of(version, folder):
    return write_report(version, folder / "w.html").read_text(encoding="utf-8")


def two_levels(folder):
    """20 frames at one level of theory, and as many 100 eV/atom off at another."""
    workspace = new_workspace(folder)
    frames = crystal(20)
    other = replace(frames, energy=frames.energy - 800.0, coord=frames.coord + 0.01)
    theory = {**THEORY, "functional": "PBE"}
    other_source = source_entry("b", n_read=20, theory=fingerprint(theory))
    segments = [
        segment_data(frames, [source_entry("a", n_read=20)]),
        segment_data(other, [other_source]),
    ]
    theories = (THEORY, theory)
    commit(workspace, "two", *segments, theories=theories, allow_mixed_theory=True)
    return open_dataset(workspace, "two")


def test_a_cluster_far_off_is_drawn_where_it_lies():
    values = np.concatenate([np.linspace(-53, -52, 421), np.full(61, -156.0)])
    text = plots.histogram(values, x_label="E", label="E")
    assert "-150" in text or "−150" in text
    assert plots.beyond(values) == ""


def test_few_outliers_are_told_and_not_counted_in_the_last_bar():
    values = np.concatenate([np.linspace(0, 1, 500), [-156.25, 40.0, 50.0]])
    inside = plots.histogram(values[:500], x_label="E", label="E")
    assert plots.beyond(values) == (
        "Not drawn: 1 frame lies below, down to -156.25; 2 frames lie above, up to 50."
    )
    bars = re.search(r'<path d="([^"]+)" class="bars"', inside)[1]
    drawn = plots.histogram(values, x_label="E", label="E")
    heights = re.search(r'<path d="([^"]+)" class="bars"', drawn)[1]
    assert len(re.findall("M", heights)) < len(re.findall("M", bars)) + 60
    assert plots.beyond(values[:500]) == ""


def test_atoms_without_force_are_told_beside_the_plot(tmp_path):
    frames = crystal()
    frames.force[:8] = 0
    version = dataset(tmp_path, frames=frames)
    found = profile(version, judge(version))
    assert found.force_counts.sum() == 88
    assert found.force_beyond == (8, 0)
    text = page_of(version, tmp_path)
    assert "Not drawn: forces on 8 atoms below 1e-06 eV/Å." in text


def test_each_level_of_theory_has_its_own_fit_as_the_flags_have(tmp_path):
    version = two_levels(tmp_path)
    quality = judge(version)
    found = profile(version, quality)
    assert len(found.fits) == 2
    assert np.abs(found.energy_residual).max() < 0.1
    np.testing.assert_array_equal(
        found.energy_residual, quality.values["energy_residual"]
    )
    assert page_of(version, tmp_path).count("20 frames of theory") == 2


def test_a_mixture_of_levels_is_warned_of_with_what_differs(tmp_path):
    version = two_levels(tmp_path)
    text = page_of(version, tmp_path)
    section = text[text.index('id="theory"') : text.index('id="sources"')]
    assert "Levels of theory are mixed: they differ in " in section
    assert "functional" in section
    assert "PBE" in section


def test_all_flagged_frames_are_listed_and_duplicates_name_the_first(tmp_path):
    frames = crystal(40)
    frames.force[:] += 0.5
    for row in (30, 31):
        frames.coord[frames.atoms_of(row)] = frames.coord[frames.atoms_of(19)]
    version = dataset(tmp_path, frames=frames)
    assert judge(version).counts["net_force"] == 40
    text = page_of(version, tmp_path)
    (listed,) = re.findall(
        r"<summary>net_force: 40 frames</summary>(.*?)</details>", text
    )
    assert sorted(map(int, re.findall(r"#(\d+)(?:</a>)?</td>", listed))) == [*range(40)]
    assert listed.count("net_force 6.93 eV/Å") == 40
    card = text[text.index('id="frame-30"') :]
    card = card[: card.index("</article>")]
    assert re.search(r"<dt>duplicate_exact</dt><dd>as frame .*#19", card)
    assert len(re.findall(r'id="frame-', text)) >= 12


def test_lists_are_cut_with_a_word_on_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[_trajectory_row.__module__], "LISTED", 15)
    frames = crystal(40)
    frames.force[:] += 0.5
    text = page_of(dataset(tmp_path, frames=frames), tmp_path)
    assert "… and 25 more." in text


def test_checks_tell_how_many_frames_they_flag():
    entry = {"n_flagged": 7, "slope": -1.0, "r": -1.0, "n_steps": 29, "cause": "x"}
    row = _trajectory_row({**entry, "verdict": "units", "source": "a"})
    assert row.detail.endswith("29 steps, 7 frames flagged")
