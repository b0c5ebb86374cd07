import json
from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import canonical_json
from dpbench.errors import EvaluationError
from dpbench.eval.record import (
    SCHEMA_VERSION,
    record_from_payload,
    record_to_payload,
)
from dpbench.metrics.definitions import metric_value
from tests.eval.synthetic_records import exploded, synthetic_record


@pytest.mark.parametrize("change", [lambda r: r, exploded])
def test_a_record_survives_json(change):
    record = change(synthetic_record())
    text = canonical_json(record_to_payload(record))
    assert record_from_payload(json.loads(text), where="r") == record


def test_non_finite_numbers_become_null():
    record = synthetic_record()
    lost = metric_value("force_rmse_component_mev_per_ang", np.inf, n=3)
    record = replace(record, accuracy=replace(record.accuracy, metrics=(lost,)))
    payload = record_to_payload(record)
    canonical_json(payload)
    assert payload["accuracy"]["metrics"][0]["value"] is None
    assert record_from_payload(payload, where="r").accuracy.metrics[0].value is None


def payload_with(**changes):
    return record_to_payload(synthetic_record()) | changes


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (payload_with(colour="red"), "unknown key 'colour'"),
        (payload_with(schema="other"), "expected 'dpbench.result'"),
        (payload_with(schema_version=SCHEMA_VERSION + 1), "newer dpbench"),
        (payload_with(schema_version="1"), "expected int"),
        (payload_with(nframes=None), "expected int"),
        (payload_with(accuracy=None, stability=None, throughput=None), "no task"),
        (payload_with(mode="quick"), "expected one of"),
        ({"schema": "dpbench.result"}, "missing key"),
        ([], "expected a table"),
    ],
)
def test_a_payload_that_is_no_record_is_refused(payload, words):
    with pytest.raises(EvaluationError, match=words) as caught:
        record_from_payload(payload, where="file.json")
    assert str(caught.value).startswith("file.json")


def test_a_metric_of_wrong_type_is_named_by_its_place():
    payload = record_to_payload(synthetic_record())
    payload["accuracy"]["metrics"][2]["value"] = "low"
    with pytest.raises(EvaluationError, match=r"r\.accuracy\.metrics\[2\]\.value"):
        record_from_payload(payload, where="r")
