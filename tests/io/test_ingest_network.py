"""Worker processes share no fixed port and listen to this machine alone."""

import socket
from pathlib import Path

import psutil
import pytest

import dpbench
from dpbench.io.ingest import ingest
from dpbench.store.workspace import Workspace

DASK_DEFAULT = 8787
RUN = Path(dpbench.__file__).parent / "_demo" / "si8_a525_900K.out.gz"


def listening_addresses():
    """Where this process and its children wait for connections."""
    here = psutil.Process()
    return {
        connection.laddr.ip
        for process in (here, *here.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
def test_ingest_runs_beside_another_and_off_the_network(tmp_path):
    seen = set()
    workspace = Workspace.find(tmp_path / "ws", create=True)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", DASK_DEFAULT))  # as another ingest would
        report = ingest(
            workspace,
            "qe",
            [RUN],
            dataset="si8",
            workers=1,
            progress=lambda *_: seen.update(listening_addresses()),
        )
    assert report.n_kept == 60
    assert seen == {"127.0.0.1"}
