"""The page about an exploration: true to the results, whole, safe, never in the way."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import WorkspaceError
from dpbench.explore.announce import Announcement
from dpbench.explore.progress import OVER
from dpbench.explore.report import PAGE, plots, write_report
from dpbench.explore.report.collect import collect
from dpbench.explore.report.live import LiveReport
from dpbench.explore.report.page import CONTENTS, render_report
from dpbench.explore.stage_results import Histogram, StopReason
from dpbench.store.workspace import Workspace
from tests.explore.report.books import (
    CONVERGED,
    HOSTILE,
    config,
    write_config,
    write_exploration,
    write_iteration,
    write_start,
)

RUNNING = Announcement(
    iteration=3, stage="label", done=9, total=24, text="1 quarantined"
)


class Words(HTMLParser):
    """Collects what one can read, and every element."""

    def __init__(self):
        super().__init__()
        self.words, self.elements, self.hidden = [], [], False

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)


def read(text):
    parser = Words()
    parser.feed(text)
    return " ".join(parser.words), parser.elements


def rows_of(text):
    """Cells of every table row."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_exploration(tmp_path_factory.mktemp("almg"))


@pytest.fixture(scope="module")
def text(root):
    return write_report(root).read_text(encoding="utf-8")


def test_every_iteration_stands_with_its_counts(root, text):
    content = collect(root)
    for told in content.iterations:
        counts = told.select.counts
        share = 100 * counts["accurate"] / sum(counts.values())
        row = next(r for r in rows_of(text) if r and r[:1] == [str(told.number)])
        assert row[2] == told.train.dataset
        assert row[4] == f"{sum(counts.values()):,}"
        assert row[5] == f"{share:.1f} %"
        assert row[8] == str(len(told.select.chosen))


def test_verdicts_of_every_row_are_the_whole(root):
    for told in collect(root).iterations:
        assert sum(plots.shares_of(told.select.counts).values()) == pytest.approx(100)
    assert sum(plots.shares_of({}).values()) == 0


def test_bars_are_as_long_as_their_shares(root, text):
    bars = re.search(r'aria-label="Shares of accurate.*?</svg>', text, re.DOTALL)[0]
    groups = re.findall(r"<g>(.*?)</g>", bars, re.DOTALL)
    told = collect(root).iterations
    assert len(groups) == len(told)
    found = [
        [float(w) for w in re.findall(r'width="([\d.]+)"', group)] for group in groups
    ]
    full = max(sum(widths) for widths in found)
    for widths, one in zip(found, told, strict=True):
        shares = [s for s in plots.shares_of(one.select.counts).values() if s]
        assert len(widths) == len(shares)
        for width, share in zip(widths, shares, strict=True):
            assert width == pytest.approx(full * share / 100, abs=0.6)


def test_histograms_have_one_ridge_an_iteration_coloured_by_the_levels(root, text):
    drawing = re.search(
        r'aria-label="Largest force deviation.*?</svg>', text, re.DOTALL
    )[0]
    assert drawing.count('class="floor"') == 4
    assert drawing.count('class="level"') == 8
    assert 'class="part accurate"' in drawing
    assert 'class="part failed"' in drawing
    beyond = collect(root).iterations[0].select.max_devi_f.beyond
    assert beyond
    assert f"Beyond the last bin: {beyond} in iteration 0" in text


def test_a_bin_that_a_level_goes_through_is_cut_there():
    histogram = Histogram(edges=(0.01, 0.1, 1.0, 10.0), counts=(4, 2, 3))
    edges, heights = plots._cut_at_levels(histogram, [(0.05, 1.0)])
    assert edges == [0.01, 0.05, 0.1, 1.0, 10.0]
    assert heights == [4, 4, 2, 3]
    colours = plots._colours(edges, [(0.05, 1.0)])
    assert colours == ["accurate", "candidate", "candidate", "failed"]


