"""One HTML page about one version of a dataset."""

from pathlib import Path

from dpbench.eval.dataset_report.collect import collect
from dpbench.eval.dataset_report.page import render_report
from dpbench.store.dataset import DatasetVersion
from dpbench.store.files import disk_errors, write_atomically

__all__ = ["write_report"]


def write_report(version: DatasetVersion, path: Path) -> Path:
    """Measure a version and write the page about it.

    Raises:
        DatasetError: If a file of the version is missing or damaged.
        WorkspaceError: If the page cannot be written.
    """
    text = render_report(collect(version))
    with disk_errors(path):
        write_atomically(path, text.encode())
    return path
