"""The i-PI client: bytes of the protocol, both sockets, and servers that misbehave."""

import os
import socket
import struct
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from ase import units
from ase.calculators.socketio import SocketIOCalculator
from ase.io import read
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import ModelError, SimulationError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.ipi import ClientOptions, StructureForces, run_client, serve
from dpbench.md.ipi_wire import Address, Answer, Posed, ServerGoneError
from dpbench.md.structures import read_structure
from dpbench.units import BOHR, HARTREE
from tests.models.structures import model

PATIENT, HASTY = ClientOptions(wait=10.0), ClientOptions(wait=0.0)
ENERGY = -3.25
FORCE = np.arange(6.0).reshape(2, 3) - 2.5
VIRIAL = np.array([[1.0, 0.2, 0.3], [0.4, 2.0, 0.5], [0.6, 0.7, 3.0]])
BOX = np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.5, 0.25, 7.0]])
COORD = np.array([[0.1, 0.2, 0.3], [1.1, -1.2, 1.3]])


def header(name):
    return name.ljust(12).encode()


class FakeServer:
    """Listens, and runs a script on each connection in a thread of its own."""

    def __init__(self, address, *scripts):
        self.address = address
        if address.unix is None:
            self.listener = socket.create_server((address.host, address.port))
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(address.path)
            self.listener.listen()
        self.listener.settimeout(20)
        self.found = [None] * len(scripts)
        self.thread = threading.Thread(target=self.run, args=(scripts,))
        self.thread.start()

    def run(self, scripts):
        with closing(self.listener):
            for index, script in enumerate(scripts):
                connection, _ = self.listener.accept()
                connection.settimeout(20)
                with closing(connection):
                    self.found[index] = script(Talk(connection))

    def join(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.found


class Talk:
    """What a server says and hears, byte by byte."""

    def __init__(self, connection):
        self.connection = connection

    def say(self, content):
        self.connection.sendall(content)

    def hear(self, count):
        parts = b""
        while len(parts) < count:
            got = self.connection.recv(count - len(parts))
            assert got, parts
            parts += got
        return parts

    def ask(self):
        self.say(header("STATUS"))
        return self.hear(12)

    def init(self, bead=0, text=b"{}"):
        assert self.ask() == header("NEEDINIT")
        self.say(header("INIT") + struct.pack("=ii", bead, len(text)) + text)
        assert self.ask() == header("READY")

    def pose(self, coord=COORD, box=BOX):
        columns = box.T / BOHR
        self.say(
            header("POSDATA")
            + columns.tobytes()
            + np.linalg.inv(columns).tobytes()
            + struct.pack("=i", len(coord))
            + (coord / BOHR).tobytes()
        )

    def forces(self, natoms=2):
        """GETFORCE; every byte of the answer."""
        assert self.ask() == header("HAVEDATA")
        self.say(header("GETFORCE"))
        return self.hear(12 + 8 + 4 + 24 * natoms + 72 + 4)

    def leave(self):
        self.say(header("EXIT"))


def unix(tmp_path):
    return Address(unix=str(tmp_path / "s"))


def free_port():
    with socket.create_server(("localhost", 0)) as one:
        return one.getsockname()[1]


def fixed(posed):
    """Forces that tell nothing of the positions."""
    return [Answer(energy=ENERGY, force=FORCE, virial=VIRIAL) for _ in posed]


EXPECTED = (
    b"FORCEREADY  "
    + struct.pack("=d", ENERGY / HARTREE)
    + struct.pack("=i", 2)
    + struct.pack("=6d", *(FORCE.ravel() * (BOHR / HARTREE)))
    + struct.pack("=9d", *(VIRIAL.T.ravel() / HARTREE))
    + struct.pack("=i", 0)
)


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_the_answer_is_that_of_the_protocol_byte_for_byte(tmp_path, kind):
    def script(talk):
        talk.init()
        talk.pose()
        answer = talk.forces()
        assert talk.ask() == header("READY")
        talk.leave()
        return answer

    address = unix(tmp_path) if kind == "unix" else Address(port=free_port())
    server = FakeServer(address, script)
    tally = serve(address, fixed, 2, PATIENT)
    assert server.join() == [EXPECTED]
    assert (tally.evaluations, tally.connections) == (1, 1)


def test_positions_and_cell_arrive_in_angstrom_with_rows_as_cell_vectors(tmp_path):
    seen = []

    def script(talk):
        talk.init(bead=5)
        talk.pose()
        talk.forces()
        talk.leave()

    server = FakeServer(unix(tmp_path), script)
    tally = serve(server.address, lambda p: seen.extend(p) or fixed(p), 2, PATIENT)
    server.join()
    np.testing.assert_allclose(seen[0].coord, COORD, rtol=1e-15)
    np.testing.assert_allclose(seen[0].box, BOX, rtol=1e-15)
    assert tally.beads == {5}


def test_messages_may_come_in_pieces(tmp_path):
    def script(talk):
        whole = talk.say

        def pieces(content):
            for first in range(0, len(content), 7):
                whole(content[first : first + 7])

        talk.say = pieces
        talk.init()
        talk.pose()
        answer = talk.forces()
        talk.leave()
        return answer

    server = FakeServer(unix(tmp_path), script)
    serve(server.address, fixed, 2, PATIENT)
    assert server.join() == [EXPECTED]


def lost(talk):
    talk.init()
    talk.pose()


def whole(talk):
    talk.init()
    talk.pose()
    answer = talk.forces()
    talk.leave()
    return answer


def test_a_server_that_vanishes_is_one_clear_line(tmp_path):
    server = FakeServer(unix(tmp_path), lost)
    with pytest.raises(ServerGoneError, match=r"/s: is gone \(.*--reconnect") as error:
        serve(server.address, fixed, 2, PATIENT)
    server.join()
    assert "\n" not in str(error.value)


def test_a_client_finds_a_server_that_comes_back(tmp_path, caplog):
    server = FakeServer(unix(tmp_path), lost, whole)
    options = ClientOptions(wait=10.0, reconnect=True)
    tally = serve(server.address, fixed, 2, options)
    assert server.join() == [None, EXPECTED]
    assert tally.connections == 2
    assert "is gone" in caplog.text


def test_a_client_waits_for_a_server_that_starts_late(tmp_path):
    def start():
        time.sleep(0.3)
        servers.append(FakeServer(unix(tmp_path), whole))

    servers = []
    late = threading.Thread(target=start)
    late.start()
    serve(unix(tmp_path), fixed, 2, PATIENT)
    late.join()
    assert servers[0].join() == [EXPECTED]


def test_a_server_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SimulationError, match=r"reached within 0 s \(No such"):
        serve(unix(tmp_path), fixed, 2, HASTY)
    with pytest.raises(SimulationError, match=r"localhost:\d+: cannot be reached"):
        serve(Address(port=free_port()), fixed, 2, HASTY)