def test_bins_have_no_verdict_where_structures_have_levels_of_their_own(root):
    content = collect(root)
    told = content.iterations[0]
    levels = dict(told.select.levels)
    levels["hcp"] = replace(levels["hcp"], force=(0.1, 0.4))
    select = replace(told.select, levels=levels)
    content = replace(content, iterations=(replace(told, select=select),))
    drawing = plots.force_deviations(content)
    assert "part plain" in drawing
    assert "part accurate" not in drawing
    assert drawing.count('class="level"') == 4


def test_nothing_left_out_is_without_its_reason(text):
    words, _ = read(text)
    for reason in (
        "the models disagree above the upper trust level",
        "there are others to learn more from",
        "an atom moved 3.1 Å in a step at step 812",
        "min_distance",
        "duplicate",
        "mixing_beta 0.3",
        HOSTILE,
    ):
        assert reason in words


def test_every_chosen_frame_is_listed_with_the_fate_of_its_label(root, text):
    chosen = [one for told in collect(root).iterations for one in told.select.chosen]
    rows = [row for row in rows_of(text) if len(row) == 10]
    assert len(rows) == len(chosen)
    fates = [row[6] for row in rows]
    assert fates.count("quarantined") == 3
    assert fates.count("done") == 69
    assert fates.count("not labelled") == len(chosen) - 72  # it had converged


def test_cost_is_the_sum_of_all_stages(root, text):
    content = collect(root)
    total = sum(sum(t.cpu_seconds.values()) for t in content.iterations)
    total += content.start_label.cpu_seconds
    assert sum(content.cpu_seconds.values()) == pytest.approx(total)
    row = next(r for r in rows_of(text) if r and r[0] == "all")
    assert row[1:3] == [f"{total / 3600:.3g}", "100.0 %"]


def test_digests_of_versions_models_and_configurations_are_there(root, text):
    content = collect(root)
    assert content.start.digest in text
    for told in content.iterations:
        assert all(model.digest[:20] in text for model in told.train.models)
    assert all(entry.digest[:20] in text for entry in content.configs)
    assert "seed: 0 -&gt; 1" in text


