"""Find what became slower: steps in the history of the benchmarks' records.

    python benchmarks/regressions.py
    python benchmarks/regressions.py --new train_step.json
    python benchmarks/regressions.py --history speeds.jsonl
    python benchmarks/regressions.py --results registry/results

Every committed version of a file in ``benchmarks/records`` is a point, on the machine
that it tells of; ``--new`` adds the record of a run that was just done. A history file
has one JSON object a line: name, value, commit, and if wanted better ("lower" or
"higher"), machine, samples. ``--results`` takes the speeds of result records (JSON
files) of the same model, backend and hardware, in the order of their dates.

A number regresses where its series ends worse than its best level
(``dpbench.metrics.steps``); of a few points only, where the last two differ by more
than two runs of the same do. Prints each with its size, the last good and the first bad
commit; ends with 1 if there is one.
"""

import argparse
import json
import math
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

from dpbench.eval.record import Record, record_from_payload
from dpbench.metrics.steps import FEW, find_regression
from dpbench.metrics.verdicts import FEWEST_APART, compare_timings

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "records"

WATCHED = {
    # Ratios to another program in the same minutes come first: a machine that is busy
    # slows both.
    "counts/counts/*": "lower",
    "ingest/readers/*/times_dpdata/median": "higher",
    "ingest/readers/*/memory_mb/dpbench": "lower",
    "lammps_external/times_as_fast/cpu/*/median": "higher",
    "lammps_external/microseconds_per_atom_and_step/cpu/dpbench*/median": "lower",
    "million_frames/store_mb": "lower",
    "million_frames/stages/*/anonymous_mb": "lower",
    "protocol_overhead/known/*/overhead_us": "lower",
    "read_batches/readers/dpbench*/cpu_us_per_batch": "lower",
    "registry_scale/beyond_import/list/cpu_s": "lower",
    "registry_scale/beyond_import/show/cpu_s": "lower",
    "registry_scale/beyond_import/log/cpu_s": "lower",
    "train_step/cases/*/ratios/deepmd*/cpu": "higher",
    "train_step/cases/*/sides/dpbench*/cpu/median_ms": "lower",
    "water_parity/same_start_weights/ratio_mean": "lower",
}
"""Numbers that are looked at, as FILE/PATH, and which way is better."""

SAMPLES = ("samples", "samples_ms", "all")
"""Names of the raw samples beside a median."""

CASE = ("precision", "threads", "batch", "natoms", "asked_ms")
"""What tells the members of a list apart, rather than their place in it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement."""

    commit: str
    value: float
    samples: tuple[float, ...] = ()
    better: str = "lower"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One number that became worse."""

    name: str
    before: float
    after: float
    size: float
    good: str
    bad: str

    def line(self) -> str:
        """Word it."""
        return (
            f"{self.name}: {self.before:.4g} -> {self.after:.4g} "
            f"({self.size:+.0%} worse), good at {self.good[:12]}, bad from "
            f"{self.bad[:12]}"
        )


Series = dict[str, list[Point]]


def main() -> None:
    """Parse, look, print."""
    parser = argparse.ArgumentParser(description="Find what became slower.")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--new", type=Path, nargs="*", default=[])
    parser.add_argument("--history", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    chosen = parser.parse_args()
    if chosen.history is not None:
        series = read_history(chosen.history)
    elif chosen.results is not None:
        series = read_results(chosen.results)
    else:
        series = series_of(versions(chosen.records, chosen.new))
    found = list(regressions(series))
    if chosen.as_json:
        print(json.dumps([entry.__dict__ for entry in found], indent=1))
    else:
        points = sum(map(len, series.values()))
        print(f"{len(series)} numbers, {points} points, {len(found)} regressions")
        for entry in found:
            print(entry.line())
    raise SystemExit(1 if found else 0)


def regressions(series: Series) -> Iterator[Found]:
    """Yield what ends worse than it was."""
    for name, points in sorted(series.items()):
        higher = points[-1].better == "higher"
        values = [point.value for point in points]
        found = find_regression(values, higher_is_better=higher)
        if found is not None:
            yield Found(
                name=name,
                before=found.before,
                after=found.after,
                size=found.size,
                good=points[found.good].commit,
                bad=points[found.bad].commit,
            )
        elif len(points) in range(2, FEW) and not higher:
            yield from slower_than_before(name, points[-2], points[-1])


def slower_than_before(name: str, old: Point, new: Point) -> Iterator[Found]:
    """Compare the raw samples of two runs, where there are enough."""
    if min(len(old.samples), len(new.samples)) < FEWEST_APART:
        return
    verdict = compare_timings(new.samples, old.samples, paired=False)
    if verdict.outcome == "worse" and verdict.difference is not None:
        yield Found(
            name=name,
            before=old.value,
            after=new.value,
            size=verdict.difference,
            good=old.commit,
            bad=new.commit,
        )


def versions(records: Path, new: Sequence[Path]) -> Iterator[tuple[str, str, Any]]:
    """Yield (name, commit, content) of every version of every record, oldest first."""
    added = {path.stem: path for path in new}
    for path in sorted(records.glob("*.json")):
        commits = git(
            path.parent, "log", "--format=%H", "--", path.name, missing=""
        ).split()
        last = None
        for commit in reversed(commits):
            text = git(path.parent, "show", f"{commit}:./{path.name}", missing="")
            if text:
                last = text
                yield path.stem, commit, json.loads(text)
        here = path.read_text(encoding="utf-8")
        if here != last:
            yield path.stem, "(not committed)", json.loads(here)
        if path.stem in added:
            text = added.pop(path.stem).read_text(encoding="utf-8")
            yield path.stem, "(new)", json.loads(text)
    for path in added.values():
        raise SystemExit(
            f"{path}: there is no record '{path.name}' in {records}; expected a file "
            "named as the record it is to be compared with."
        )


def git(folder: Path, *words: str, missing: str | None = None) -> str:
    """Ask git; ``missing`` is the answer where it has none, else that is an error."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout
    if missing is not None:
        return missing
    raise SystemExit(f"git {' '.join(words)}: {done.stderr.strip()}")