@pytest.mark.parametrize(
    "address", [Address(unix="/tmp/" + 200 * "x"), Address(host="no host", port=4)]
)
def test_an_address_that_cannot_be_is_not_tried_again(address):
    with pytest.raises(SimulationError, match="cannot be reached"):
        serve(address, fixed, 2, ClientOptions(wait=3600.0))


def test_another_number_of_atoms_is_told(tmp_path):
    def script(talk):
        talk.init()
        talk.pose(coord=np.zeros((3, 3)))

    server = FakeServer(unix(tmp_path), script)
    with pytest.raises(SimulationError, match="sends 3 atoms; expected 2"):
        serve(server.address, fixed, 2, PATIENT)
    server.join()


def test_positions_that_are_no_numbers_are_told(tmp_path):
    def script(talk):
        talk.init()
        talk.pose(coord=np.array([[0, 0, 0], [0, np.nan, 0]]))

    server = FakeServer(unix(tmp_path), script)
    with pytest.raises(SimulationError, match="position 1 is no number"):
        serve(server.address, fixed, 2, PATIENT)
    server.join()


def test_a_batch_is_answered_as_i_pi_reads_it(tmp_path):
    """Number of atoms, all cells, all positions; GETFORCE comes without a question."""

    def forces(posed):
        return [
            Answer(
                energy=k + one.coord[0, 0],
                force=FORCE * k,
                virial=VIRIAL + one.box[0, 0],
            )
            for k, one in enumerate(posed)
        ]

    def script(talk):
        talk.init(text=b"{'a':1},batch_size:3")
        cells, places = b"", b""
        for k in range(3):
            columns = (BOX + k).T / BOHR
            cells += columns.tobytes() + np.linalg.inv(columns).tobytes()
            places += ((COORD + k) / BOHR).tobytes()
        many = struct.pack("=i", 2) + cells + places
        talk.say(header("POSDATA") + many + header("GETFORCE"))
        answer = talk.hear(12 + 3 * 8 + 4 + 3 * 48 + 3 * 72 + 3 * 4)
        assert talk.ask() == header("READY")
        talk.leave()
        return answer

    server = FakeServer(unix(tmp_path), script)
    tally = serve(server.address, forces, 2, PATIENT)
    (answer,) = server.join()
    assert tally.evaluations == 3
    assert answer[:12] == b"FORCEREADY  "
    energy = np.frombuffer(answer, float, 3, 12) * HARTREE
    np.testing.assert_allclose(energy, [0.1, 2.1, 4.1])
    assert struct.unpack_from("=i", answer, 36) == (2,)
    force = np.frombuffer(answer, float, 18, 40).reshape(3, 2, 3) * HARTREE / BOHR
    np.testing.assert_allclose(force, FORCE * np.arange(3)[:, None, None], atol=1e-14)
    virial = np.frombuffer(answer, float, 27, 40 + 144).reshape(3, 3, 3) * HARTREE
    edge = np.array([5.0, 6.0, 7.0])[:, None, None]
    np.testing.assert_allclose(virial, VIRIAL.T + edge)
    assert answer[-12:] == bytes(12)


