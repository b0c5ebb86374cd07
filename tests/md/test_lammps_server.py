"""The line between LAMMPS and dpbench's kernels, with ranks that are threads."""

import json
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dpbench.elements import SYMBOLS
from dpbench.errors import ConfigError, DpbenchError, SimulationError
from dpbench.md.lammps import LammpsRun, run_lammps, split_input
from dpbench.md.lammps_guest import (
    LENGTH,
    PROTOCOL,
    Atoms,
    Failed,
    Line,
    images,
    one_line,
    types_of,
)
from dpbench.md.lammps_server import ForceServer
from dpbench.md.moving import MovingStructure
from dpbench.md.skin import Geometry
from tests.models.structures import model, water

TYPES = ["H", "O"]
"""Not the model's order."""


@pytest.fixture
def structure():
    return MovingStructure(model(sel=(40, 80)), skin=0.5, is_exact=True)


@pytest.fixture
def frames():
    return water(natoms=12)


@pytest.fixture
def server(structure, tmp_path):
    """A server that listens; its socket's path stands in ``path``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "line"))
        listener.listen(4)
        made = ForceServer(structure, listener)
        made.path = str(tmp_path / "line")
        yield made
        made.close()


def atoms_of(frames, tags, keep, coord=None):
    """What a rank that owns ``keep`` would hand over; tags are ids of all atoms."""
    kind = np.array([TYPES.index(SYMBOLS[z]) + 1 for z in frames.z])
    return Atoms(
        step=0,
        tag=tags[keep],
        kind=kind[keep],
        coord=(frames.coord if coord is None else coord)[keep],
        box=frames.box[0],
        periodic=np.ones(3, bool),
    )


def ranks(server, works):
    """Serve ranks, each a function of its line; return what they found or raised."""
    results = [None] * len(works)

    def rank(index):
        hello = {
            "protocol": PROTOCOL,
            "rank": index,
            "ranks": len(works),
            "types": TYPES,
        }
        try:
            line = Line(server.path, hello)
            results[index] = works[index](line)
        except Failed as error:
            results[index] = error
        finally:
            line.close()

    threads = [threading.Thread(target=rank, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    try:
        server.serve(lambda: True)
    finally:
        for thread in threads:
            thread.join()
    return results


def expected(structure, frames, coord=None):
    geometry = Geometry(
        z=frames.z,
        coord=frames.coord if coord is None else coord,
        box=frames.box[0],
        pbc=np.ones(3, bool),
    )
    return structure.evaluate(geometry)


@pytest.mark.parametrize("spread", [1, 7, 400])
def test_ranks_get_the_forces_of_their_own_atoms(server, structure, frames, spread):
    """Ids in any order, with gaps, beyond the memory of the start."""
    rng = np.random.default_rng(5)
    tags = (1 + rng.permutation(12)) * spread
    mine = rng.permutation(12)
    parts = [mine[:5], mine[5:], mine[:0]]

    def work(keep):
        return lambda line: line.ask(atoms_of(frames, tags, keep))

    found = ranks(server, [work(keep) for keep in parts])
    known = expected(structure, frames)
    for keep, each in zip(parts, found, strict=True):
        assert each.energy == pytest.approx(float(known.energy[0]), rel=1e-14)
        np.testing.assert_allclose(each.virial, known.virial[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(each.force, known.force[keep], rtol=0, atol=1e-13)
        atoms = known.atom_energy[keep]
        np.testing.assert_allclose(each.atom_energy, atoms, rtol=1e-13)
    assert server.work.evaluations == 1
    assert server.work.atoms == 12


def test_atoms_may_change_ranks_and_vanish(server, structure, frames):
    tags = np.arange(1, 13)
    first = [np.arange(6), np.arange(6, 12)]
    second = [np.arange(0, 12, 2), np.arange(1, 12, 2)]
    third = [np.arange(4), np.arange(4, 9)]

    def work(rank):
        def steps(line):
            return [
                line.ask(atoms_of(frames, tags, part[rank]))
                for part in (first, second, third)
            ]

        return steps

    found = ranks(server, [work(0), work(1)])
    known = expected(structure, frames).force.numpy()
    for rank in (0, 1):
        for step, part in enumerate((first, second)):
            np.testing.assert_allclose(
                found[rank][step].force, known[part[rank]], rtol=0, atol=1e-13
            )
    fewer = structure.evaluate(
        Geometry(
            z=frames.z[:9],
            coord=frames.coord[:9],
            box=frames.box[0],
            pbc=np.ones(3, bool),
        )
    )
    assert found[0][2].energy == pytest.approx(float(fewer.energy[0]), rel=1e-14)


def test_what_the_model_refuses_reaches_every_rank(server, frames):
    bad = frames.coord.copy()
    bad[3, 1] = np.nan
    tags = np.arange(1, 13)
    told = []

    def work(keep):
        def step(line):
            try:
                line.ask(atoms_of(frames, tags, keep, bad))
            except Failed as error:
                told.append(str(error))

        return step

    with pytest.raises(DpbenchError) as caught:
        ranks(server, [work(np.arange(6)), work(np.arange(6, 12))])
    assert told == [one_line(caught.value)] * 2


def test_doubled_ids_are_refused(server, frames):
    tags = np.array([1, 2, 3, 4, 5, 6, 6, 8, 9, 10, 11, 12])
    with pytest.raises(SimulationError, match="12 atoms with 11 different ids"):
        ranks(server, [lambda line: line.ask(atoms_of(frames, tags, np.arange(12)))])


def test_an_absurd_id_is_refused(server, frames):
    tags = np.arange(1, 13)
    tags[3] = 1 << 40
    with pytest.raises(SimulationError, match="id 1099511627776"):
        ranks(server, [lambda line: line.ask(atoms_of(frames, tags, np.arange(12)))])


def test_another_protocol_is_refused(server):
    with socket.socket(socket.AF_UNIX) as rank:
        rank.connect(server.path)
        data = json.dumps({"protocol": PROTOCOL + 1}).encode()
        rank.sendall(LENGTH.pack(len(data)) + data)
        with pytest.raises(SimulationError, match="speaks protocol"):
            server.serve(lambda: True)


def test_lammps_that_ends_before_it_connects_is_not_waited_for(server):
    server.serve(lambda: False)
    assert server.work.evaluations == 0


class Labelled:
    """As much of a ``lammps`` object as types need."""

    def __init__(self, labels, imageint=4):
        self.labels, self.imageint = labels, imageint

    def extract_setting(self, name):
        return {"ntypes": len(self.labels), "imageint": self.imageint}[name]

    def eval(self, text):
        name = text.removeprefix("label2type(atom,").removesuffix(")")
        if name not in self.labels:
            raise Exception("Variable: no such label")
        return self.labels.index(name) + 1


def test_types_are_those_given_or_labelled():
    assert types_of(Labelled(["H", "O"]), [], ("O", "H")) == ["H", "O"]
    assert types_of(Labelled(["", ""]), ["O", "H"], ("O", "H")) == ["O", "H"]


@pytest.mark.parametrize(
    ("labels", "given", "says"),
    [
        (["O", "X"], [], "type 2 of LAMMPS is labelled none of"),
        (["", ""], ["O"], "name 1 types; LAMMPS has 2"),
        (["", ""], ["O", "Na"], "type Na is not among"),
    ],
)
def test_types_without_a_known_element_are_refused(labels, given, says):
    with pytest.raises(Failed, match=says):
        types_of(Labelled(labels), given, ("O", "H"))


@pytest.mark.parametrize(("imageint", "bits"), [(4, 10), (8, 21)])
def test_image_flags_are_unpacked(imageint, bits):
    wanted = np.array([[0, 0, 0], [1, -2, 3], [-500, 511, -1]])
    kind = np.int32 if imageint == 4 else np.int64
    middle = 1 << (bits - 1)
    packed = ((wanted + middle) << (bits * np.arange(3))).sum(axis=1).astype(kind)
    np.testing.assert_array_equal(images(packed, Labelled([], imageint)), wanted)


def written(folder, text):
    path = folder / "in.lmp"
    path.write_text(text)
    return path


def test_an_input_is_split_behind_its_fix(tmp_path):
    text = "units metal\n  fix  dp all external pf/callback 1 1 # here\nrun 3\n"
    head, tail, name = split_input(written(tmp_path, text))
    assert head + tail == text
    assert (tail, name) == ("run 3\n", "dp")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run 3\n", "has no line 'fix dpbench all external"),
        ("fix 1 water external pf/callback 1 1\n", "expected all atoms at every step"),
        ("fix 1 all external pf/callback 1 2\n", "expected all atoms at every step"),
        ("fix 1 all external pf/callback 1 1\nrun_style respa 2 2\n", "line 2.*respa"),
    ],
)
def test_an_input_without_a_place_for_the_model_is_refused(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        split_input(written(tmp_path, text))


def test_a_python_without_lammps_is_named(structure, tmp_path):
    script = written(tmp_path, "units metal\nfix 1 all external pf/callback 1 1\n")
    nowhere = tmp_path / "nowhere"
    for python, says in (
        (Path(sys.executable), "exit code 3: dpbench: No module named 'lammps'"),
        (nowhere, "does not start: No such file or directory"),
    ):
        with pytest.raises(SimulationError, match=says):
            run_lammps(LammpsRun(input=script, python=python), structure)
