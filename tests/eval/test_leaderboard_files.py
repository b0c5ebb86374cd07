import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.leaderboard import write_board
from dpbench.eval.leaderboard.plots import (
    Point,
    pareto_front,
    pareto_plot,
    parity_plot,
    trace_plot,
)
from dpbench.eval.web.axes import linear_ticks, log_ticks, tick_text
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number, spread_text
from tests.eval.synthetic_records import exploded, synthetic_record, with_digests

HOSTILE = '<script>alert(1)</script> & "x" \' | `y` [z](u) </td>'


def some_records():
    return [
        synthetic_record(model="small", force=60),
        synthetic_record(model="large", force=40, speed=150, seed=1),
        exploded(synthetic_record(model="wild", force=80, seed=2)),
        synthetic_record(model="small", force=200, part="ood"),
        synthetic_record(model="small", precision="float32", hardware="GPU", seed=3),
    ]


@pytest.fixture
def written(tmp_path):
    return write_board(with_digests(some_records()), tmp_path / "out")


def test_four_files_are_written(written):
    assert [path.name for path in written] == [
        "index.html",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    ]


def test_a_rerun_and_another_order_give_the_same_bytes(tmp_path, written):
    turned = dict(reversed(with_digests(some_records()).items()))
    again = write_board(turned, tmp_path / "again")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_page_asks_the_network_for_nothing(written):
    page = written[0].read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|src=|<link[^>]*stylesheet", page)


class Structure(HTMLParser):
    """Checks that tags close in order and notes what occurs."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "input", "br", "hr"):
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_its_ids_are_unique(written):
    structure = Structure()
    structure.feed(written[0].read_text(encoding="utf-8"))
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))


def test_hostile_names_stay_text(tmp_path):
    record = synthetic_record(model=HOSTILE, hardware=HOSTILE, marks=(HOSTILE,))
    record = replace(record, part="test", command=("dpbench", HOSTILE))
    page, markdown, table, _ = write_board(with_digests([record]), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    structure = Structure()
    structure.feed(text)
    assert structure.open == []
    assert HOSTILE in "".join(structure.text)
    rows = [line for line in markdown.read_text().splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert len(widths) == 1
    (row, _) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert row["model"] == HOSTILE


def test_a_spreadsheet_does_not_take_a_name_for_a_formula(tmp_path):
    record = synthetic_record(model="=1+1")
    path = write_board(with_digests([record]), tmp_path)[2]
    assert "'=1+1" in path.read_text(encoding="utf-8")


def test_all_forms_tell_the_same_numbers(written):
    _, markdown, table, file = written
    board = json.loads(file.read_text(encoding="utf-8"))
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    name = "force_rmse_component_mev_per_ang"
    told = [
        row["metrics"][name]["value"]
        for part in board["tables"]
        for row in [*part["rows"], *part["baselines"]]
    ]
    assert [float(row[name]) for row in rows] == told
    lines = [s for s in markdown.read_text().splitlines() if s.startswith("| ")]
    assert len(lines) == len(rows) + len(board["tables"])


def test_every_row_leads_to_its_record_command_and_sources(written):
    page = written[0].read_text(encoding="utf-8")
    for digest in with_digests(some_records()):
        assert digest in page
    assert "dpbench evaluate --model large.pth" in page
    assert "a" * 64 in page
    assert "run-large" in page


def test_different_hardware_is_never_in_one_plot(written):
    page = written[0].read_text(encoding="utf-8")
    figures = re.findall(r"<figure data-hardware=.*?</figure>", page, re.DOTALL)
    assert [figure.count('class="dot') for figure in figures[:2]] == [3, 1] or [
        figure.count('class="dot') for figure in figures[:2]
    ] == [1, 3]


def test_no_record_is_a_clear_error(tmp_path):
    with pytest.raises(EvaluationError, match="no result record yet"):
        write_board({}, tmp_path / "out")
    with pytest.raises(EvaluationError, match="suite 'core'"):
        write_board(with_digests(some_records()), tmp_path / "out", suite="core")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.00123, "0.00123"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (999.6, "1000"),
        (123456.0, "123456"),
        (2.5e-5, "2.50e-5"),
        (1.1e-4, "0.000110"),
        (-3.2, "-3.20"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_a_spread_has_the_decimals_of_its_value():
    assert spread_text(38.02, 2.04) == "2.0"
    assert spread_text(159.2, 2.8) == "3"
    assert spread_text(159.2, 0.02) == "0.02"


def test_markup_escapes_all_but_markup():
    made = tag("p", "<b>", Markup("<i></i>"), title='"&', hidden="", lang=None)
    assert made == '<p title="&quot;&amp;" hidden>&lt;b&gt;<i></i></p>'
    assert join("<", None, 3) == "&lt;3"


def test_ticks_are_round_and_inside():
    assert linear_ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert linear_ticks(-107.3, -106.9) == pytest.approx(
        [-107.3, -107.2, -107.1, -107.0, -106.9]
    )
    assert log_ticks(1.5, 70) == pytest.approx([2, 5, 10, 20, 50])
    assert tick_text(-107.2, [-107.3, -107.2]) == "\u2212107.2"


def test_the_front_holds_what_nothing_beats():
    def point(name, speed, error):
        return Point(
            row_id=name,
            name=name,
            speed=speed,
            error=error,
            error_low=error,
            error_high=error,
            is_ranked=True,
        )

    points = [point("a", 1, 9), point("b", 2, 5), point("c", 3, 6), point("d", 4, 1)]
    assert [p.name for p in pareto_front(points)] == ["a", "b", "d"]
    assert pareto_plot(points, label="x").count("<circle") == 4


def test_plots_of_nothing_are_left_out():
    assert parity_plot([], [], quantity="energy", unit="eV") is None
    assert parity_plot([1.0], [None], quantity="energy", unit="eV") is None
    assert trace_plot([((), ())]) is None


def test_plots_bear_constant_values():
    same = np.full(5, 2.0).tolist()
    assert "NaN" not in parity_plot(same, same, quantity="energy", unit="eV")
    assert "nan" not in trace_plot([((0.0, 1.0), (0.0, 0.0))])
