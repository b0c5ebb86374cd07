"""Where tblite is: in this environment, or in a folder that DPBENCH_XTB_TEST names."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import absent


def need_tblite(patch: pytest.MonkeyPatch) -> None:
    """Make tblite importable here and in processes started here, or skip."""
    folder = os.environ.get("DPBENCH_XTB_TEST", "")
    if Path(folder, "tblite").is_dir():
        paths = [folder, os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        patch.setattr(sys, "path", [*sys.path, folder])
    elif importlib.util.find_spec("tblite") is None:
        absent("external", "tblite is not installed: pip install 'dpbench[xtb]'")
