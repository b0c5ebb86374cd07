import math

import pytest

from dpbench.errors import TrainingError
from dpbench.train.curve import draw_curve
from dpbench.train.history import COLUMNS, CurveFile, CurveRow, read_curve


def row(step: int, **values: float) -> CurveRow:
    filled = dict.fromkeys(COLUMNS[1:], 0.125) | values
    return CurveRow(step=step, **filled)


def test_rows_come_back_and_missing_values_stay_missing(tmp_path):
    path = tmp_path / "curve.csv"
    file = CurveFile(path)
    file.append(row(10))
    file.append(row(20, rmse_v_train=math.nan))
    first, second = read_curve(path)
    assert first == row(10)
    assert math.isnan(second.rmse_v_train)
    assert "nan" not in path.read_text()


def test_resumed_curve_keeps_the_rows_it_is_given(tmp_path):
    path = tmp_path / "curve.csv"
    file = CurveFile(path)
    for step in (10, 20, 30):
        file.append(row(step))
    CurveFile(path, rows=read_curve(path)[:2]).append(row(25))
    assert [r.step for r in read_curve(path)] == [10, 20, 25]


def test_foreign_file_is_no_curve(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TrainingError, match="no learning curve"):
        read_curve(path)


def test_unwritable_curve_says_how_to_go_on(tmp_path):
    with pytest.raises(TrainingError, match="--resume"):
        CurveFile(tmp_path / "absent" / "curve.csv")


def test_picture_is_drawn_with_and_without_virials(tmp_path):
    nothing = {f"rmse_v_{part}": math.nan for part in ("train", "validation")}
    for name, values in (("with", {}), ("without", nothing)):
        path = tmp_path / f"{name}.png"
        draw_curve([row(10, **values), row(20, **values)], path, title="water-v1")
        assert path.read_bytes().startswith(b"\x89PNG")
