"""Frames go to a worker and come back whole; nothing that it says is believed."""

import ast
import json
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.backends import protocol, worker_process
from dpbench.backends.client import run_task
from dpbench.backends.facts import checked_facts
from dpbench.backends.protocol import (
    GoneError,
    ProtocolError,
    SharedMemory,
    read_arrays,
    receive,
    reply_of,
    seconds_of,
    send,
)
from dpbench.errors import BackendError, BackendRefused
from dpbench.frames import concatenate
from tests.backends.small_workers import (
    SHIFT,
    argon,
    dimer,
    expected_energy,
    lennard_jones,
    mixed,
    opened,
)

FACTS = ["type_map", "rcut", "precision", "versions", "device"]

WORKERS = sorted(worker_process.SERVER.parent.glob("*.py"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("lj"), atoms_per_call=20) as potential:
        yield potential


def soon() -> float:
    return time.monotonic() + 5


class TestFrames:
    def test_answers_come_in_the_order_of_the_frames(self, model):
        frames = mixed()
        found = model.evaluate(frames).predictions
        wanted = [expected_energy(frames, i) for i in range(frames.nframes)]
        np.testing.assert_allclose(found.energy, wanted, rtol=1e-13)

    def test_forces_are_the_energys_derivative_atom_by_atom(self, model):
        frames = mixed()
        force = model.evaluate(frames).predictions.force
        for atom in (0, 9, 20):
            energies = []
            for step in (1e-4, -1e-4):
                moved = mixed()
                moved.coord[atom, 1] += step
                energies.append(model.evaluate(moved).predictions.energy.sum())
            slope = (energies[0] - energies[1]) / 2e-4
            assert force[atom, 1] == pytest.approx(-slope, abs=1e-8)

    def test_virial_is_nan_just_where_there_is_none(self, model):
        frames = mixed()
        virial = model.evaluate(frames).predictions.virial
        is_missing = np.isnan(virial).any(axis=(1, 2))
        np.testing.assert_array_equal(is_missing, ~frames.pbc.all(axis=1))

    def test_batches_do_not_change_a_bit(self, model, tmp_path):
        frames = concatenate([argon(7), mixed()])
        few = model.evaluate(frames).predictions
        with opened(tmp_path, atoms_per_call=10**6) as other:
            many = other.evaluate(frames).predictions
        np.testing.assert_array_equal(few.force, many.force)
        np.testing.assert_array_equal(few.energy, many.energy)

    def test_atom_energies_add_up(self, model):
        frames = mixed()
        answer = model.evaluate(frames)
        sums = np.add.reduceat(answer.atom_energy, frames.atom_offset[:-1])
        np.testing.assert_allclose(sums, answer.predictions.energy, rtol=1e-12)

    def test_frame_parameters_reach_their_frames(self, model):
        frames = mixed()
        fparam = np.arange(12.0).reshape(6, 2)
        plain = model.evaluate(frames).predictions.energy
        found = model.evaluate(frames, fparam).predictions.energy
        np.testing.assert_allclose(found - plain, fparam.sum(axis=1), atol=1e-12)

    def test_numbers_of_atoms_reach_their_frames_or_are_missed(self, tmp_path):
        frames = mixed()
        numbers = np.arange(2.0 * len(frames.z)).reshape(-1, 2)
        given = replace(frames, aparam=numbers)
        options = {"facts": {"dim_aparam": 2}}
        with opened(tmp_path, options=options, atoms_per_call=20) as model:
            found = model.evaluate(given).predictions.energy
            sums = np.add.reduceat(numbers.sum(axis=1), frames.atom_offset[:-1])
            plain = [expected_energy(frames, i) for i in range(6)]
            np.testing.assert_allclose(found - np.ravel(plain), sums, atol=1e-9)
            with pytest.raises(
                BackendRefused, match=r"frame 0: has 0 numbers .* takes 2"
            ):
                model.evaluate(frames)
            wide = replace(frames, aparam=np.tile(numbers, 2))
            with pytest.raises(
                BackendRefused, match=r"frame 0: has 4 numbers .* takes 2"
            ):
                model.evaluate(wide)
            numbers[frames.atoms_of(3).start + 1, 0] = np.inf
            with pytest.raises(BackendRefused, match=r"frame 3: aparam of atom 1 is"):
                model.evaluate(given)

    def test_memory_grows_with_the_frames(self, tmp_path):
        frames = argon(60, side=4)
        with opened(tmp_path, atoms_per_call=10**6) as potential:
            before = potential._worker.memory.size
            found = potential.evaluate(frames).predictions
            assert potential._worker.memory.size > max(before, frames.coord.nbytes)
            again = potential.evaluate(argon(1)).predictions
        assert found.energy[59] == pytest.approx(expected_energy(frames, 59))
        assert again.energy[0] == pytest.approx(expected_energy(argon(1), 0))

    def test_no_frames_give_no_predictions(self, model):
        found = model.evaluate(mixed().select([])).predictions
        assert found.energy.shape == (0,)
        assert found.force.shape == (0, 3)

    def test_single_atom_is_evaluated(self, model):
        frames = argon(1, side=1)
        assert model.evaluate(frames).predictions.energy[0] == SHIFT

    def test_unknown_element_is_one_line_and_the_worker_goes_on(self, model):
        with pytest.raises(BackendRefused, match=r"lj: .*know Si; it knows Ar, Ne"):
            model.evaluate(argon(1, z=14))
        assert model.is_alive
        model.evaluate(dimer())

    def test_time_of_the_worker_is_part_of_the_whole(self, model):
        answer = model.evaluate(mixed())
        assert 0 < answer.worker_s < answer.total_s
        assert answer.overhead_s == answer.total_s - answer.worker_s

    def test_facts_are_the_adapters_and_name_versions(self, model):
        assert model.type_map == ("Ar", "Ne")
        assert model.facts["versions"]["numpy"] == np.__version__
        assert model.facts["rcut"] is None


class TestTasks:
    def test_result_and_lines_come_back(self):
        said = []
        found = run_task(
            lennard_jones(), "echo", {"a": [1, None, "å"]}, say=said.append
        )
        assert found == {"said": {"a": [1, None, "å"]}}
        assert said == ["line 0", "line 1", "line 2"]

    def test_unknown_task_is_refused(self):
        with pytest.raises(BackendRefused, match="lj: no task 'dance'"):
            run_task(lennard_jones(), "dance", {})

    def test_scratch_of_the_caller_stays(self, tmp_path):
        path = tmp_path / "result"
        run_task(lennard_jones(), "write", {"path": str(path)}, scratch=tmp_path)
        assert path.read_text() == "written"

    def test_credentials_stay_here(self, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        found = run_task(lennard_jones(MINE="yes"), "environment", {})["names"]
        assert "AWS_SECRET_ACCESS_KEY" not in found
        assert {"OMP_NUM_THREADS", "MINE", "PATH"} <= set(found)


class TestMessages:
    @pytest.fixture
    def pair(self):
        here, there = socket.socketpair()
        with here, there:
            yield here, there

    def test_message_arrives_as_it_was(self, pair):
        message = {"id": 3, "text": "Å\n", "list": [1.5, None]}
        send(pair[0], message, until=soon())
        assert receive(pair[1], until=soon()) == message

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"\x80\x04\x95", "no JSON"),
            (b'{"a": NaN}', "NaN is no JSON"),
            (b"[1]", "a list, no object"),
            (b"[" * 100_000, "no JSON"),
            (b"1" * 10_000, "no JSON"),
            (b'"' + b"\xff" * 8 + b'"', "no JSON"),
        ],
    )
    def test_what_is_no_object_is_refused(self, pair, data, words):
        pair[0].sendall(struct.pack("!I", len(data)) + data)
        with pytest.raises(ProtocolError, match=words):
            receive(pair[1], until=soon())

    def test_length_beyond_the_limit_is_refused_unread(self, pair):
        pair[0].sendall(struct.pack("!I", protocol.LONGEST + 1))
        with pytest.raises(ProtocolError, match="expected at most"):
            receive(pair[1], until=soon())

    def test_message_in_pieces_is_put_together(self, pair):
        data = json.dumps({"text": "x" * 200_000}).encode()
        data = struct.pack("!I", len(data)) + data

        def dribble():
            for first in (0, 2, 5, 100_000):
                pair[0].sendall(data[first : {0: 2, 2: 5, 5: 100_000}.get(first)])
                time.sleep(0.01)

        thread = threading.Thread(target=dribble)
        thread.start()
        assert len(receive(pair[1], until=soon())["text"]) == 200_000
        thread.join()

    def test_bytes_behind_a_message_are_refused(self, pair):
        pair[0].sendall(struct.pack("!I", 2) + b"{}" + struct.pack("!I", 2) + b"{}")
        with pytest.raises(ProtocolError, match="6 bytes behind"):
            receive(pair[1], until=soon())

    def test_end_amid_a_message_is_an_end(self, pair):
        pair[0].sendall(struct.pack("!I", 100) + b"{")
        pair[0].close()
        with pytest.raises(GoneError):
            receive(pair[1], until=soon())

    def test_waiting_ends_in_time(self, pair):
        pair[0].sendall(b"\0")
        with pytest.raises(TimeoutError):
            receive(pair[1], until=time.monotonic() + 0.05)

    @pytest.mark.parametrize(
        "message",
        [
            {"id": 6, "ok": {}},
            {"id": "7", "ok": {}},
            {"id": 7.5, "ok": {}},
            {"ok": {}},
            {"id": 7},
            {"id": 7, "ok": []},
            {"id": 7, "refused": {}},
            {"id": 7, "ok": {}, "failed": "no"},
            {"id": 7, "ok": {}, "more": 1},
        ],
    )
    def test_reply_to_something_else_is_refused(self, message):
        with pytest.raises(ProtocolError):
            reply_of(message, 7)

    def test_true_is_not_request_one(self):
        with pytest.raises(ProtocolError):
            reply_of({"id": True, "ok": {}}, 1)

    @pytest.mark.parametrize("text", ["null", '"1"', "true", "-1", "2.5", "1e999"])
    def test_seconds_must_be_some_and_no_more_than_passed(self, text):
        with pytest.raises(ProtocolError, match="seconds"):
            seconds_of({"seconds": json.loads(text)}, total_s=2.0)

    def test_seconds_beyond_any_float_are_refused(self):
        with pytest.raises(ProtocolError, match="seconds"):
            seconds_of({"seconds": 10**400}, total_s=2.0)

    def test_seconds_that_passed_are_believed(self):
        assert seconds_of({"seconds": 2}, total_s=2.0) == 2.0


