"""Calling dpdata's plugins: which there are, what they need, what they print.

They are called directly, before ``LabeledSystem`` would rotate cells to lower
triangular form, so that frames keep the orientation of the output.
"""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dpbench.errors import SourceError
from dpbench.io.readers.dpdata.abacus import geometry, trajectory
from dpbench.io.text import COMPRESSED_SUFFIXES, read_bytes

XYZ_FORMATS = ("extxyz", "mace/xyz", "nequip/xyz", "gpumd/xyz", "quip/gap/xyz")
"""dpdata's names of extended XYZ."""

_SPLIT = (
    *XYZ_FORMATS,
    "quip/gap/xyz_file",
    "ase/structure",
    "deepmd/hdf5",
    "deepmd/lmdb",
)
"""Formats whose file holds several compositions, which dpdata hands out one by one."""

_PSI4_GRADIENT = (b"  -Total Gradient:\n", b"  ## Total Gradient\n\n\n")
"""Head of the force table as Psi4 prints it now, and as dpdata 1.1 looks for it, with
the four lines that it skips."""


@cache
def plugins() -> dict[str, Any]:
    """Classes of the labelled formats by name."""
    import dpdata
    from dpdata.format import Format
    from dpdata.plugins.deepmd import DeePMDMixedFormat

    del dpdata  # imported because it registers its formats
    registry: Any = Format  # dpdata is not typed
    plain = Format.from_labeled_system
    return {
        name: plugin
        for name, plugin in registry.get_formats().items()
        if plugin.from_labeled_system is not plain
        or issubclass(plugin, DeePMDMixedFormat)
    }


def call_plugin(name: str, path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Let dpdata read a file or folder.

    Returns:
        Its dictionaries, one a composition or a frame, and what it printed and warned.

    Raises:
        SourceError: If it cannot read it.
    """
    printed, failure = io.StringIO(), ""
    systems: list[dict[str, Any]] = []
    with (
        _readable(name, path) as plain,
        warnings.catch_warnings(record=True) as warned,
        contextlib.redirect_stdout(printed),
    ):
        # recorded, not silenced: each warning becomes a note of the source
        warnings.simplefilter("always")
        try:
            systems = _systems(name, str(plain))
        # dpdata's line parsers raise whatever they stumble over. The error is not
        # chained: its frames hold files open that dpdata does not close.
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    if failure:
        raise SourceError(
            f"{path}: dpdata's {name} cannot read it ({failure}); expected a whole "
            "output of that format. Check the format and that the file is whole."
        )
    messages = [
        str(warning.message)
        for warning in warned
        if not issubclass(warning.category, ResourceWarning)
    ]
    messages += printed.getvalue().splitlines()
    notes = [f"dpdata: {text.strip()}" for text in dict.fromkeys(messages) if text]
    return systems, notes


@contextlib.contextmanager
def _readable(name: str, path: Path) -> Iterator[Path]:
    """Give a file that dpdata can read: unpacked, and Psi4's table as it knows it."""
    is_packed = path.suffix in COMPRESSED_SUFFIXES
    if not is_packed and name != "psi4/out":
        yield path
        return
    content = read_bytes(path)
    if name == "psi4/out":
        content = content.replace(*_PSI4_GRADIENT)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, path.stem if is_packed else path.name)
        target.write_bytes(content)
        yield target


def _systems(name: str, path: str) -> list[dict[str, Any]]:
    """Return dpdata's dictionaries, one a composition or a frame."""
    if name.startswith("abacus/") and name.endswith("/md"):
        return [trajectory(path)]
    plugin = plugins()[name]()
    if name in _SPLIT:
        parts = plugin.from_multi_systems(path)
        return [plugin.from_labeled_system(part) for part in parts]
    if name.endswith("mixed"):
        parts = plugin.from_multi_systems(path)
        found = [s for part in parts for s in plugin.from_labeled_system_mix(part)]
    elif name.startswith("fhi_aims/"):
        # unconverged frames are wanted, to be quarantined by our own gate
        plugin = plugins()["fhi_aims/output"]()
        found = plugin.from_labeled_system(
            path, md=name != "fhi_aims/scf", convergence_check=False
        )
    elif name.rpartition("/")[2] in ("outcar", "movement", "mlmd"):
        found = plugin.from_labeled_system(path, convergence_check=False)
    else:
        found = plugin.from_labeled_system(path)
    systems = list(found) if isinstance(found, list | tuple) else [found]
    if (
        name.startswith("abacus/")
        and name.endswith("/scf")
        and not systems[0]["coords"].size
    ):
        return geometry(path)
    return systems
