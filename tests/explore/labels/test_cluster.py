"""Labels on a Dask cluster: the same tasks, the same labels, the same folders."""

from dataclasses import replace

import pytest

from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.labelling import label, label_tasks
from dpbench.explore.spread import Resources, spread

pytestmark = pytest.mark.slow


@pytest.fixture
def address():
    """A scheduler with one worker of two threads, which starts two jobs at a time."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=True,
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


def test_labels_of_a_cluster_are_those_of_this_machine(
    address, springs, program, alloys, tmp_path
):
    tasks = label_tasks(alloys, springs(), folder=tmp_path / "labels")
    dies = springs(command=str(program("dies", "kill -9 $$")))
    bad = label_tasks(alloys.select([0]), dies, folder=tmp_path / "labels")
    resources = Resources(scheduler=address)
    found = dict(spread(label, [*tasks, *bad], resources=resources))
    assert [found[n].status for n in range(4)] == ["done"] * 3 + ["quarantined"]
    assert found[3].trouble is Trouble.DIED
    here = [label(task) for task in tasks]
    assert all(one.was_kept for one in here)
    assert here == [replace(found[n], was_kept=True) for n in range(3)]
