"""Curves of running trainers are read on, not again, and nothing is waited for."""

import os

from dpbench.trainers.deepmd import DeepmdTrainer
from dpbench.trainers.growing import GrowingText
from dpbench.trainers.nequip import NequipTrainer


def test_what_did_not_change_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "curve"
    path.write_text("a\nb")
    text = GrowingText(path)
    assert text.new_lines() == (False, ["a"])
    monkeypatch.setattr(os, "open", None)
    assert text.new_lines() == (False, [])


def test_only_what_is_new_is_read(tmp_path):
    path = tmp_path / "curve"
    path.write_text("a\nb")
    text = GrowingText(path)
    text.new_lines()
    for added, lines in (("c\nd\n", ["bc", "d"]), ("e\n", ["e"])):
        with path.open("a") as file:
            file.write(added)
        assert text.new_lines() == (False, lines)


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "curve"
    path.write_text("a\nb\n")
    text = GrowingText(path)
    text.new_lines()
    path.write_text("x\nb\nc\n")
    assert text.new_lines() == (True, ["x", "b", "c"])
    path.write_text("x\n")
    assert text.new_lines() == (True, ["x"])


def test_a_pipe_a_link_and_a_folder_have_no_lines(tmp_path):
    os.mkfifo(tmp_path / "lcurve.out")
    assert DeepmdTrainer("pytorch").look(tmp_path).rows == ()
    (tmp_path / "real").write_text("a\n")
    (tmp_path / "link").symlink_to("real")
    for name in ("link", "missing", "."):
        assert GrowingText(tmp_path / name).new_lines() == (False, [])


def test_a_curve_that_grows_in_pieces_is_that_which_is_read_at_once(tmp_path):
    text = "# step rmse_trn lr\n0 1.0 0.1\n5 0.9 0.1\n10 0.8 0.1\n"
    follower = DeepmdTrainer("pytorch").follow(tmp_path)
    for end in range(0, len(text) + 1, 7):
        with (tmp_path / "lcurve.out").open("a") as file:
            file.write(text[max(0, end - 7) : end])
        follower.look()
    with (tmp_path / "lcurve.out").open("a") as file:
        file.write(text[len(text) // 7 * 7 :])
    steps = [row.step for row in follower.look().rows]
    assert steps == [0, 5, 10]
    assert steps == [row.step for row in DeepmdTrainer("pytorch").look(tmp_path).rows]


def test_a_table_with_a_new_column_is_read_anew(tmp_path):
    path = tmp_path / "log" / "csv" / "metrics.csv"
    path.parent.mkdir(parents=True)
    loss = "train_loss_epoch/weighted_sum"
    path.write_text(f"step,{loss}\n4,9.0\n")
    follower = NequipTrainer().follow(tmp_path)
    assert follower.look().rows == ()
    path.write_text(f"step,{loss},val0_epoch/forces_rmse\n4,9.0,\n4,,0.5\n")
    (row,) = follower.look().rows
    assert (row.step, row.rmse_f_validation) == (5, 0.5)