def series_of(contents: Iterator[tuple[str, str, Any]]) -> Series:
    """Sort the watched numbers of versions into series, machine by machine."""
    series: Series = {}
    for name, commit, content in contents:
        machine = machine_of(content)
        for path, value, beside in leaves(content, name):
            better = next((b for p, b in WATCHED.items() if fnmatchcase(path, p)), None)
            if better is None or not usable(value):
                continue
            point = Point(
                commit=commit,
                value=float(value),
                samples=samples_of(float(value), beside),
                better=better,
            )
            series.setdefault(f"{path} [{machine}]", []).append(point)
    return series


def samples_of(value: float, beside: dict[str, Any]) -> tuple[float, ...]:
    """Find the raw samples that a number is the median of, if they are there."""
    for key in SAMPLES:
        found = beside.get(key, ())
        is_listed = isinstance(found, list) and found and all(map(usable, found))
        if is_listed and math.isclose(median(found), value, rel_tol=0.01):
            return tuple(found)
    return ()


def machine_of(content: Any) -> str:
    """Name the machine of a record: numbers of two machines are never one series."""
    told = content.get("machine") or content.get("hardware") or {}
    words = [str(told[key]) for key in ("cpu", "cores") if told.get(key)]
    return ", ".join(words) or "machine not told"


def leaves(value: Any, path: str) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yield (path, number, what stands beside it) of everything in a record."""
    members: dict[str, Any] = {}
    if isinstance(value, dict):
        members = value
    elif isinstance(value, list):
        members = {case_of(item, place): item for place, item in enumerate(value)}
    for key, item in members.items():
        below = f"{path}/{key.replace('/', 'over')}"
        if isinstance(item, (int, float)) and isinstance(value, dict):
            yield below, item, value
        elif isinstance(item, (dict, list)):
            yield from leaves(item, below)


def case_of(item: Any, place: int) -> str:
    """Name a member of a list by what it is about."""
    if not isinstance(item, dict):
        return str(place)
    told = [f"{key}={item[key]}" for key in CASE if key in item]
    return ",".join(told) or str(place)


def usable(value: Any) -> bool:
    """Whether a value is a positive number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def read_history(path: Path) -> Series:
    """Read a history file."""
    series: Series = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            point = Point(
                commit=str(told["commit"]),
                value=float(told["value"]),
                samples=tuple(map(float, told.get("samples", ()))),
                better=str(told.get("better", "lower")),
            )
            name = f"{told['name']} [{told.get('machine', 'machine not told')}]"
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(
                f"{path}:{number}: {error!r}; expected a JSON object with name, value "
                "and commit."
            ) from error
        if not usable(point.value):
            raise SystemExit(f"{path}:{number}: value {point.value} is not positive.")
        series.setdefault(name, []).append(point)
    return series


def read_results(folder: Path) -> Series:
    """Read the speeds of result records below a folder."""
    records = [
        record_from_payload(json.loads(path.read_text("utf-8")), where=str(path))
        for path in sorted(folder.rglob("*.json"))
    ]
    series: Series = {}
    for record in sorted(records, key=lambda record: record.created_at):
        who = f"{record.model.name}, {record.backend}, {record.precision}"
        for what, value, samples in speeds_of(record):
            point = Point(
                commit=record.software.commit or record.created_at,
                value=value,
                samples=samples,
            )
            name = f"{who}, {what} [{record.hardware.id}]"
            series.setdefault(name, []).append(point)
    return series


def speeds_of(record: Record) -> Iterator[tuple[str, float, tuple[float, ...]]]:
    """Yield (what, µs/atom/step, samples) of everything that a record timed."""
    sizes = () if record.throughput is None else record.throughput.sizes
    for size in sizes:
        for name, timing in size.quantities.items():
            yield f"{name}, {size.natoms} atoms", timing.median, timing.samples
    for task, result in sorted(record.tasks.items()):
        for metric in result.metrics:
            if metric.unit == "µs/atom/step" and usable(metric.value):
                yield f"{task}, {metric.name}", float(metric.value or 0), ()


if __name__ == "__main__":
    main()
