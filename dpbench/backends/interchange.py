"""Model files from one program to another, each conversion checked.

Between dpbench's ``.pth`` and DeePMD-kit's ``.dp`` and ``.yaml`` dpbench converts
itself; all else goes through DeePMD-kit in its own environment, by way of ``.dp``.
"""

import glob
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.backends.trust import Trust, digest_of, note_made_here, trust_of
from dpbench.errors import ConfigError, ModelError
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.deepmd_file import read_portable, write_deepmd
from dpbench.models.files import not_ours
from dpbench.models.formats import OURS, Format, format_of
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import OWN_KINDS, ModelFile, recognise

MINIMUM_KEY = "min_nbor_dist"
"""Key of the provenance for the shortest distance in the training data, Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A model of any file, ready for dpbench's kernels."""

    model: DeepPotential
    """The model."""
    provenance: dict[str, Any]
    """What its file says of its making."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What a conversion did."""

    source: Path
    """File that was read."""
    source_kind: str
    """What it was."""
    target: Path
    """File or folder that was written."""
    target_kind: str
    """What it is."""
    model: str | None
    """Digest of the weights, as dpbench names models; None where it has no such."""
    file_sha256: str
    """Of the target's content; ``--trust`` takes it."""
    compared: dict[str, Any]
    """What was compared between both, and how far they are apart."""
    notes: tuple[str, ...]
    """What the user should know."""

    def summary(self) -> str:
        """Word the outcome for a person; the target comes last."""
        lines = [
            f"{self.source} ({self.source_kind}) -> {self.target_kind}",
            f"compared     {self.compared['words']}",
            *([] if self.model is None else [f"model        {self.model}"]),
            f"file sha256  {self.file_sha256}",
            *self.notes,
            str(self.target),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "source": str(self.source),
            "source_kind": self.source_kind,
            "target": str(self.target),
            "target_kind": self.target_kind,
            "model": self.model,
            "file_sha256": self.file_sha256,
            "compared": self.compared,
            "notes": list(self.notes),
        }


def convert(
    source: Path,
    target: Path,
    *,
    backend: str | None = None,
    trust: Iterable[str] = (),
    workspace: Path | None = None,
    force: bool = False,
) -> Conversion:
    """Write a model file in another format, told by the suffix of ``target``.

    Args:
        source: A model file of any kind that is known.
        target: The file to write, whole or not at all.
        backend: Who shall read it, where the suffix alone does not say.
        trust: sha256 of foreign programs that may be opened.
        workspace: Root of a workspace, which notes what was made here.
        force: Whether to replace a file.

    Raises:
        ConfigError: If the target cannot be meant.
        ModelError: If the source is no model that can be converted.
        BackendError: If DeePMD-kit is needed and missing, refuses, or what it wrote
            predicts otherwise.
    """
    wanted = format_of(target, backend)
    found = recognise(source)
    _check_target(source, target, force=force)
    if found.kind == wanted.kind and not wanted.is_native:
        raise ConfigError(
            f"{source}: is {found.description} already; expected another format."
        )
    if not found.kind.startswith(("dpbench", "deepmd-")):
        raise not_ours(source, found)
    trusted = trust_of(workspace, trust)
    if wanted.is_native:
        loaded = load_any(source, trust=trusted, workspace=workspace)
        return _write_native(loaded, source, target, found=found)
    return _write_foreign(
        source, target, found=found, wanted=wanted, trust=trusted, workspace=workspace
    )


def load_any(
    path: Path, *, trust: Trust | None = None, workspace: Path | None = None
) -> Loaded:
    """Read a model of any file, through DeePMD-kit where it is its.

    Args:
        path: The file.
        trust: Which foreign programs may be opened.
        workspace: Root of a workspace with cards of its own.

    Raises:
        ModelError: If it is no model that dpbench's kernels evaluate.
        BackendError: If DeePMD-kit is needed and missing, or refuses.
    """
    found = recognise(path)
    if found.kind == "dpbench":
        model, provenance = load_model(path)
        return Loaded(model=model, provenance=provenance)
    if found.kind == "dpbench-compressed":
        raise ModelError(
            f"{path}: is compressed: its tables are for dpbench's kernels alone; "
            "expected the plain m.pth that it was made of. Name that one, and let "
            "'dp compress' make DeePMD-kit's own tables."
        )
    if found.kind in ("deepmd-dp", "deepmd-yaml"):
        return _loaded_portable(path)
    if not found.kind.startswith("deepmd-"):
        raise not_ours(path, found)
    with tempfile.TemporaryDirectory(prefix="dpbench-convert-") as folder:
        portable = Path(folder) / "m.dp"
        _by_deepmd(path, portable, trust=trust or Trust(), workspace=workspace)
        loaded = _loaded_portable(portable)
    origin = {"file": path.name, "kind": found.kind, "sha256": digest_of(path)}
    return Loaded(
        model=loaded.model,
        provenance=loaded.provenance | {"converted_from": origin},
        notes=loaded.notes,
    )


