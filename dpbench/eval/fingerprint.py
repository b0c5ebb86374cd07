"""Hardware and software of this process, as records keep them."""

from dpbench.fingerprint import (
    Hardware,
    Software,
    hardware_fingerprint,
    hardware_id,
    short_cpu_name,
    software_fingerprint,
)

__all__ = [
    "Hardware",
    "Software",
    "hardware_fingerprint",
    "hardware_id",
    "short_cpu_name",
    "software_fingerprint",
]
