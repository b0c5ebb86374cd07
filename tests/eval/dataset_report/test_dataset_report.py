"""The page about a dataset: true to the data, whole, and safe against hostile names."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.eval.dataset_report import write_report
from dpbench.eval.dataset_report.profile import DISTANCE_EDGES, profile
from dpbench.frames import uniform
from dpbench.io.quality.judge import judge
from dpbench.store.dataset import open_dataset
from tests.store.synthetic import commit, new_workspace, segment_data, source_entry

HOSTILE = "runs/<script>alert(1)</script>.out"


def crystal(nframes=12):
    """A rattled cubic crystal of two elements; frame 5 has two atoms too near."""
    rng = np.random.default_rng(0)
    grid = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * 2.5
    coord = grid + rng.normal(0, 0.05, (nframes, 8, 3))
    coord[5, 1] = coord[5, 0] + [0.3, 0, 0]
    force = rng.normal(0, 0.3, (nframes, 8, 3))
    force -= force.mean(axis=1, keepdims=True)
    return uniform(
        z=[13, 12] * 4,
        coord=coord,
        box=np.tile(np.eye(3) * 5.0, (nframes, 1, 1)),
        energy=-30.0 + rng.normal(0, 0.01, nframes),
        force=force,
    )


def dataset(folder, frames=None, path="runs/a.out"):
    workspace = new_workspace(folder)
    source = {**source_entry("a"), "path": path}
    frames = crystal() if frames is None else frames
    commit(workspace, "w", segment_data(frames, [source]))
    return open_dataset(workspace, "w")


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("w"))


@pytest.fixture(scope="module")
def page(version, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "w.html"
    return write_report(version, path).read_text(encoding="utf-8")


def test_profile_counts_every_pair_of_atoms_once(version):
    found = profile(version, judge(version))
    frames = version.read(range(version.nframes))
    expected = np.zeros(len(DISTANCE_EDGES) - 1, dtype=np.int64)
    images = (
        np.array(
            [[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
        )
        * 5.0
    )
    for index in range(frames.nframes):
        coord = frames.coord[frames.atoms_of(index)]
        i, j = np.triu_indices(8, 1)
        vector = (coord[j] - coord[i])[:, None] + images
        distance = np.sqrt((vector**2).sum(axis=-1))
        expected += np.histogram(distance[distance <= 6], DISTANCE_EDGES)[0]
    assert set(found.distances) == {("Mg", "Mg"), ("Mg", "Al"), ("Al", "Al")}
    np.testing.assert_array_equal(sum(found.distances.values()), expected)


def test_profile_takes_energy_beyond_composition_and_volume(version):
    found = profile(version, judge(version))
    frames = version.read(range(version.nframes))
    np.testing.assert_allclose(
        found.energy_residual, (frames.energy - frames.energy.mean()) / 8, atol=1e-12
    )
    np.testing.assert_allclose(found.volume_per_atom, 125 / 8)
    assert [fit["rank"] for fit in found.fits] == [1]
    assert found.force_counts.sum() == frames.atom_offset[-1]
    assert np.isnan(found.pressure).all()


def test_page_tells_size_theory_source_and_digest(version, page):
    for text in (
        version.digest,
        "<b>12</b><span>frames</span>",
        "<b>96</b><span>atoms</span>",
        "Al4Mg4",
        "runs/a.out",
        "LDA-PZ",
        "Only 1 of its 2 energies can be told apart",
        "No licence or citation is declared",
        "No frame has it",
        "1 source.",
    ):
        assert text in page, text


def test_every_flagged_frame_has_a_card_that_its_link_leads_to(version, page):
    quality = judge(version)
    assert 5 in quality.of("min_distance")
    links = set(re.findall(r'href="#(frame-\d+)"', page))
    cards = set(re.findall(r'id="(frame-\d+)"', page))
    assert "frame-5" in links
    assert links == cards


def test_a_frame_can_be_taken_from_the_page_as_extended_xyz(version, page):
    data = re.search(r'base64,([^"]+)" download="frame-5.xyz"', page)[1]
    lines = base64.b64decode(data).decode().splitlines()
    frames = version.read([5])
    assert lines[0] == "8"
    assert "forces:R:3" in lines[1]
    assert 'pbc="T T T"' in lines[1]
    values = np.array([line.split()[1:] for line in lines[2:]], dtype=np.float64)
    expected = np.concatenate([frames.coord, frames.force], axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


def test_the_page_needs_no_network_and_is_made_again_alike(version, page, tmp_path):
    loads = re.findall(r'(?:src|href)="([^"#]*)"', page)
    assert all(link.startswith("data:") for link in loads if link)
    assert "://" not in re.sub(r'xmlns="[^"]*"', "", page)
    again = write_report(version, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == page


def test_a_hostile_path_stays_text(tmp_path):
    version = dataset(tmp_path, path=HOSTILE)
    text = write_report(version, tmp_path / "w.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_frames_without_cell_or_labels_make_a_page(tmp_path):
    bare = replace(
        crystal(8),
        box=np.full((8, 3, 3), np.nan),
        pbc=np.zeros((8, 3), dtype=np.bool_),
        energy=np.full(8, np.nan),
        force=np.full((64, 3), np.nan),
    )
    version = dataset(tmp_path, frames=bare)
    text = write_report(version, tmp_path / "w.html").read_text(encoding="utf-8")
    assert text.count("No frame has it") >= 4
    assert "nan" not in re.sub(
        r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL
    ).lower().replace("nanometre", "")


def test_command_prints_the_path(version, in_tmp):
    arguments = ["--workspace", str(version.workspace.root), "dataset", "report", "w"]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"html": "w-v1.html"}
    assert (in_tmp / "w-v1.html").stat().st_size > 10_000