def _loaded_portable(path: Path) -> Loaded:
    found = read_portable(path)
    provenance = found.provenance
    if found.min_distance is not None:
        provenance = {MINIMUM_KEY: found.min_distance} | provenance
    return Loaded(model=found.model, provenance=provenance, notes=found.notes)


def write_native(
    path: Path, model: DeepPotential, provenance: Mapping[str, Any]
) -> None:
    """Write a model in a format of dpbench's own, told by the suffix.

    Raises:
        ModelError: If the file cannot be written.
    """
    if format_of(path).backend == OURS:
        save_model(path, model, dict(provenance))
        return
    shortest = provenance.get(MINIMUM_KEY)
    write_deepmd(path, model, min_distance=shortest, provenance=provenance)


def _write_native(
    loaded: Loaded, source: Path, target: Path, *, found: ModelFile
) -> Conversion:
    """Write a model, read it back, and compare the weights."""
    digest = model_digest(loaded.model)
    with _beside(target) as part:
        write_native(part, loaded.model, loaded.provenance)
        again = model_digest(load_any(part).model)
        if again != digest:
            raise ModelError(
                f"{target}: would hold {again}, and {source} holds {digest}; expected "
                "the same weights. Nothing is written; please report this."
            )
        _put(part, target)
    return Conversion(
        source=source,
        source_kind=found.kind,
        target=target,
        target_kind=recognise(target).kind,
        model=digest,
        file_sha256=digest_of(target),
        compared={"words": "weights, statistics and options: the same", "digest": True},
        notes=loaded.notes,
    )


def _write_foreign(
    source: Path,
    target: Path,
    *,
    found: ModelFile,
    wanted: Format,
    trust: Trust,
    workspace: Path | None,
) -> Conversion:
    """Have DeePMD-kit write a model, and compare what both predict."""
    with _beside(target) as part:
        start, native = source, None
        if found.kind in OWN_KINDS:
            start = part.parent / "from" / "m.dp"
            native = load_any(source)
            write_native(start, native.model, native.provenance)
        compared = _by_deepmd(start, part, trust=trust, workspace=workspace)
        _put(part, target)
    if workspace is not None:
        note_made_here(workspace, target)
    return Conversion(
        source=source,
        source_kind=found.kind,
        target=target,
        target_kind=recognise(target).kind,
        model=None if native is None else model_digest(native.model),
        file_sha256=digest_of(target),
        compared=compared,
        notes=() if native is None else native.notes,
    )


def _by_deepmd(
    source: Path, target: Path, *, trust: Trust, workspace: Path | None
) -> dict[str, Any]:
    """Convert by DeePMD-kit in its environment; return what was compared."""
    # Only here, so that native conversion needs no backend at all.
    from dpbench.backends.deepmd_convert import convert_by_deepmd
    from dpbench.backends.environments import launch_of
    from dpbench.backends.sandbox import sandbox_kind

    # Said before an environment is missed.
    trust.check(source, is_confined=not sandbox_kind().startswith("none"))
    is_paddle = "deepmd-paddle" in (recognise(source).kind, _kind_meant(target))
    own = None if workspace is None else workspace / "backends"
    launch = launch_of("deepmd-paddle" if is_paddle else "deepmd", own_cards=own)
    made = convert_by_deepmd(launch, source, target, trust=trust)
    return {
        "words": f"with {made.compared}: energy within {made.energy:.1e} eV, force "
        f"within {made.force:.1e} eV/Å",
        "with": made.compared,
        "energy_ev": made.energy,
        "force_ev_per_ang": made.force,
        "versions": dict(made.versions),
    }


def _kind_meant(target: Path) -> str:
    return format_of(target).kind


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    """Refuse to write over the source, or over anything without being told to."""
    if target.exists() and target.samefile(source):
        raise ConfigError(
            f"{target}: is the source itself; expected another file. Name another."
        )
    if target.exists() and not force:
        raise ConfigError(
            f"{target}: is there already; expected a new file. Name another, or give "
            "--force."
        )


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a path of the same name in a new folder beside the target."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".dpbench-convert-", dir=target.parent))
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror}).") from error
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(part: Path, target: Path) -> None:
    """Put what was written in its place, after the files that lie beside it."""
    old = part.with_name(f".{target.name}.old")
    stem = target.name.removesuffix(target.suffix)
    try:
        # Paddle's weights and further programs are told apart behind the first dot.
        for more in part.parent.glob(f"{glob.escape(stem)}.*"):
            if more != part:
                more.replace(target.with_name(more.name))
        if target.is_dir() or (part.is_dir() and target.exists()):
            target.replace(old)  # a folder cannot be replaced, only moved away
        part.replace(target)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror}).") from error
