"""The files of a board: the same rows in each, and no text that is more than text."""

import base64
import csv
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import EvaluationError
from dpbench.eval.leaderboard import write_board
from dpbench.eval.leaderboard.chunks import shortened
from dpbench.eval.leaderboard.escaping import csv_text, markdown_text, yaml_text
from dpbench.eval.web.axes import linear_ticks, log_ticks, tick_text
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number, spread_text
from tests.eval.synthetic_records import exploded, synthetic_record, with_digests

HOSTILE = '<script>alert(1)</script> & "x" \' | `y` [z](javascript:u) </td> \u202e'


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


def page_data(path):
    """The rows that the page carries."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text)
    return json.loads(found[1])


def page_records(path):
    """The records that the page carries compressed, in the order of its rows."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(
        r'<script type="text/plain" id="chunk-\d+">(.*?)</script>', text
    )
    return [
        item
        for block in blocks
        for item in json.loads(zlib.decompress(base64.b64decode(block)))
    ]


def test_all_files_are_written(written):
    assert [path.name for path in written] == [
        "index.html",
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
        "eval_results.yaml",
        "badge.svg",
    ]


def test_a_rerun_and_another_order_give_the_same_bytes(tmp_path, written):
    turned = dict(reversed(with_digests(some_records()).items()))
    again = write_board(turned, tmp_path / "again")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_page_asks_the_network_for_nothing(written):
    page = written[0].read_text(encoding="utf-8").replace("http://www.w3.org/", "")
    assert not re.search(r"https?://|@import|url\(|src=|<link[^>]*stylesheet", page)
    assert "default-src &#x27;none&#x27;" in page


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


def hostile_files(tmp_path, text):
    """A board with a record all of whose strings are hostile."""
    record = synthetic_record(model=text, hardware=text, marks=(text,), precision=text)
    record = replace(
        record,
        part=text,
        command=("dpbench", text),
        dataset=replace(record.dataset, label=text, name=text),
        backend=text,
        model=replace(record.model, description=text, path=text, digest=text),
        provenance=replace(record.provenance, run={"run_id": text, text: text}),
    )
    return write_board(with_digests([record]), tmp_path)


def test_hostile_names_stay_text(tmp_path):
    page, markdown, table, _, results, badge = hostile_files(tmp_path, HOSTILE)
    text = page.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    structure = Structure()
    structure.feed(text)
    assert structure.open == []
    assert HOSTILE in "".join(structure.text)
    for block in markdown.read_text(encoding="utf-8").split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) <= 1
    assert not re.search(r"(?<!\\)\]\(|\u202e", markdown.read_text(encoding="utf-8"))
    row = next(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert row["model"] == HOSTILE
    assert "<script" not in badge.read_text(encoding="utf-8")
    assert len(results.read_text(encoding="utf-8").splitlines()) % 10 == 0


@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@sum", "\t=1", " =1", "\uff1d1"]
)
def test_a_spreadsheet_does_not_take_a_text_for_a_formula(tmp_path, start):
    record = synthetic_record(model=start)
    path = write_board(with_digests([record]), tmp_path)[2]
    row = next(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert row["model"] == "'" + start


def test_numbers_of_a_spreadsheet_stay_numbers():
    assert csv_text(-1.5) == -1.5
    assert csv_text(None) is None
    assert csv_text("a-b") == "a-b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a|b", "a\\|b"),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("https://a.b", "https\\://a.b"),
        ("www.a.b", "www\\.a.b"),
        ("a@b.c", "a\\@b.c"),
        ("a\n\n# b", "a \\# b"),
        ("<img onerror=x>", "&lt;img onerror=x&gt;"),
        ("![x](y)", "\\!\\[x\\](y)"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text, told):
    assert markdown_text(text) == told


@given(st.text())
def test_yaml_gives_a_text_back(text):
    """Read as JSON with YAML's longer escapes, the scalar is the text again."""
    scalar = yaml_text(text)
    assert "\n" not in scalar
    back = re.sub(
        r"\\U([0-9a-f]{8})",
        lambda found: json.dumps(chr(int(found[1], 16)))[1:-1],
        scalar,
    )
    known = "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    assert json.loads(back) == known


