"""Fitting nets of a batch shared out over threads."""

import os
import threading

import pytest
import torch

from dpbench.kernels.fitting import compiled, parts, reference
from dpbench.kernels.fitting.parts import Nets, adjoint, descend, energies, shares_of
from dpbench.kernels.layers import Layer
from dpbench.kernels.threads import spread, threads_here
from tests.kernels.test_fitting import EXACT, net, parameters, problem

OFFSETS = [(0, 70, 70, 250), (0, 0, 97), (0, 200), (0, 0, 0)]
CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


def results(module, offset, *, resnet_dt=True):
    """All results of the passes over the nets of a batch, as one list."""
    layers = [net((6, 8, 16, 1), resnet_dt=resnet_dt) for _ in offset[1:]]
    descriptor, change, eps = problem(offset[-1], 6)
    nets = Nets(
        family=module,
        layers=layers,
        activation="tanh",
        shares=shares_of(offset, CPU),
    )
    passes, grad = descend(nets, descriptor)
    out = [
        [
            Layer(
                *(None if t is None else torch.full_like(t, torch.nan) for t in layer)
            )
            for layer in one
        ]
        for one in layers
    ]
    grad_dot = adjoint(nets, passes, change, eps, out)
    weights = [t for one in out for t in parameters(one)]
    return [energies(passes), grad, grad_dot, *weights]


@pytest.mark.parametrize("offset", OFFSETS)
def test_each_row_is_done_once_and_in_order(offset, threads):
    shares = shares_of(offset, CPU)
    assert len(shares) == max(1, min(threads, offset[-1] // parts.LEAST_ROWS))
    flat = [part for share in shares for part in share]
    assert {part.net for part in flat} == set(range(len(offset) - 1))
    rows = [row for part in flat for row in range(part.rows.start, part.rows.stop)]
    assert rows == list(range(offset[-1]))
    for net_index, part_rows in flat:
        assert offset[net_index] <= part_rows.start
        assert part_rows.stop <= offset[net_index + 1]


def test_rows_of_another_device_stay_together(threads):
    assert len(shares_of((0, 500), torch.device("meta"))) == 1


@pytest.mark.parametrize("module", [reference, compiled])
@pytest.mark.parametrize("offset", OFFSETS)
def test_shares_give_what_one_thread_gives(module, offset, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = results(module, offset)
    for count in (2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        found, again = results(module, offset), results(module, offset)
        for one, same, other in zip(found, again, alone, strict=True):
            assert torch.equal(one, same)
            torch.testing.assert_close(one, other, **EXACT)


def test_jobs_run_in_threads_of_one_thread_each_and_leave_ours_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    meet = threading.Barrier(3, timeout=30)

    def job():
        meet.wait()
        return threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()

    try:
        with torch.no_grad():
            found = spread([job] * 3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert found[0][0] == threading.get_ident()
    assert len({ident for ident, _, _ in found}) == 3
    assert [rest for _, *rest in found] == [[1, False]] * 3


def test_a_failed_job_is_told_when_all_are_done(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    done = []

    def fail():
        raise ValueError("no")

    for jobs in ([fail, lambda: done.append(1)], [lambda: done.append(1), fail]):
        with pytest.raises(ValueError, match="no"):
            spread(jobs)
    assert done == [1, 1]


def test_another_thread_does_its_jobs_one_by_one():
    found = []

    def ask():
        found.append(threads_here())
        found.extend(spread([threading.get_ident] * 2))

    other = threading.Thread(target=ask)
    other.start()
    other.join()
    assert found == [1, other.ident, other.ident]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert spread([lambda: 1, lambda: 2]) == [1, 2]
    child = os.fork()
    if child == 0:
        os._exit(0 if spread([lambda: 1, lambda: 2]) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
