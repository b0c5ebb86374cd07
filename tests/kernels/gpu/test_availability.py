"""A machine that cannot run Triton programs says so in one line."""

import pytest
import torch

from dpbench.kernels import choice
from dpbench.kernels.gpu import availability


@pytest.fixture
def no_interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    availability._too_old.cache_clear()
    yield
    availability._too_old.cache_clear()


def test_the_interpreter_serves_the_cpu():
    assert availability.why_not("cpu") is None or torch.cuda.is_available()


@pytest.mark.usefixtures("no_interpreter")
def test_a_cpu_tensor_is_not_for_triton():
    assert "these tensors lie on cpu" in availability.why_not("cpu")


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize(("capability", "serves"), [((6, 1), False), ((7, 0), True)])
def test_a_gpu_too_old_is_named(monkeypatch, capability, serves):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P4")
    reason = availability.why_not("cuda:0")
    if serves:
        assert reason is None
    else:
        assert reason.startswith("Tesla P4 has compute capability 6.1")
        assert "\n" not in reason


@pytest.mark.usefixtures("no_interpreter")
def test_without_a_gpu_the_reference_serves_and_one_line_says_why(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    variant = next(v for v in choice.FAMILIES["passes"] if v.name == "triton")
    assert choice._load("passes", variant, torch.float64) is None
    (line,) = caplog.messages
    assert "torch finds no CUDA device" in line


def test_every_family_that_triton_serves_has_a_check():
    for variants in choice.FAMILIES.values():
        for variant in variants:
            if variant.name == "triton":
                assert variant.devices == ("cuda",)
                module = __import__(variant.module, fromlist=["check"])
                assert callable(module.check)
