"""O5: a benchmark that became slower is called, with the commit that did it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import regressions
from benchmarks.regressions import ROOT, read_history, series_of, versions
from dpbench.eval.record import record_to_payload
from tests.eval.synthetic_records import synthetic_record

MACHINE = {"cpu": "Made-up CPU", "cores": 2}


def record(median, *, machine=MACHINE, samples=None):
    side = {"cpu": {"median_ms": median, "samples_ms": samples or [median] * 6}}
    case = {"precision": "float64", "batch": 1, "sides": {"dpbench-table": side}}
    return {"benchmark": "train_step", "machine": machine, "cases": [case]}


def git(folder, *words):
    nobody = {"NAME": "nobody", "EMAIL": "nobody@nowhere.example"}
    told = {
        f"GIT_{who}_{k}": v
        for who in ("AUTHOR", "COMMITTER")
        for k, v in nobody.items()
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env=os.environ | told,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit_all(folder, medians):
    """Commit one record after the other; return their commits."""
    git(folder, "init", "-q", "-b", "main")
    commits = []
    for median in medians:
        (folder / "train_step.json").write_text(json.dumps(record(median)))
        git(folder, "add", "train_step.json")
        git(folder, "commit", "-q", "--allow-empty", "-m", f"{median}")
        commits.append(git(folder, "rev-parse", "HEAD"))
    return commits


def found_in(folder, new=()):
    return list(regressions.regressions(series_of(versions(folder, new))))


def test_the_commit_that_made_a_step_slower_is_named(tmp_path):
    medians = (47 * np.exp(np.random.default_rng(0).normal(0, 0.01, 12))).tolist()
    slow = [median * (1.2 if i >= 8 else 1.0) for i, median in enumerate(medians)]
    commits = commit_all(tmp_path, slow)
    (found,) = found_in(tmp_path)
    assert (found.good, found.bad) == (commits[7], commits[8])
    assert found.size == pytest.approx(0.2, abs=0.04)
    assert "worse" in found.line()


def test_a_history_that_stays_alike_has_no_regression(tmp_path):
    medians = 47 * np.exp(np.random.default_rng(1).normal(0, 0.01, 12))
    commit_all(tmp_path, medians.tolist())
    assert found_in(tmp_path) == []


def test_a_new_run_is_held_against_the_last_record(tmp_path):
    """Two points: their raw samples decide, and a twentieth is not enough."""
    samples = (47 + np.random.default_rng(2).normal(0, 0.2, 9)).tolist()
    (tmp_path / "r").mkdir()
    commit_all(tmp_path / "r", [47])
    old = record(float(np.median(samples)), samples=samples)
    (tmp_path / "r" / "train_step.json").write_text(json.dumps(old))
    new = tmp_path / "train_step.json"
    for factor, count in ((1.03, 0), (1.12, 1)):
        slower = [factor * sample for sample in samples]
        told = record(float(np.median(slower)), samples=slower)
        new.write_text(json.dumps(told))
        assert len(found_in(tmp_path / "r", [new])) == count


def test_numbers_of_two_machines_are_never_one_series(tmp_path):
    """T6: a slower machine is no regression."""
    commit_all(tmp_path, [47] * 3)
    other = record(470, machine={"cpu": "Slow CPU", "cores": 2})
    (tmp_path / "train_step.json").write_text(json.dumps(other))
    assert found_in(tmp_path) == []


def test_samples_of_another_number_are_not_taken_for_its_own():
    beside = {"frames_per_s": 700.0, "cpu_us_per_batch": 40.0, "samples": [690, 700]}
    assert regressions.samples_of(700.0, beside) == (690, 700)
    assert regressions.samples_of(40.0, beside) == ()


def test_every_watched_number_is_there():
    """A pattern that fits nothing watches nothing."""
    from fnmatch import fnmatchcase

    series = series_of(versions(regressions.RECORDS, []))
    for pattern in regressions.WATCHED:
        assert any(fnmatchcase(name.split(" [")[0], pattern) for name in series), (
            pattern
        )


def history(path, values, **more):
    lines = [
        json.dumps({"name": "forward", "value": v, "commit": f"c{i}"} | more)
        for i, v in enumerate(values)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_history_file_does_as_well(tmp_path):
    path = history(tmp_path / "h.jsonl", [100.0] * 6 + [70.0] * 6, better="higher")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.regressions", "--history", path, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["good"], found["bad"]) == ("c5", "c6")


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"name": "a", "value": 0, "commit": "c"}']
)
def test_a_bad_line_of_a_history_is_named(tmp_path, line):
    path = tmp_path / "h.jsonl"
    path.write_text(line)
    with pytest.raises(SystemExit, match=r"h\.jsonl:1"):
        read_history(path)


def test_a_new_record_without_an_old_one_is_refused(tmp_path):
    (tmp_path / "r").mkdir()
    commit_all(tmp_path / "r", [47])
    new = tmp_path / "another.json"
    new.write_text("{}")
    with pytest.raises(SystemExit, match="no record"):
        found_in(tmp_path / "r", [new])


def test_speeds_of_result_records_are_a_history_too(tmp_path):
    """Machine by machine (T6), and each with its own samples."""
    for day in range(1, 9):
        slower = 1.5 if day > 5 else 1.0
        for cpu, speed in (("A", 40.0 * slower), ("B", 400.0)):
            made = synthetic_record(
                speed=speed,
                seed=day,
                hardware=cpu,
                created_at=f"2026-01-0{day}T00:00:00+00:00",
            )
            made = replace(made, software=replace(made.software, commit=f"c{day}"))
            text = json.dumps(record_to_payload(made))
            (tmp_path / f"{day}-{cpu}.json").write_text(text)
    found = list(regressions.regressions(regressions.read_results(tmp_path)))
    machine = synthetic_record(hardware="A").hardware.id
    assert len(found) == 9  # three quantities at three sizes
    assert {entry.bad for entry in found} == {"c6"}
    assert all(machine in entry.name for entry in found)
