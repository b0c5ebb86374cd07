"""The object store that holds a workspace's truth: S3, GCS or Azure, through obstore.

Every object is written once, by a conditional put that fails if it is there already,
and never changed. Keys are paths relative to the URL of ``stores`` in ``dpbench.toml``.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, final

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.store.workspace import Option, Workspace

CONNECT_TIMEOUT = "10s"
"""A server that does not take a connection for so long is down."""

REQUEST_TIMEOUT = "300s"
"""Longest time of one request: a shard of 25 MB on a line of 1 Mbit/s."""

RETRIES = 4
"""Times that a request is sent again after a failure of the server or the line."""

RETRY_TIMEOUT = timedelta(seconds=60)
"""After which no request is sent again."""

S3_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Variables of the environment of which one tells who asks."""

CLIENT_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_url",
        "proxy_ca_certificate",
        "proxy_excludes",
        "root_certificate",
        "read_timeout",
        "timeout",
    }
)
"""Keys of ``[stores_options]`` that concern HTTP; the others go to the service."""


@final
class RemoteStore:
    """Reads and writes immutable objects below a URL."""

    __slots__ = ("_store", "url")

    def __init__(self, url: str, store: Any) -> None:
        """Hold an opened obstore store; ``url`` is for messages."""
        self.url = url.rstrip("/")
        self._store = store

    def read(self, key: str) -> bytes | None:
        """Read an object; None if there is none.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(key):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
        return None

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object piece by piece; nothing at all if there is none.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(key):
            try:
                blocks = obstore.get(self._store, key).stream()
                yield b""  # it is there, even if it is empty
                for block in blocks:
                    yield bytes(block)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise

    def read_range(self, key: str, start: int, length: int) -> memoryview | None:
        """Read some bytes of an object; None if there is no object.

        Args:
            key: The object.
            start: First byte; negative: so many before the end, and ``length`` of them.
            length: Bytes to read; fewer come where the object ends.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(key):
            try:
                if start >= 0:
                    data = obstore.get_range(
                        self._store, key, start=start, length=length
                    )
                else:
                    options: Any = {"range": {"suffix": -start}}
                    data = obstore.get(self._store, key, options=options).bytes()
                return memoryview(data)[:length]
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
        return None

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless it is there already.

        Returns:
            Whether this call has made it.

        Raises:
            WorkspaceError: If the store cannot be reached or written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._errors(key):
            try:
                # One request, so that the store decides who was first.
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def keys(self, prefix: str) -> list[str]:
        """List the objects below a folder, sorted.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(prefix):
            pages = obstore.list(self._store, prefix)
            return sorted(entry["path"] for page in pages for entry in page)

    def remove(self, key: str) -> None:
        """Remove an object that nothing names.

        Raises:
            WorkspaceError: If the store cannot be reached or written.
        """
        import obstore

        with self._errors(key):
            obstore.delete(self._store, key)

    def tags(self, prefix: str) -> dict[str, str]:
        """List the numbered objects below a folder, by key, each with its tag.

        A tag changes when the object's content does.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(prefix):
            pages = obstore.list(self._store, prefix)
            entries = [entry for page in pages for entry in page]
        return {
            entry["path"]: f"{entry['e_tag']} {entry['last_modified']}"
            for entry in entries
            if entry["path"].rsplit("/", 1)[-1].isdigit()
        }

    def names(self, prefix: str) -> list[str]:
        """List the names directly in a folder, of objects and folders, sorted.

        Raises:
            WorkspaceError: If the store cannot be reached or used.
        """
        import obstore

        with self._errors(prefix):
            page = obstore.list_with_delimiter(self._store, prefix)
        paths = [entry["path"] for entry in page["objects"]]
        return sorted(
            path.rsplit("/", 1)[-1] for path in [*page["common_prefixes"], *paths]
        )

    def zarr_store(self) -> Any:
        """Return the store as zarr-python takes it, read-only."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=True)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        with remote_errors(f"{self.url}/{key}"):
            yield


def remote_of(workspace: Workspace) -> RemoteStore | None:
    """Return the object store of a workspace; None if its truth is in the folder.

    Raises:
        ConfigError: If obstore is missing or the URL or an option cannot be used.
    """
    if workspace.config.stores is None:
        return None
    options = tuple(sorted(workspace.config.stores_options.items()))
    return _open(workspace.config.stores, options)


@cache
def _open(url: str, options: tuple[tuple[str, Option], ...]) -> RemoteStore:
    """Open a store once a process: it keeps connections, and memory:// its content."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise ConfigError(
            f"stores = {url}: needs the package obstore, which is not installed "
            f"({error}). Install it, e.g. pip install 'dpbench[s3]'."
        ) from error
    given = dict(options)
    if url.startswith("s3"):
        _refuse_nobody(url, given)
    client = {
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
        **{key: given.pop(key) for key in CLIENT_OPTIONS & given.keys()},
    }
    service: Any = dict(given)
    if url.startswith("s3"):
        # The client sends a sha256 with every put, and the server compares it.
        service = {"checksum_algorithm": "sha256", **service}
    arguments: dict[str, Any] = {}
    if not url.startswith(("memory:", "file:")):
        retry = {"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT}
        arguments = {"client_options": client, "retry_config": retry}
    try:
        store = from_url(url, config=service or None, **arguments)
    except (BaseError, ValueError, TypeError) as error:
        raise ConfigError(
            f"stores = {url}: {_reason(error)}; expected a URL such as "
            "'s3://bucket/prefix' and options that its service knows. Mend "
            "dpbench.toml."
        ) from error
    return RemoteStore(url, store)


def _refuse_nobody(url: str, options: Mapping[str, Option]) -> None:
    """Raise if no credential can come from anywhere.

    Without this the client asks the machine's cloud for one, and for a minute; and only
    Amazon's own machines have such an answer, for Amazon's own endpoint.
    """
    is_amazon = "endpoint" not in options and "AWS_ENDPOINT_URL" not in os.environ
    has_name = any(name in os.environ for name in S3_CREDENTIALS)
    if not (is_amazon or has_name or options.get("skip_signature")):
        raise ConfigError(
            f"stores = {url}: there are no credentials in the environment; expected "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Set them, or "
            "skip_signature = true in [stores_options] to read a public bucket."
        )


@contextmanager
def remote_errors(where: str) -> Iterator[None]:
    """Turn an error of obstore into one clear line.

    Raises:
        WorkspaceError: If the store cannot be reached or used.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, NotImplementedError) as error:
        reason = _reason(error)
        raise WorkspaceError(f"{where}: {reason}. {_advice(str(error))}") from error


def _reason(error: Exception) -> str:
    """Say in one line what obstore says on thirty."""
    text = str(error)
    answer = re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", text, re.S)
    if answer:
        return f"{answer[1]}, {answer[2].rstrip('.')}"
    first = (text.strip().splitlines() or [type(error).__name__])[0]
    first = re.sub(r" in [0-9.]+(ns|µs|ms|s)\b", "", first)
    return re.sub(r", after [0-9]+ retries.*?(?= - |$)", "", first).strip().rstrip(".")


def _advice(text: str) -> str:
    table = (
        ("NoSuchBucket", "Make the bucket, or mend 'stores' in dpbench.toml."),
        (
            r"169\.254\.169\.254|AccessKeyId|SignatureDoesNotMatch|Unauthenticated|"
            r"AccessDenied|PermissionDenied|metadata\.google|status code: 40[13]",
            "Set the credentials in the environment (S3: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY), and check that they may use this bucket.",
        ),
        (
            "BadScheme|builder error",
            "Set allow_http = true in [stores_options] if the endpoint has no TLS.",
        ),
        (
            r"error sending request|Connect|timed? ?out|HTTP error",
            "The server cannot be reached: check 'endpoint' in [stores_options] and "
            "the network, and run the command again.",
        ),
    )
    for pattern, advice in table:
        if re.search(pattern, text):
            return advice
    return "Check the object store and [stores_options], and run the command again."