def test_beads_of_a_batch_keep_lists_of_their_own(md_files):
    """What alternates between far places needs no search after the first."""
    structure = read_structure(str(md_files / "s.extxyz"))
    forces = StructureForces(model(), structure, skin=1.0)
    far = [
        Posed(coord=structure.coord + shift, box=structure.box) for shift in (0.0, 3.0)
    ]
    first = forces(far)
    for one, again in zip(first, forces(far), strict=True):
        np.testing.assert_array_equal(one.force, again.force)
    assert [moving.searches for moving in forces._moving] == [1, 1]
    np.testing.assert_allclose(first[0].force, first[1].force, atol=1e-11)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"HTTP/1.1 400", "'HTTP/1.1 400'"),
        (b"\xff" * 12, "xff"),
        (header("GETFORCE"), "GETFORCE before POSDATA"),
        (header("INIT") + struct.pack("=ii", 0, -1), "INIT of -1 bytes"),
        (
            header("POSDATA") + bytes(144) + struct.pack("=i", -4),
            "structure of -4 atoms",
        ),
        (
            header("INIT") + struct.pack("=ii", 0, 12) + b"batch_size:0",
            "batches of 0 structures",
        ),
    ],
)
def test_what_no_server_says_is_told(tmp_path, content, said):
    server = FakeServer(unix(tmp_path), lambda talk: talk.say(content))
    with pytest.raises(SimulationError, match="Is it i-PI") as error:
        serve(server.address, fixed, 2, PATIENT)
    server.join()
    assert said in str(error.value)


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_forces_and_stress_are_those_of_the_ase_calculator(md_files, kind):
    """ASE's own server is an independent reading of the protocol."""
    name = f"dpbench-test-{os.getpid()}"
    where = {"unixsocket": name} if kind == "unix" else {"port": free_port()}
    address = Address(unix=name) if kind == "unix" else Address(port=where["port"])
    atoms = read(md_files / "s.extxyz")
    structure = read_structure(str(md_files / "s.extxyz"))

    def until_it_closes():
        with pytest.raises(ServerGoneError):  # ASE never says EXIT
            run_client(md_files / "m.pth", structure, address, PATIENT)

    with SocketIOCalculator(**where, timeout=20) as server:
        client = threading.Thread(target=until_it_closes)
        client.start()
        for shift in (0.0, 0.05):
            atoms.positions[0] += shift
            atoms.set_cell(atoms.cell * (1 + shift / 10), scale_atoms=True)
            own = atoms.copy()
            own.calc = DPCalculator(md_files / "m.pth")
            atoms.calc = server
            # ASE's Bohr and Hartree are CODATA 2014.
            assert atoms.get_potential_energy() == pytest.approx(
                own.get_potential_energy() / HARTREE * units.Ha, abs=1e-6
            )
            np.testing.assert_allclose(
                atoms.get_forces(), own.get_forces(), rtol=1e-6, atol=1e-6
            )
            np.testing.assert_allclose(
                atoms.get_stress(), own.get_stress(), rtol=1e-6, atol=1e-7
            )
    client.join(20)
    assert not client.is_alive()


