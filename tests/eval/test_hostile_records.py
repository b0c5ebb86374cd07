"""Records that mean harm: each is refused by one line, and nothing is unpacked (L6)."""

import io
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import canonical_json
from dpbench.errors import EvaluationError
from dpbench.eval import strict_npz, submission
from dpbench.eval.filing import list_records, read_records
from dpbench.eval.importing import import_files
from dpbench.eval.leaderboard import build
from dpbench.eval.merging import merge
from dpbench.eval.record import record_to_payload
from dpbench.eval.self_check import check_itself
from dpbench.eval.strict_json import strict_loads
from dpbench.eval.strict_npz import check_npz
from dpbench.eval.submission import read_submission
from dpbench.eval.summary import plain, record_text, records_overview
from dpbench.store import objects
from dpbench.store.workspace import Workspace
from tests.eval.synthetic_records import synthetic_record

CARD = {"schema": "dpbench.submission", "version": 1, "results": []}


@pytest.fixture
def workspace(tmp_path):
    return Workspace.find(tmp_path / "w", create=True)


def refused(path, words):
    """Each record of a file is refused, or the file as a whole."""
    try:
        found = list(read_submission(path))
    except EvaluationError as error:
        found = [error]
    assert found
    for one in found:
        assert isinstance(one, EvaluationError)
        assert words in str(one)
        assert "\n" not in str(one)


# -- JSON --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": NaN}', "holds NaN"),
        ('{"a": [1, -Infinity]}', "holds -Infinity"),
        ('{"a": 1e999}', "holds the number 1e999"),
        ('{"a": ' + "9" * 4000 + "}", "holds the number 999"),
        ('{"a": 1, "a": 2}', "names the key 'a' twice"),
        ('{"a": {"b": 1, "b": 1}}', "names the key 'b' twice"),
        ("[" * 30 + "]" * 30, "nested too deeply"),
        ("[" * 200_000 + "]" * 200_000, "is no JSON"),
        ('{"a": "\\u001b[2J"}', "U+001B"),
        ('{"a": "safe\\u202egnp.exe"}', "U+202E"),
        ('{"\\u0000": 1}', "U+0000"),
        ('{"a": "\\ud800"}', "U+D800"),
        ('{"' + "k" * 401 + '": 1}', "key of 401 letters"),
        ("{", "is no JSON"),
        ("", "is empty"),
    ],
)
def test_json_that_means_harm_is_refused(text, words):
    with pytest.raises(EvaluationError, match=r"^f\.json: ") as caught:
        strict_loads(text.encode(), where="f.json")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(EvaluationError, match="is no JSON"):
        strict_loads(b'{"a": "\xff\xfe"}', where="f")


def test_json_beyond_its_limit_is_not_decoded(monkeypatch):
    monkeypatch.setattr("dpbench.eval.strict_json.MOST_BYTES", 10)
    with pytest.raises(EvaluationError, match="has 14 bytes"):
        strict_loads(b'{"a": 1234567}', where="f")


def test_a_record_that_dpbench_wrote_passes():
    data = canonical_json(record_to_payload(synthetic_record()))
    assert strict_loads(data, where="r") == json.loads(data)


# -- archives ----------------------------------------------------------------------


def archive(path, members, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in changes.get(name, {}).items():
                setattr(info, key, value)
            out.writestr(info, data)
    return path


CARD_MEMBER = ("submission.json", json.dumps(CARD))
DIGEST = "ab" * 32


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped.json",
        "/etc/passwd",
        "results/../../x.json",
        f"results\\{DIGEST}.json",
        "C:\\x.json",
        "results/short.json",
        "model.pth",
        "setup.py",
        f"predictions/{DIGEST}.npz.exe",
        f"results/{DIGEST.upper()}.json",
        f"results/{DIGEST}.json\n",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (name, "{}")])
    refused(path, "holds ")
    assert not list(tmp_path.parent.glob("**/escaped.json"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path):
    member = (f"results/{DIGEST}.json", "{}")
    refused(archive(tmp_path / "s.zip", [CARD_MEMBER, member, member]), "twice")


def test_a_link_is_refused(tmp_path):
    name = f"results/{DIGEST}.json"
    link = {name: {"external_attr": 0o120777 << 16}}
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (name, "/etc/passwd")], **link)
    refused(path, "a link, folder or secret")


def test_a_folder_is_refused(tmp_path):
    refused(archive(tmp_path / "s.zip", [CARD_MEMBER, ("results/", "")]), "a link, f")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    """A thousand times smaller packed than it is."""
    monkeypatch.setattr(submission, "MOST_TOTAL", 10 << 20)
    name = f"results/{DIGEST}.json"
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (name, " " * (30 << 20))])
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    refused(path, "bytes together")


def test_a_bomb_below_the_total_is_refused_by_its_own_size(tmp_path):
    name = f"results/{DIGEST}.json"
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (name, " " * (40 << 20))])
    refused(path, "of 41943040 bytes")


