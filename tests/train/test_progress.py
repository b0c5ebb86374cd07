import io
import math

from rich.console import Console

from dpbench.train.history import COLUMNS, CurveRow
from dpbench.train.progress import Bar, Lines, Silent, describe, reporter_for


def row(step: int, **values: float) -> CurveRow:
    return CurveRow(step=step, **(dict.fromkeys(COLUMNS[1:], 0.125) | values))


def test_lines_come_now_and_then_and_at_the_end():
    stream, now = io.StringIO(), [0.0]
    lines = Lines(stream, every=10, clock=lambda: now[0])
    lines.start(0, 100)
    for step in (10, 20, 30, 40, 100):
        now[0] += 4
        lines.row(row(step))
    said = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert said == ["10/100", "40/100", "100/100"]
    assert "val E 125 meV/atom  F 0.125 eV/Å" in stream.getvalue()
    assert "s left" in stream.getvalue()


def test_bar_shows_loss_and_errors():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160)
    bar = Bar(console)
    bar.start(0, 10)
    bar.note("data: water-v1")
    bar.row(row(5))
    bar.step(6, 0.5)
    bar.close()
    text = stream.getvalue()
    assert "data: water-v1" in text
    assert "loss 0.5" in text
    assert "10" in text


def test_training_errors_stand_in_where_there_is_no_validation():
    missing = {f"rmse_{kind}_validation": math.nan for kind in "efv"}
    assert describe(row(1, **missing)).startswith("train E 125")


def test_reporter_fits_where_it_prints(monkeypatch):
    assert isinstance(reporter_for(quiet=True), Silent)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporter_for(quiet=False), Lines)
