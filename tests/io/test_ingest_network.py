"""Reader processes of this machine wait for no connection from outside."""

from pathlib import Path

import psutil

import dpbench
from dpbench.io.ingest import ingest
from dpbench.store.workspace import Workspace

RUN = Path(dpbench.__file__).parent / "_demo" / "si8_a525_900K.out.gz"


def test_ingest_listens_nowhere(tmp_path):
    seen, children = set(), []

    def look(_):
        here = psutil.Process()
        children[:] = here.children(recursive=True)
        seen.update(
            connection.laddr
            for process in (here, *children)
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        )

    workspace = Workspace.find(tmp_path / "ws", create=True)
    report = ingest(workspace, "qe", [RUN], dataset="si8", progress=look)
    assert report.n_kept == 60
    assert len(children) == 1
    assert seen == set()
