"""Real servers for the tests: S3 (moto) and PostgreSQL, started and stopped here."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.store import S3Store

from dpbench.store.workspace import Workspace

START = 60.0
"""Seconds that a server may take to answer."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server of ours takes connections."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"the server on port {port} did not start: exit {process.poll()}")


class S3Server:
    """A moto server on loopback."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = [str(self._python), "-m", "moto.server", "-H", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*program, "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.port, self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def make_bucket(self, name: str) -> None:
        address = f"{self.endpoint}/{name}"
        request = urllib.request.Request(address, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()

    def bucket(self, name: str) -> S3Store:
        """A client of our own, to damage things with."""
        return S3Store(
            name,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id="test",
            secret_access_key="test",
            client_options={"allow_http": True},
        )


@pytest.fixture(scope="session")
def s3_server(services_python: Path) -> Iterator[S3Server]:
    server = S3Server(services_python)
    yield server
    server.kill()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def bucket(s3_server: S3Server, credentials: None) -> str:
    """The name of an empty bucket."""
    name = f"b{uuid.uuid4().hex}"
    s3_server.make_bucket(name)
    return name


@pytest.fixture
def objects_of(s3_server: S3Server, bucket: str) -> S3Store:
    """What lies in the bucket, reached without dpbench."""
    return s3_server.bucket(bucket)


MachineMaker = Callable[..., Workspace]


@pytest.fixture
def machine(s3_server: S3Server, bucket: str, tmp_path: Path) -> MachineMaker:
    """Makes a workspace on "another machine": a folder of its own, the same bucket."""

    def make(name: str, *, registry: str | None = None, **server: str) -> Workspace:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        where = {"endpoint": s3_server.endpoint, "bucket": bucket, **server}
        lines = [
            f'stores = "s3://{where["bucket"]}/team/data"',
            *([f'registry = "{registry}"'] if registry else []),
            "[stores_options]",
            f'endpoint = "{where["endpoint"]}"',
            'region = "us-east-1"',
            "allow_http = true",
        ]
        (root / "dpbench.toml").write_text("\n".join(lines) + "\n")
        return Workspace.find(root, create=True)

    return make


class PostgresServer:
    """A PostgreSQL cluster in a temporary folder, owned by who may run it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not below pytest's root: that is closed to the user whom the server runs as.
        self._folder = Path(tempfile.mkdtemp(prefix="dpbench-pg-"))
        self.port = free_port()
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._prefix = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self._folder, "postgres", "postgres")
        password = self._folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run("initdb", "-A", "scram-sha-256", "-U", "dpbench", "--no-sync",
                  f"--pwfile={password}", "-D", str(self.data))  # fmt: skip
        self.start()

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str, *, password: str = "secret") -> str:
        """Where a database is, as dpbench.toml has it."""
        return (
            f"postgresql+psycopg://dpbench:{password}@127.0.0.1:{self.port}/{database}"
        )

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
            f"-c unix_socket_directories={self._folder}"
        )
        log = str(self._folder / "log")
        self._run(
            "pg_ctl", "-w", "-D", str(self.data), "-l", log, "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", "immediate", "stop")

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def make_database(self) -> str:
        """Make an empty database; return its URL."""
        import psycopg

        name = f"d{uuid.uuid4().hex}"
        url = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._prefix, str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server inherits it, and stays
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=120,
        )
        if done.returncode != 0:
            log = self._folder / "log"
            text = log.read_text()[-2000:] if log.exists() else ""
            pytest.fail(f"{program} ended with {done.returncode}: {text}")


@pytest.fixture(scope="session")
def postgres_server(postgres_programs: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(postgres_programs)
    yield server
    server.stop()
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres_server.make_database()