class TestArrays:
    GOOD: ClassVar = {"name": "energy", "dtype": "<f8", "shape": [2], "offset": 64}

    @pytest.fixture
    def memory(self):
        shared = SharedMemory()
        yield shared
        shared.close()

    def read(self, memory, *entries, **shapes):
        required = shapes or {"energy": (2,)}
        return read_arrays(
            list(entries), memory, required=required, optional={"virial": (2, 3, 3)}
        )

    def test_what_is_written_can_be_read(self, memory):
        values = np.array([1.5, -2.0])
        entries = memory.write({"coord": np.zeros(5), "energy": values})
        found = self.read(memory, entries[1])
        np.testing.assert_array_equal(found["energy"], values)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"dtype": "<f4"}, "energy of dtype '<f4'"),
            ({"dtype": ">f8"}, "dtype"),
            ({"dtype": "|O"}, "dtype"),
            ({"dtype": ["<f8"]}, "dtype"),
            ({"shape": [3]}, r"energy of shape \[3\]; expected \[2\]"),
            ({"shape": [2, 1]}, "shape"),
            ({"shape": [2**62]}, "shape"),
            ({"shape": "2"}, "shape"),
            ({"shape": None}, "shape"),
            ({"offset": 65536}, "energy at bytes 65536"),
            ({"offset": 65528}, "65528, 16 long, of a shared memory of 65536"),
            ({"offset": 2**62}, "energy at bytes"),
            ({"offset": 10**4000}, "energy at bytes 1000"),
            ({"offset": -8}, "offset -8"),
            ({"offset": 4}, "multiple of 8"),
            ({"offset": True}, "offset"),
            ({"offset": 0.0}, "offset"),
            ({"offset": None}, "offset"),
            ({"name": "entropy"}, "named"),
            ({"name": ["energy"]}, "named"),
            ({"name": "\x1b[31m" * 100}, "named"),
        ],
    )
    def test_claims_that_cannot_be_true_are_refused(self, memory, change, words):
        with pytest.raises(ProtocolError, match=words) as caught:
            self.read(memory, {**self.GOOD, **change})
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300

    def test_array_that_is_missing_or_twice_there_is_refused(self, memory):
        with pytest.raises(ProtocolError, match="no energy"):
            self.read(memory)
        with pytest.raises(ProtocolError, match="energy twice"):
            self.read(memory, self.GOOD, self.GOOD)

    @pytest.mark.parametrize("entries", [None, {}, "x", [1], [[]], [{}] * 10**4])
    def test_what_is_no_list_of_arrays_is_refused(self, memory, entries):
        with pytest.raises(ProtocolError):
            read_arrays(entries, memory, required={"energy": (2,)}, optional={})

    def test_what_was_read_no_worker_can_change(self, memory):
        found = self.read(memory, self.GOOD)["energy"]
        os.pwrite(memory.fd, b"\xff" * 16, 64)
        np.testing.assert_array_equal(found, [0.0, 0.0])

    def test_worker_cannot_shrink_the_memory(self, memory):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fd, 0)

    def test_memory_that_a_worker_grew_still_serves(self, memory):
        os.ftruncate(memory.fd, 10 * memory.size)
        memory.reach(2 * memory.size)
        assert memory.write({"coord": np.ones(memory.size // 8)})

    def test_big_endian_arrays_keep_their_values(self, memory):
        entries = memory.write({"coord": np.array([1.5], ">f8")})
        assert entries[0]["dtype"] == ">f8"


class TestFacts:
    GOOD: ClassVar = {"type_map": ["Ar"], "rcut": 6.0, "precision": "float64"}

    def test_versions_of_both_sides_are_kept(self):
        found = checked_facts({**self.GOOD, "versions": {"lj": 2}}, {"numpy": "2.1"})
        assert found["versions"] == {"numpy": "2.1", "lj": "2"}

    @pytest.mark.parametrize(
        "change",
        [
            {"type_map": []},
            {"type_map": "Ar"},
            {"type_map": [18]},
            {"type_map": ["A" * 40]},
            {"type_map": ["Ar"] * 5000},
            {"rcut": "6"},
            {"rcut": -1},
            {"rcut": True},
            {"precision": 64},
            {"versions": ["2.1"]},
        ],
    )
    def test_facts_that_cannot_be_true_are_refused(self, change):
        with pytest.raises(ProtocolError):
            checked_facts({**self.GOOD, **change}, {})

    def test_text_cannot_steer_the_terminal(self):
        facts = {**self.GOOD, "description": "a\x1b[2Jb\nc" + "x" * 10_000}
        found = checked_facts(facts, {})["description"]
        assert found.isprintable()
        assert found.startswith("a [2Jb cx")
        assert len(found) <= 2000

    def test_rcut_beyond_any_float_is_refused(self):
        with pytest.raises(ProtocolError, match="rcut"):
            checked_facts({**self.GOOD, "rcut": 10**400}, {})

    def test_lying_facts_end_the_worker(self, tmp_path):
        with pytest.raises(BackendError, match=r"lj: the worker sent rcut = -4"):
            opened(tmp_path, options={"facts": {"rcut": -4}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["name", "dtype", "shape", "offset", "energy", "<f8", "id", "ok"]
)
ENTRY = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["energy", "virial"]) | JSON,
        "dtype": st.just("<f8") | JSON,
        "shape": st.just([2]) | st.lists(st.integers(), max_size=3) | JSON,
        "offset": st.integers(-100, 70_000) | JSON,
    }
)


class TestFuzz:
    """Whatever arrives is taken whole or is a ProtocolError, and nothing else."""

    @given(entries=st.lists(ENTRY, max_size=3) | JSON)
    def test_any_description_of_arrays(self, entries):
        memory = SharedMemory()
        said = ""
        try:
            found = read_arrays(
                entries,
                memory,
                required={"energy": (2,)},
                optional={"virial": (2, 3, 3)},
            )
            assert found["energy"].shape == (2,)
        except ProtocolError as error:
            said = str(error)
        finally:
            memory.close()
        assert said.isprintable()
        assert len(said) < 500

    @given(message=st.dictionaries(KEYS | st.text(max_size=4), JSON, max_size=4))
    def test_any_reply(self, message):
        with suppress(ProtocolError):
            kind, content = reply_of(message, 7)
            assert message["id"] == 7
            assert isinstance(content, dict if kind == "ok" else str)

    @given(facts=JSON | st.dictionaries(st.sampled_from(FACTS), JSON, max_size=4))
    def test_any_facts(self, facts):
        with suppress(ProtocolError):
            found = checked_facts(facts, {})
            assert all(name.isprintable() for name in found["type_map"])
            assert found["rcut"] is None or found["rcut"] > 0

    @given(data=st.binary(max_size=200))
    def test_any_bytes(self, data):
        here, there = socket.socketpair()
        with here, there:
            here.sendall(data)
            here.close()
            with suppress(ProtocolError, GoneError):
                assert isinstance(receive(there, until=soon()), dict)


@pytest.mark.parametrize("path", WORKERS, ids=lambda path: path.name)
def test_workers_are_python_3_9(path: Path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_both_sides_name_the_same_version():
    tree = ast.parse(worker_process.SERVER.read_text(encoding="utf-8"))
    named = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert named["PROTOCOL"] == protocol.PROTOCOL
    assert named["ALIGNMENT"] == protocol.ALIGNMENT


def test_nothing_of_the_protocol_is_pickled():
    for path in [worker_process.SERVER, Path(protocol.__file__)]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & {"pickle", "marshal", "shelve", "multiprocessing"}


def test_messages_are_json_on_the_wire():
    here, there = socket.socketpair()
    with here, there:
        send(here, {"id": 1}, until=soon())
        (length,) = struct.unpack("!I", there.recv(4))
        assert json.loads(there.recv(length)) == {"id": 1}
