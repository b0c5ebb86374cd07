"""A suite on the small dataset that the tests of evaluation share."""

from pathlib import Path

from dpbench.eval.record import record_to_payload
from dpbench.eval.suites.loading import Suite, load_suite
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import list_splits
from dpbench.store.workspace import Workspace

HEAD = """
name = "small"
version = 1
title = "Small"
licence = "CC-BY-4.0"
description = "For tests."

[[data]]
key = "pairs"
dataset = "pairs"
digest = "{dataset}"
code = "deepmd"
origin = "user"
paths = ["*"]
elements = ["Si", "C"]
licence = "CC-BY-4.0"

[data.split]
digest = "{split}"
fractions = {{ train = 1.0 }}
hold_out = {{ test = ["*d"], ood = ["*e"], validation = ["*c"] }}
"""

ACCURACY = """
[[task]]
task = "accuracy"
data = "pairs"
part = "{part}"
"""

FAKE = """
[[task]]
task = "fake"
data = "pairs"
part = "{part}"

[task.settings]
calls = "{calls}"
"""

METRIC = """
[[metric]]
name = "force_mae_component_mev_per_ang"
task = "{task}"
data = "pairs"
part = "{part}"
weight = 1.0
polarity = "lower"
useless = 1000.0
perfect = 0.0
"""


def head(workspace: Workspace) -> str:
    """Data of a suite, as this workspace has them."""
    version = open_dataset(workspace, "pairs")
    (split,) = list_splits(version)
    return HEAD.format(dataset=version.digest, split=split.digest)


def accuracy_suite(workspace: Workspace) -> str:
    """The text of a suite of accuracy on one part."""
    tables = (ACCURACY.format(part="test"), METRIC.format(task="accuracy", part="test"))
    return "".join([head(workspace), *tables])


def write_suite(folder: Path, text: str) -> Suite:
    path = folder / "small" / "v1.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return load_suite(str(path))


def fake_suite(workspace: Workspace, folder: Path, *, extra: str = "") -> Suite:
    """Accuracy and the fake task on two parts; ``extra`` is one more setting."""
    parts = ("test", "ood")
    tasks = [ACCURACY.format(part=part) for part in parts]
    calls = folder / "calls.txt"
    tasks += [FAKE.format(part=part, calls=calls) + extra for part in parts]
    metrics = [
        METRIC.format(task=t, part=p) for p in parts for t in ("accuracy", "fake")
    ]
    return write_suite(folder, "".join([head(workspace), *tasks, *metrics]))


def without_times(record):
    """A record, but for what no two runs have in common."""
    payload = record_to_payload(record)
    for key in ("created_at", "hardware", "software"):
        del payload[key]
    for result in (payload["accuracy"] or {}, *payload["tasks"].values()):
        result.pop("wall_time_s", None)
    for result in payload["tasks"].values():
        result.pop("kept", None)  # its name is its digest, which holds the time
    return payload
