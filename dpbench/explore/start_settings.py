"""Section ``[start]``: where the first frames with labels are from."""

from dataclasses import dataclass

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class StartSettings:
    """Exactly one of ``dataset``, ``files`` and ``structures``."""

    dataset: str | None = None
    """A version of the workspace, ``NAME-vN``: labelled already."""
    files: tuple[str, ...] = ()
    """Outputs of a code, beside the configuration: labelled already."""
    format: str = "auto"
    """Of those files, as ``dpbench ingest`` names it."""
    theory: str | None = None
    """File of a level of theory (as of ``dpbench ingest --theory``), beside the
    configuration, for files that tell none (npy, extxyz)."""
    structures: tuple[str, ...] = ()
    """Names of ``[[explore.structures]]``, which are labelled first."""
    count: int = 20
    """How many frames those give in all."""

    def __post_init__(self) -> None:
        """Check that there is one source."""
        given = [
            name
            for name in ("dataset", "files", "structures")
            if getattr(self, name) not in (None, ())
        ]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ConfigError(
                f"{found} given; expected exactly one of dataset, files, structures."
            )
        if self.theory is not None and not self.files:
            raise ConfigError(
                f"theory = '{self.theory}': declares the theory of files, and there "
                "are none; expected files. Leave it out."
            )
        if self.count < 1:
            raise ConfigError(f"count = {self.count}; expected 1 or more.")