def test_all_forms_tell_the_same_numbers(written):
    page, markdown, table, file, *_ = written
    board = json.loads(file.read_text(encoding="utf-8"))
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    name = "force_rmse_component_mev_per_ang"
    told = [
        row["metrics"][name]["value"]
        for part in board["tables"]
        for row in [*part["rows"], *part["baselines"]]
    ]
    assert [float(row[name]) for row in rows] == told
    packed = page_data(page)
    place = packed["fields"].index("cells")
    index = [column[1] for column in packed["columns"]].index(name)
    shown = [
        next(cell[1] for cell in cells if cell[0] == index)
        for part in packed["tables"]
        for cells in [
            *(row[place] for row in part["rows"]),
            *(row["cells"] for row in part["baselines"]),
        ]
    ]
    assert shown == told
    models = [row["model"] for row in rows]
    assert [f"| {model} |" in markdown.read_text() for model in models]


def test_every_row_leads_to_its_record_command_and_sources(written):
    """L2: what a row unfolds to holds the whole chain, compressed."""
    found = page_records(written[0])
    digests = {digest for item in found for digest in item["records"]}
    assert digests == set(with_digests(some_records()))
    payload = found[0]["records"][found[0]["tasks"]["accuracy"]]["payload"]
    assert payload["command"] == ["dpbench", "evaluate", "--model", "large.pth"]
    assert payload["provenance"]["sources"][0]["sha256"] == "a" * 64
    assert payload["provenance"]["run"]["run_id"] == "run-large"
    digest = found[0]["tasks"]["accuracy"]
    assert f"dpbench reproduce {digest[:12]}" in written[1].read_text()
    assert digest in written[2].read_text()
    assert f"dpbench reproduce {digest}" in written[3].read_text()


def test_a_long_list_is_thinned_and_the_page_says_so():
    record = synthetic_record()
    whole = shortened(record, 10_000)
    assert whole["cut"] == {}
    short = shortened(record, 50)
    assert short["cut"]["energy_reference"] == 150
    parity = short["payload"]["accuracy"]["parity"]
    assert len(parity["energy_reference"]) == len(parity["energy_predicted"]) == 50
    known = record.accuracy.parity.energy_reference
    assert parity["energy_reference"] == pytest.approx(known[::3], rel=1e-7)


def test_a_reader_without_javascript_sees_the_first_rows(written):
    page = written[0].read_text(encoding="utf-8")
    plain = re.search(r"<noscript>(.*?)</noscript>", page, re.DOTALL)[1]
    for words in ("large", "40.0 ± 2.0", "composition-only", "leaderboard.md"):
        assert words in plain


def test_hugging_face_results_name_dataset_value_date_and_source(tmp_path):
    """L7."""
    records = with_digests(some_records())
    paths = write_board(records, tmp_path, model="large", url="https://a.b/records")
    text = paths[4].read_text(encoding="utf-8")
    entries = text.split("- dataset:\n")[1:]
    assert len(entries) == 7
    first = entries[0]
    assert '    id: "si8-v1"\n' in first
    assert f'    revision: "dpb1:{"d" * 64}"\n' in first
    assert '    task_id: "test/energy_mae_per_atom_mev"\n' in first
    assert '  date: "2026-01-01T00:00:00+00:00"\n' in first
    assert '    url: "https://a.b/records"\n' in first
    assert float(re.search(r"value: (.*)", first)[1]) == pytest.approx(1.8)
    assert "small" not in text


def test_a_badge_tells_a_models_rank(tmp_path):
    badge = write_board(with_digests(some_records()), tmp_path, model="large")[5]
    assert "rank 1 of" in badge.read_text(encoding="utf-8")
    with pytest.raises(EvaluationError, match="model 'huge': is not on the board"):
        write_board(with_digests(some_records()), tmp_path, model="huge")


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