def test_the_page_needs_nothing_else_and_runs_no_foreign_words(text):
    _, elements = read(text)
    assert HOSTILE not in text
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert not [a for _, a in elements for k in a if k.startswith("on")]
    links = [a["href"] for _, a in elements if "href" in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [a for _, a in elements if "src" in a]
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {name for name, _ in CONTENTS} <= set(ids)


def test_a_page_is_a_function_of_what_was_read(root):
    content = collect(root)
    assert render_report(content) == render_report(content)


@pytest.mark.parametrize(
    ("last", "stop", "running", "state", "words"),
    [
        (("train", "explore"), None, RUNNING, "running", "labelling, 9 of 24"),
        (("train", "explore"), None, None, "stopped", "exploring of iteration 1"),
        (("train", "explore", "select"), CONVERGED, None, "converged", "98.0 %"),
        (
            ("train", "explore", "select"),
            StopReason(
                kind="iterations", reason="6 were made", ends="all", is_converged=False
            ),
            None,
            "limit",
            "not converged",
        ),
    ],
)
def test_the_page_says_whether_it_goes_on(tmp_path, last, stop, running, state, words):
    write_exploration(tmp_path, iterations=2, last=("train",))
    write_iteration(tmp_path, 1, stages=last, stop=stop)
    text = write_report(tmp_path, running=running).read_text(encoding="utf-8")
    assert f'data-state="{state}"' in text
    box = re.search(r'<div id="state".*?</div>', text, re.DOTALL)[0]
    assert words in read(box)[0]


def test_the_end_of_a_stage_that_has_a_next_one_is_not_the_end(tmp_path):
    write_exploration(tmp_path, iterations=1)
    told = config()
    told["explore"]["stages"] *= 2
    write_config(tmp_path, told)
    assert collect(tmp_path).state == "stopped"


def test_a_page_can_be_written_before_anything_is_done(tmp_path):
    assert 'data-state="new"' in write_report(tmp_path).read_text(encoding="utf-8")
    write_config(tmp_path)
    write_start(tmp_path)
    write_iteration(tmp_path, 0, stages=("train",))
    words, _ = read(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "It began with almg-v1: 20 frames, labelled here by qe." in words
    assert "Not measured yet." in words


def test_a_damaged_result_is_one_line_and_never_ends_a_loop(tmp_path, caplog):
    write_exploration(tmp_path, iterations=1)
    (tmp_path / "iter.000000" / "select.json").write_text("{", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"select\.json: cannot be read"):
        write_report(tmp_path)
    live = LiveReport(tmp_path)
    live(RUNNING)
    live.close()
    assert caplog.text.count("is not written") == 1


def test_the_page_is_written_at_edges_of_stages_and_seldom_between(
    tmp_path, monkeypatch
):
    pages, now = [], [0.0]
    monkeypatch.setattr(
        "dpbench.explore.report.live.write_report",
        lambda root, *, running, known: pages.append(running),
    )
    live = LiveReport(tmp_path, every=15, clock=lambda: now[0])
    for done in range(25):
        live(Announcement(iteration=0, stage="label", done=done, total=24))
        now[0] += 2
    live(Announcement(iteration=0, stage="label", done=24, total=24, is_over=True))
    live(Announcement(iteration=0, stage=OVER, is_over=True))
    live.close()
    assert [page and page.done for page in pages] == [0, 8, 16, 24, 24, None, None]


def test_status_says_on_the_page_that_a_killed_loop_does_not_run(tmp_path):
    root = tmp_path / "ws" / "explorations" / "almg"
    Workspace.find(tmp_path / "ws", create=True)
    write_exploration(root, iterations=2, last=("train", "explore"))
    write_report(root, running=RUNNING)
    told = CliRunner().invoke(
        cli, ["explore", "almg-lda", "--status", "--workspace", str(tmp_path / "ws")]
    )
    assert told.exit_code == 0, told.output
    assert "iteration 1" in told.output
    text = (root / PAGE).read_text(encoding="utf-8")
    assert 'data-state="stopped"' in text


def test_a_command_that_did_nothing_leaves_the_page_of_another_alone(tmp_path):
    LiveReport(tmp_path).close()
    assert not [*tmp_path.iterdir()]


def test_what_was_read_once_is_read_again_only_where_it_has_changed(tmp_path):
    write_exploration(tmp_path, iterations=3)
    known = {}
    first = collect(tmp_path, known=known)
    write_iteration(tmp_path, 2, stages=("label",))
    second = collect(tmp_path, known=known)
    assert [
        a is b for a, b in zip(first.iterations, second.iterations, strict=True)
    ] == [
        True,
        True,
        False,
    ]
    assert second.iterations == collect(tmp_path).iterations


def test_the_virial_is_drawn_where_it_decides_and_relative_forces_have_no_unit(root):
    content = collect(root)
    assert plots.virial_deviations(content) is None
    told = content.iterations[0]
    levels = {
        name: replace(one, virial=(0.01, 0.1))
        for name, one in told.select.levels.items()
    }
    histogram = Histogram(edges=(0.001, 0.01, 0.1, 1.0), counts=(3, 2, 1))
    select = replace(told.select, levels=levels, max_devi_v=histogram)
    content = replace(content, iterations=(replace(told, select=select),))
    drawing = plots.virial_deviations(content)
    assert drawing.count('class="level"') == 2
    assert 'class="part failed"' in drawing
    entry = content.configs[-1]
    relative = replace(entry, config={**entry.config, "select": {"relative": 1.0}})
    content = replace(content, configs=(relative,))
    assert "frame, relative" in plots.force_deviations(content)
