"""Files that a user gives for labels: read and digested, with one clear line if not."""

from pathlib import Path

from dpbench.errors import ConfigError
from dpbench.store.files import sha256_of_file


def text_of(path: Path, *, where: str) -> str:
    """Return the text of a file.

    Args:
        path: Where it lies.
        where: Key of the configuration that names it.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{where}: {path}: cannot be read ({error.strerror}). Correct its path."
        ) from error


def digest_of(path: Path, *, where: str) -> str:
    """Return ``sha256:...`` of a file's content.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return f"sha256:{sha256_of_file(path)}"
    except OSError as error:
        raise ConfigError(
            f"{where}: {path}: cannot be read ({error.strerror}). Correct its path."
        ) from error
