"""Which foreign models may be opened: those made here, and those named by their digest.

A pickle, a TorchScript archive or a SavedModel is a program: who opens it runs it. What
dpbench made itself (converted, or trained by a foreign trainer) is noted in the
workspace; anything else must be named by its sha256.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.backends.launch import Launch
from dpbench.errors import BackendError, ConfigError, ModelError, WorkspaceError
from dpbench.models.recognise import DATA, SUFFIXES, recognise

FOLDER = "trusted"
"""Folder of a workspace with one note per file made here, named by its sha256."""

KEY_BYTES = 32

DIGEST = re.compile(r"[0-9a-f]{64}")

PORTABLE = {"deepmd-dp": (".dp",), "deepmd-yaml": (".yaml", ".yml")}
"""Files of DeePMD-kit that are data where they are opened as what they are."""

CHANGES_READER = frozenset({"calculator", "loader", "weights", "programs"})
"""Options of a caller by which an adapter no longer reads text alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """The digests of programs that may be opened in a worker."""

    made_here: frozenset[str] = frozenset()
    """sha256 of files noted in the workspace."""
    named: frozenset[str] = frozenset()
    """sha256 that the user named."""

    def __post_init__(self) -> None:
        """Refuse what is no sha256."""
        for digest in self.named:
            if not DIGEST.fullmatch(digest):
                raise ConfigError(
                    f"--trust '{digest}'; expected a sha256 of 64 hexadecimal digits."
                )

    def check(
        self, path: Path, *, is_confined: bool, data: frozenset[str] = DATA
    ) -> str | None:
        """Let a model pass, or refuse it.

        Args:
            path: The file, or the folder of a SavedModel.
            is_confined: Whether it will be opened in a sandbox.
            data: Kinds that who opens it takes for data, see ``data_of``.

        Returns:
            Its sha256 if it is a program, None if it is data.

        Raises:
            BackendError: If it is a program that nothing vouches for.
            ModelError: If it is missing, or of no known kind.
        """
        kind = recognise(path).kind
        if kind in DATA & data:
            return None
        digest = digest_of(path)
        if digest in self.named or (is_confined and digest in self.made_here):
            return digest
        found = f"{path}: is a program ({kind}), and opening it runs it"
        if kind in DATA:
            found = f"{path}: is a program to a backend that expects none of its kind"
            found += f" ({kind}): opening it may run what it holds"
        if digest in self.made_here:
            raise BackendError(
                f"{found}; this machine has no sandbox, so that one made here must be "
                f"named too. Give --trust {digest}, or install bubblewrap."
            )
        if self.named:
            raise BackendError(
                f"{found}; --trust names {', '.join(sorted(self.named))}, but its "
                f"sha256 is {digest}: it is another file, or it was changed. Get it "
                "anew from where it comes from."
            )
        raise BackendError(
            f"{found}; it was neither made here nor is it named. If you trust where "
            f"it comes from: --trust {digest}"
        )


def trust_of(workspace: Path | None, named: Iterable[str] = ()) -> Trust:
    """Collect what may be opened.

    Args:
        workspace: Root of the workspace; None = without one.
        named: sha256 that the user named, in either case of letters.
    """
    return Trust(
        made_here=_noted(workspace) if workspace is not None else frozenset(),
        named=frozenset(digest.strip().lower() for digest in named),
    )


def data_of(launch: Launch, model: Path, options: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of files that a backend takes for data.

    A file may be several things at once: what is text to one reader is a pickle to
    another, and what is told from the content is not what goes by the suffix.

    Args:
        launch: How the backend is started.
        model: The file, under the name that the worker sees.
        options: Of the caller, or arguments of the job.
    """
    kinds = set()
    if launch.reads_text and CHANGES_READER.isdisjoint(options):
        kinds.add("text-potential")
    if launch.takes_suffix:
        name, suffix = model.resolve().name, options.get("suffix")
        for kind, suffixes in PORTABLE.items():
            if suffix in suffixes or (not suffix and name.endswith(suffixes)):
                kinds.add(kind)
    return frozenset(kinds)


def suffix_option(
    launch: Launch, model: Path, options: Mapping[str, Any]
) -> dict[str, str]:
    """Return the option that has a worker open a file as what was recognised.

    Only what is data must be opened so; of a program the caller may know better.
    """
    kind = recognise(model).kind
    is_theirs = launch.takes_suffix and kind.startswith("deepmd-")
    if is_theirs and (kind in PORTABLE or not options.get("suffix")):
        return {"suffix": SUFFIXES[kind]}
    return {}


def is_program(path: Path) -> str | None:
    """Return the kind of a model file that opening would run; None if it is data.

    Raises:
        ModelError: If it is missing, empty or truncated.
    """
    found = recognise(path)
    return found.kind if found.is_program else None


def digest_of(path: Path) -> str:
    """Return the sha256 of a file; of a folder, that of its list of files.

    The list has a line ``SHA256  NAME`` for each file, sorted by name, as
    ``sha256sum`` prints it.

    Raises:
        ModelError: If it cannot be read, or a folder holds links or special files.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        lines = []
        for entry in sorted(path.rglob("*"), key=lambda entry: entry.as_posix()):
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise ModelError(
                    f"{entry}: is a link or no regular file; expected a model folder "
                    "of files and folders. Copy it with 'cp -rL'."
                )
            if entry.is_file():
                name = entry.relative_to(path).as_posix()
                lines.append(f"{digest_of(entry)}  {name}\n")
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; expected a model.") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def note_made_here(workspace: Path, path: Path) -> str:
    """Note that a model was made by this user on this machine.

    The note is signed with a key of the user's own: one that came with a copied
    workspace vouches for nothing.

    Args:
        workspace: Root of the workspace.
        path: The model.

    Returns:
        Its sha256.

    Raises:
        WorkspaceError: If it cannot be noted.
    """
    digest = digest_of(path)
    note = workspace / FOLDER / digest
    try:
        content = {"file": path.name, "signature": _signature(_key(make=True), digest)}
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_name(f".{digest}.{os.getpid()}")
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        part.replace(note)
    except OSError as error:
        raise WorkspaceError(
            f"{error.filename or note}: {error.strerror}; expected to note there that "
            f"{path} was made here. Mend that, or use it with --trust {digest}."
        ) from error
    return digest


def _noted(workspace: Path) -> frozenset[str]:
    """Return the digests whose notes this user has signed."""
    folder = workspace / FOLDER
    if not folder.is_dir():
        return frozenset()
    key = _key(make=False)
    if not key:
        return frozenset()
    found = (note.name for note in folder.iterdir() if DIGEST.fullmatch(note.name))
    return frozenset(name for name in found if _is_signed(folder / name, key))


def _is_signed(note: Path, key: bytes) -> bool:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        signature = content["signature"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    expected = _signature(key, note.name)
    return isinstance(signature, str) and hmac.compare_digest(
        signature.encode(), expected.encode()
    )


def _signature(key: bytes, digest: str) -> str:
    return hmac.new(key, digest.encode(), "sha256").hexdigest()


def _key(*, make: bool) -> bytes:
    """Read the user's key; make one, or return nothing, where there is none."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    path = Path(base) / "dpbench" / "trust.key"
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(part, path)  # the first of two processes wins
        except FileExistsError:
            pass
        finally:
            part.unlink()
    try:
        key = path.read_bytes()
    except OSError:
        return b""
    return key if len(key) == KEY_BYTES else b""
