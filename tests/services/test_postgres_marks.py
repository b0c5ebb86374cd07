"""The times of folders, kept in a registry on a PostgreSQL server."""

from dpbench.store import catalog
from dpbench.store.catalog.engine import transaction
from dpbench.store.summary import list_datasets
from tests.services.test_postgres import workspace_on
from tests.store.synthetic import trajectories
from tests.store.test_migrations import age, marks_of


def test_folders_keep_their_times_on_a_server(tmp_path, postgres_url):
    workspace = workspace_on(tmp_path / "ws", postgres_url)
    for lengths in ([2], [2, 3]):
        trajectories(workspace, "t", lengths)
        age(workspace)
        for _ in range(2):  # made, and then changed
            with transaction(workspace, write=True) as connection:
                catalog.catch_up(connection, workspace)
            assert "refs/t" in marks_of(workspace)
            age(workspace)
    assert [row["label"] for row in list_datasets(workspace)] == ["t-v2"]
    catalog.rebuild(workspace)
    assert [row["label"] for row in list_datasets(workspace)] == ["t-v2"]