def test_two_clients_serve_one_server(tmp_path):
    """Each connection is a bead; both are open at once."""
    address = unix(tmp_path)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(address.path)
        listener.listen()
        listener.settimeout(20)
        clients = [
            threading.Thread(target=serve, args=(address, fixed, 2, PATIENT))
            for _ in range(2)
        ]
        for one in clients:
            one.start()
        talks = [Talk(listener.accept()[0]) for _ in clients]
        for bead, talk in enumerate(talks):
            talk.init(bead)
            talk.pose()
        answers = [talk.forces() for talk in talks]
        for talk in talks:
            talk.leave()
            talk.connection.close()
    for one in clients:
        one.join(20)
        assert not one.is_alive()
    assert answers == [EXPECTED, EXPECTED]


def test_the_command_serves_until_exit(md_files, tmp_path):
    atoms = read(md_files / "s.extxyz")

    def script(talk):
        talk.init()
        talk.pose(atoms.positions, atoms.cell.array)
        answer = talk.forces(len(atoms))
        talk.leave()
        return struct.unpack_from("=d", answer, 12)[0] * HARTREE

    server = FakeServer(unix(tmp_path), script)
    words = ["--model", str(md_files / "m.pth"), "--structure"]
    words += [str(md_files / "s.extxyz"), "--unix", server.address.path]
    done = CliRunner().invoke(cli, ["ipi", *words, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "1 evaluations" in done.output
    atoms.calc = DPCalculator(model())
    (energy,) = server.join()
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_the_command_words_its_errors(md_files):
    words = ["--structure", str(md_files / "s.extxyz"), "--wait", "0"]
    words += ["--model", str(md_files / "m.pth"), "--unix", "/nowhere/s"]
    done = CliRunner().invoke(cli, ["ipi", *words])
    assert done.exit_code == 1
    assert "/nowhere/s: cannot be reached" in done.output
    done = CliRunner().invoke(cli, ["ipi", *words, "--port", "4"])
    assert done.exit_code == 2


def test_other_elements_are_refused_before_anyone_waits(md_files, tmp_path):
    (tmp_path / "si.xyz").write_text("1\n\nSi 0 0 0\n")
    structure = read_structure(str(tmp_path / "si.xyz"))
    with pytest.raises(ModelError, match="element Si"):
        run_client(md_files / "m.pth", structure, unix(tmp_path), HASTY)
