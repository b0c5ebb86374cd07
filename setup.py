"""Put ``registry/`` into the wheel as ``dpbench/_registry``; see pyproject.toml too.

Setuptools can map a folder to a package, but not beside packages that it finds itself.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRegistry(build_py):
    """Copies the registry; an editable install reads that of the checkout."""

    def run(self) -> None:
        """Build the packages, then copy."""
        super().run()
        source = Path(__file__).resolve().parent / "registry"
        if not self.editable_mode and source.is_dir():
            target = Path(self.build_lib, "dpbench", "_registry")
            shutil.copytree(source, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRegistry})
