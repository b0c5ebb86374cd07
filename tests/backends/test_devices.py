"""A foreign program sees the device that was asked for, and no other."""

import pytest

from dpbench.backends.devices import visible_devices
from dpbench.errors import ConfigError


def test_cpu_leaves_no_accelerator_visible() -> None:
    found = visible_devices("cpu", {"CUDA_VISIBLE_DEVICES": "2"})
    assert found == {
        "CUDA_VISIBLE_DEVICES": "",
        "HIP_VISIBLE_DEVICES": "-1",
        "ROCR_VISIBLE_DEVICES": "",
    }


@pytest.mark.parametrize(
    ("device", "environ", "cuda", "hip"),
    [
        ("cuda", {}, "0", "0"),
        ("cuda:1", {}, "1", "1"),
        ("gpu:2", {}, "2", "2"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "5,7"}, "5", "5"),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "5, GPU-a1"}, "GPU-a1", "GPU-a1"),
        ("cuda:1", {"HIP_VISIBLE_DEVICES": "3,2"}, "1", "2"),
        ("cuda:1", {"ROCR_VISIBLE_DEVICES": "6,7"}, "1", "1"),
    ],
)
def test_an_index_counts_within_what_is_visible(
    device: str, environ: dict[str, str], cuda: str, hip: str
) -> None:
    assert visible_devices(device, environ) == {
        "CUDA_VISIBLE_DEVICES": cuda,
        "HIP_VISIBLE_DEVICES": hip,
    }


@pytest.mark.parametrize(
    ("device", "environ"),
    [
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "4"}),
        ("cuda", {"CUDA_VISIBLE_DEVICES": ""}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "0,-1,1"}),
        ("cuda:1", {"ROCR_VISIBLE_DEVICES": "0"}),
        ("tpu", {}),
        ("cuda:-1", {}),
    ],
)
def test_a_device_that_cannot_be_had_is_refused(
    device: str, environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=device):
        visible_devices(device, environ)