def test_a_bomb_that_says_it_is_small_is_no_larger(tmp_path):
    """The size in the directory is a lie: no more than that is unpacked."""
    name = f"results/{DIGEST}.json"
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (name, " " * (8 << 20))])
    data = path.read_bytes().replace(struct.pack("<I", 8 << 20), struct.pack("<I", 100))
    path.write_bytes(data)
    refused(path, "")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "MOST_MEMBERS", 5)
    many = [(f"results/{i:064x}.json", "{}") for i in range(9)]
    refused(archive(tmp_path / "s.zip", [CARD_MEMBER, *many]), "holds 10 files")


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ('{"schema": "other", "version": 1}', "is none of a submission"),
        ("[]", "is none of a submission"),
        ('{"schema": "dpbench.submission", "version": 2}', "newer dpbench"),
        ('{"schema": "dpbench.submission", "version": "1"}', "version '1'"),
        ("{", "is no JSON"),
    ],
)
def test_another_card_is_refused(tmp_path, card, words):
    refused(archive(tmp_path / "s.zip", [("submission.json", card)]), words)


def test_content_that_does_not_fit_its_name_is_refused(tmp_path):
    path = archive(tmp_path / "s.zip", [CARD_MEMBER, (f"results/{DIGEST}.json", "{}")])
    refused(path, "It was changed")


@pytest.mark.parametrize("cut", [10, 100, 200])
def test_a_cut_archive_is_refused(tmp_path, cut):
    path = archive(tmp_path / "s.zip", [CARD_MEMBER])
    path.write_bytes(path.read_bytes()[:-cut])
    refused(path, "")


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "s.zip"
    path.write_bytes(b"\x7fELF and more")
    refused(path, "is no JSON")


# -- arrays ------------------------------------------------------------------------


def npz(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in members.items():
            out.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(header, data=b""):
    text = (header + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def test_arrays_of_numbers_pass():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros((3, 2)), b=np.int64(1), c=np.zeros(4, bool))
    shapes = check_npz(buffer.getvalue(), where="p")
    assert {name: shape for name, (shape, _) in shapes.items()} == {
        "a": (3, 2),
        "b": (),
        "c": (4,),
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            npz(a=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}")),
            "cannot be read",
        ),
        (
            npz(a=npy("{'descr':'<f8','fortran_order':False,'shape':(999999999999,)}")),
            "says 7999999999992 bytes",
        ),
        (
            npz(a=npy("{'descr':'|O','fortran_order':False,'shape':(1,)}", b"x" * 8)),
            "has type object",
        ),
        (
            npz(a=npy("{'descr':'<U9','fortran_order':False,'shape':(1,)}", b"x" * 36)),
            "has type <U9",
        ),
        (npz(a=npy("__import__('os').system('true')")), "cannot be read"),
        (npz(a=npy("(" * 5000)), "cannot be read"),
        (npz(a=b"no array"), "cannot be read"),
        (b"no archive", "cannot be read"),
        (npz(**{"../a": npy("{}")}), "arrays alone"),
    ],
)
def test_arrays_that_mean_harm_are_refused(data, words):
    with pytest.raises(EvaluationError, match=r"^p: ") as caught:
        check_npz(data, where="p")
    assert words in str(caught.value)


def test_a_pickle_is_not_loaded(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(EvaluationError, match="has type object"):
        check_npz(buffer.getvalue(), where="p")


def test_arrays_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(strict_npz, "MOST_BYTES", 1000)
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(1000))
    with pytest.raises(EvaluationError, match="bytes together"):
        check_npz(buffer.getvalue(), where="p")


# -- speeds and runs ---------------------------------------------------------------


def with_timing(**changes):
    record = synthetic_record()
    size = record.throughput.sizes[0]
    name, timing = next(iter(size.quantities.items()))
    quantities = {**size.quantities, name: replace(timing, **changes)}
    sizes = (replace(size, quantities=quantities), *record.throughput.sizes[1:])
    return replace(record, throughput=replace(record.throughput, sizes=sizes))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (with_timing(median=1.0), "median is 1.0"),
        (with_timing(samples=(1e-9,) * 5), "cannot be"),
        (with_timing(samples=()), "cannot be"),
        (with_timing(samples=(-1.0, 2.0)), "cannot be"),
        (with_timing(katom_step_per_s=9e9), "katom_step_per_s is"),
        (with_timing(ci_low=0.0), "lies outside its samples"),
        (with_timing(steps_per_window=10**9), "windows take"),
    ],
)
def test_timings_that_cannot_be_are_refused(record, words):
    """T7, as far as a record tells it by itself."""
    with pytest.raises(EvaluationError, match=words):
        check_itself(record, where="r")


def test_a_drift_that_its_trace_does_not_show_is_refused():
    record = synthetic_record()
    run = replace(record.stability.runs[0], drift=0.0)
    time = tuple(float(t) for t in range(0, 500, 10))
    trace = tuple(0.01 * t for t in time)
    run = replace(run, time=time, energy=trace, temperature=(300.0,) * 50)
    runs = (run, *record.stability.runs[1:])
    forged = replace(record, stability=replace(record.stability, runs=runs))
    with pytest.raises(EvaluationError, match="its trace gives"):
        check_itself(forged, where="r")


