"""Mapping files into memory without keeping them open.

Python's own ``mmap`` holds a file descriptor as long as the map lives (an option from
3.13 on). A dataset of some hundred segments has thousands of shards, and a process may
often open no more than 1024 files: so the system call is made here, and the file
closed at once. The kernel keeps the map.
"""

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SMALL = 65_536
"""Bytes up to which a file is read instead: a process may also have no more than some
ten thousand maps."""


def map_file(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file, read-only; the map goes with the last view of it.

    Raises:
        OSError: If the file cannot be opened or mapped.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size > SMALL:
            return _map(descriptor, size, path)
    finally:
        os.close(descriptor)
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)


def _map(descriptor: int, size: int, path: Path) -> NDArray[np.uint8]:
    library = ctypes.CDLL(None, use_errno=True)
    system_mmap, system_munmap = library.mmap, library.munmap
    system_mmap.restype = ctypes.c_void_p
    system_mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    system_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    address = system_mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    content = (ctypes.c_uint8 * size).from_address(address)
    release = weakref.finalize(content, system_munmap, address, size)
    release.atexit = False  # other threads may still read; the kernel tidies up
    view: NDArray[np.uint8] = np.frombuffer(memoryview(content), dtype=np.uint8)
    view.flags.writeable = False
    return view
