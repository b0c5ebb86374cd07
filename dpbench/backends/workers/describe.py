"""Say what an environment holds; run by its own interpreter, which needs no package.

    python describe.py REPORT MODULE [MODULE:ATTRIBUTE ...]

writes a JSON file REPORT: the interpreter, every package, whether MODULE imports, and
the named facts of the build. What a package prints meanwhile does no harm.
"""

import importlib
import json
import os
import platform
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path


def add_own_paths():
    """Make packages of an adopted installation importable; -I ignores PYTHONPATH."""
    folders = os.environ.get("DPBENCH_PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder for folder in folders if folder]


def packages():
    """Return name -> version of everything that is installed."""
    found = {}
    for one in metadata.distributions():
        name = one.metadata["Name"] if one.metadata is not None else None
        if name:  # the first on the path is the one that is imported
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), str(one.version))
    return dict(sorted(found.items()))


def failure(error):
    """Word an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def import_of(module):
    """Import a module; return what went wrong, or None."""
    try:
        importlib.import_module(module)
    except BaseException as error:  # whatever a foreign package does at its import
        return failure(error)
    return None


def fact(where):
    """Look one fact up; a function is called without arguments."""
    module, _, attribute = where.partition(":")
    try:
        value = importlib.import_module(module)
        for name in attribute.split("."):
            value = getattr(value, name)
        if callable(value):
            value = value()
        return plain(value)
    except BaseException as error:
        return "not found: " + failure(error)


def plain(value):
    """Turn a value into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def main(report, module, *facts):
    """Write the report."""
    add_own_paths()
    found = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "prefix": sys.prefix,
        "site": sysconfig.get_path("purelib"),
        "packages": packages(),
        "import_error": import_of(module) if module else None,
        "facts": {name: fact(name) for name in facts},
    }
    Path(report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