# -- every string ------------------------------------------------------------------

EVIL = "<script>alert(1)</script>\"'><a href=javascript:alert(1)>"

KEPT = (
    "schema",
    "mode",
    "status",
    "created_at",
    "kind",
    "unit",
    "polarity",
    "id",
    "os",
)
"""Keys whose values are checked: another word there refuses the record."""

FORMS = ("sha256", "digest", "path", "frames")
"""Keys whose values have a form."""


def poisoned(value, key=""):
    """Put the same text into every string that takes any."""
    if isinstance(value, dict):
        return {k: poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, key) for v in value]
    is_free = isinstance(value, str) and key not in (*KEPT, *FORMS)
    return EVIL if is_free else value


@pytest.fixture
def evil():
    record = replace(synthetic_record(), stability=None, throughput=None)
    payload = record_to_payload(record)
    free = poisoned(payload)
    free["dataset"] |= {"name": "si8"}
    free["part"] = "test"
    free["hardware"] = payload["hardware"]
    free["backend"] = payload["backend"]
    for metrics, plain_ones in (
        (free["accuracy"]["metrics"], payload["accuracy"]["metrics"]),
        (
            free["accuracy"]["baseline"]["metrics"],
            payload["accuracy"]["baseline"]["metrics"],
        ),
        (
            free["accuracy"]["by_element"]["Si"],
            payload["accuracy"]["by_element"]["Si"],
        ),
        (
            free["accuracy"]["by_source"][0]["metrics"],
            payload["accuracy"]["by_source"][0]["metrics"],
        ),
    ):
        for metric, own in zip(metrics, plain_ones, strict=True):
            metric |= own
    free["accuracy"]["predictions"] = None
    from dpbench.eval.fingerprint import hardware_id

    machine = free["hardware"]
    machine["id"] = hardware_id(
        cpu=machine["cpu"],
        logical=machine["logical"],
        threads=machine["threads"],
        gpus=(),
        machine=machine["machine"],
        system="Linux",
    )
    return free


def test_markup_in_every_string_is_text_everywhere(workspace, evil, tmp_path):
    """It is filed as unverified, and nowhere becomes markup or a link."""
    path = tmp_path / "evil.json"
    path.write_bytes(canonical_json(evil))
    (found,) = import_files(workspace, [path])
    assert found.outcome == "unverified"
    records = read_records(workspace)
    for text in (
        record_text(records[found.digest], found.digest),
        json.dumps(records_overview(list_records(workspace))),
    ):
        assert "\x1b" not in text
    paths = build(workspace, tmp_path / "board")
    page = next(p for p in paths if p.suffix == ".html").read_text()
    assert "<script>alert" not in page
    assert "<a href=javascript" not in page


def test_control_characters_are_written_out():
    assert plain("a\x1b[31m\nb\u202e") == "a<1b>[31m<a>b<202e>"
    assert plain("µs/atom – 1 Å") == "µs/atom – 1 Å"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": {"name": "x" * 9, "label": "y" * 400}}, "more than 300 letters"),
        ({"model": {"name": "two\nlines"}}, "several lines"),
        ({"nframes": 0, "natoms": 0}, "0 frames of 0 atoms"),
        ({"nframes": -5}, "-5 frames"),
        ({"schema_version": 99}, "newer dpbench"),
        ({"schema_version": 0}, "expected 1 to"),
        ({"suite": ["a"]}, "expected str"),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_values_that_cannot_be_are_refused(workspace, evil, tmp_path, change, words):
    for key, value in change.items():
        if isinstance(value, dict):
            evil[key] |= value
        else:
            evil[key] = value
    path = tmp_path / "evil.json"
    path.write_bytes(canonical_json(evil))
    (found,) = import_files(workspace, [path])
    assert found.outcome == "refused"
    assert words in found.words
    assert objects.digests(workspace, "result") == []


def test_a_suite_that_is_a_path_is_not_opened(workspace, evil, tmp_path):
    evil["suite"] = "../../../../etc/passwd"
    path = tmp_path / "evil.json"
    path.write_bytes(canonical_json(evil))
    (found,) = import_files(workspace, [path])
    assert found.outcome == "unverified"


def test_a_workspace_whose_records_were_changed_is_not_merged(workspace, tmp_path):
    other = Workspace.find(tmp_path / "other", create=True)
    payload = record_to_payload(synthetic_record())
    digest = objects.put(other, "result", payload)
    file = other.objects / "result" / digest[:2] / f"{digest}.json"
    file.write_bytes(file.read_bytes().replace(b'"small"', b'"large"'))
    (other.root / "dpbench.toml").write_text("registry = 'postgresql://nowhere/x'")
    (found,) = merge(workspace, other.root)
    assert found.outcome == "refused"
    assert "does not fit its name" in found.words
