"""Where the registry is: cards and published records under version control.

In a wheel they lie in ``dpbench/_registry``; in a clone in ``registry/`` beside the
package.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
"""Folder of the package."""


def registry_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the registry: the shipped one, else that of the checkout.

    Args:
        package: Folder of the package; tests name others.
    """
    shipped = package / "_registry"
    return shipped if shipped.is_dir() else package.parent / "registry"
