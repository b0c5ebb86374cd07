"""Files of DeePMD-kit: which backend reads them, and from one to another.

Part of the worker ``deepmd_kit.py``, in DeePMD-kit's environment. What DeePMD-kit does
not support is ``Refused`` with its own message.
"""

import importlib.metadata
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from serve import Refused

BACKENDS = {
    "tensorflow": ("TensorFlow", ".pb"),
    "pytorch": ("PyTorch", ".pth"),
    "pytorch-exportable": ("PyTorch-Exportable", ".pt2"),
    "jax": ("JAX", ".hlo"),
    "tensorflow2": ("TensorFlow2", ".savedmodeltf"),
    "paddle": ("Paddle", ".pd"),
    "numpy": ("DPModel", ".dp"),
}
"""Option ``backend``: DeePMD-kit's name, and the suffix of what it converts to."""

PADDLE = (".json", ".pd")
"""Suffixes of Paddle's files: frozen, and of training."""

VERSIONED = (
    "deepmd-kit",
    "numpy",
    "torch",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "jaxlib",
    "paddlepaddle",
    "deepmd-gnn",
)
"""Distributions whose versions are facts of a model."""


def convert(
    source: str,
    target: str,
    *,
    atomic_virial: bool = False,
    head: Any = None,
    suffix: Any = None,
) -> dict[str, Any]:
    """Write a model file for another backend, told by the suffix of ``target``.

    A training checkpoint ``.pt`` is frozen to ``.pth`` by the backend itself, which
    also serves models that have no portable form.

    Raises:
        Refused: With DeePMD-kit's message.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="deepmd-") as scratch:
        start = named(Path(source), suffix, Path(scratch))
        if start.suffix == ".pt" and backend_of(start) == "PyTorch":
            from deepmd.pt.entrypoints.main import freeze

            frozen = Path(target)
            if frozen.suffix != ".pth":
                frozen = Path(scratch) / "frozen.pth"
            asked(freeze, str(start), str(frozen), head=head)
            start = frozen
        if str(start) != target:
            _convert(start, Path(target), atomic_virial=atomic_virial)
    if not Path(target).exists():
        raise Refused(f"DeePMD-kit wrote no {Path(target).name}")
    return {"target": target, "seconds": time.perf_counter() - began}


def compress(
    source: str, target: str, *, step: float = 0.01, extrapolate: int = 5
) -> dict[str, Any]:
    """Tabulate the embedding nets of a model as ``dp compress`` does.

    By PyTorch for a target ``.pth``, TensorFlow for ``.pb``, JAX for ``.hlo`` and
    ``.savedmodel``.

    Raises:
        Refused: With DeePMD-kit's message.
    """
    began = time.perf_counter()
    by = {".pb": _compress_tensorflow, ".hlo": _compress_jax}
    by[".savedmodel"] = by[".hlo"]
    with tempfile.TemporaryDirectory(prefix="deepmd-") as scratch:
        tabulate = by.get(Path(target).suffix, _compress_pytorch)
        tabulate(Path(source), Path(target), Path(scratch), (step, extrapolate))
    return {"target": target, "seconds": time.perf_counter() - began}


def _compress_pytorch(
    source: Path, target: Path, scratch: Path, table: tuple[float, int]
) -> None:
    from deepmd.pt.entrypoints.compress import enable_compression

    if source.suffix != ".pth":
        plain = scratch / "plain.pth"
        convert(str(source), str(plain))
        source = plain
    asked(enable_compression, str(source), str(target), *table)


def _compress_tensorflow(
    source: Path, target: Path, scratch: Path, table: tuple[float, int]
) -> None:
    """Compress a frozen graph, whose own script lacks all but the model.

    DeePMD-kit 3.2.0 checks that script as if it were to train.
    """
    import deepmd.tf.entrypoints  # noqa: F401 -- its name for the module is a function

    plain = source.absolute()
    if source.suffix != ".pb":
        plain = scratch / "plain.pb"
        convert(str(source), str(plain))
    module = sys.modules["deepmd.tf.entrypoints.compress"]
    check = module.normalize

    def whole(script: dict[str, Any]) -> Any:
        rate = {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8, "decay_steps": 1000}
        return check({**script, "learning_rate": rate})

    module.normalize = whole
    here = Path.cwd()
    os.chdir(scratch)  # it leaves scripts and checkpoints where it runs
    try:
        asked(
            module.compress,
            input=str(plain),
            output=str(target.absolute() if target.is_absolute() else here / target),
            step=table[0],
            extrapolate=table[1],
            frequency="-1",
            checkpoint_folder="model-compression",
            training_script=None,
            mpi_log="master",
            log_path=None,
            log_level=0,
        )
    finally:
        os.chdir(here)
        module.normalize = check


def _compress_jax(
    source: Path, target: Path, scratch: Path, table: tuple[float, int]
) -> None:
    """Compress by JAX; DeePMD-kit 3.2.0 loses the shortest distance on the way."""
    from deepmd.dpmodel.entrypoints.compress_common import enable_model_compression
    from deepmd.jax.model.base_model import BaseModel
    from deepmd.jax.utils.serialization import deserialize_to_file

    data = _read(source)
    shortest = data.get("@variables", {}).get("min_nbor_dist")
    shortest = data.get("min_nbor_dist", shortest)
    if shortest is None:
        raise Refused("the model tells no shortest distance of its training data")
    model = asked(BaseModel.deserialize, data["model"])
    step, extrapolate = table
    asked(enable_model_compression, model, float(shortest), step, extrapolate, -1)
    told = {**data, "model": model.serialize(), "min_nbor_dist": float(shortest)}
    asked(deserialize_to_file, str(target), told)


def versions() -> dict[str, str]:
    """Name the version of each program that answers."""
    found = {
        str(package.metadata["Name"]).lower().replace("_", "-"): package.version
        for package in importlib.metadata.distributions()
    }
    known = {name: found[name] for name in VERSIONED if name in found}
    return {"python": sys.version.split()[0], **known}


def named(path: Path, suffix: Any, scratch: Path) -> Path:
    """Return a path whose suffix says what the file is: DeePMD-kit goes by it."""
    if not suffix or path.name.endswith(str(suffix)):
        return path
    link = scratch / f"given{suffix}"
    link.symlink_to(path.absolute())
    weights = path.with_suffix(".pdiparams")
    if suffix == ".json" and weights.exists():
        link.with_suffix(".pdiparams").symlink_to(weights.absolute())
    return link


def of_backend(path: Path, backend: Any, scratch: Path) -> Path:
    """Return a file that the wanted backend reads, converted where it is another's."""
    has = backend_of(path)
    if backend is None:
        # Energies alone are no answer: a portable file goes to a backend with forces.
        backend = {"DPModel": "pytorch", "JAX": "jax"}.get(has)
    # DeepPot reads no .jax.
    if backend is None or (BACKENDS[backend][0] == has and path.suffix != ".jax"):
        return path
    target = scratch / f"converted{BACKENDS[backend][1]}"
    _convert(path, target)
    return target


def backend_of(path: Path) -> str:
    """Name the backend that a file belongs to, by its suffix and content.

    Raises:
        Refused: If it is none's, or the backend is not installed.
    """
    from deepmd.backend.backend import Backend

    found = asked(Backend.detect_backend_by_model, str(path))
    if not found().is_available():
        raise Refused(
            f"{path.name} is a file of the {found.name} backend, which is not "
            "installed in this environment"
        )
    return str(found.name)


def _convert(source: Path, target: Path, *, atomic_virial: bool = False) -> None:
    from deepmd.entrypoints.convert_backend import convert_backend

    backend_of(source)
    if backend_of(target) == "Paddle":
        _convert_to_paddle(source, target)
        return
    if target.suffix == ".pt2":
        _convert_to_compiled(source, target, atomic_virial=atomic_virial)
        return
    if "TensorFlow" in (backend_of(source), backend_of(target)):
        _convert_tensorflow(source, target, atomic_virial=atomic_virial)
        return
    asked(
        convert_backend,
        INPUT=str(source),
        OUTPUT=str(target),
        atomic_virial=atomic_virial,
    )


def _convert_to_compiled(source: Path, target: Path, *, atomic_virial: bool) -> None:
    """Compile a model that takes neighbour lists.

    DeePMD-kit's own conversion takes a graph of edges for DPA-1, and leaves out the
    share of empty slots, which is not zero where davg is not.
    """
    from deepmd.backend.backend import Backend

    writer = Backend.detect_backend_by_model(str(target))
    asked(
        writer().deserialize_hook,
        str(target),
        _read(source),
        lower_kind="nlist",
        do_atomic_virial=atomic_virial,
    )


def _convert_to_paddle(source: Path, target: Path) -> None:
    """Write a checkpoint of Paddle, and freeze it where that is asked for.

    DeePMD-kit's own conversion writes a frozen file that its ``DeepPot`` does not
    read: cutoff and type map are not in it.
    """
    import paddle
    from deepmd.pd.entrypoints.main import freeze
    from deepmd.pd.model.model.model import BaseModel
    from deepmd.pd.train.wrapper import ModelWrapper

    data = _read(source)
    model = asked(BaseModel.deserialize, data["model"])
    wrapper = ModelWrapper(model, model_params=data["model_def_script"])
    checkpoint = target.with_suffix(".pd")
    paddle.save({"model": wrapper.state_dict(), "optimizer": {}}, str(checkpoint))
    if target.suffix == ".json":
        asked(freeze, model=str(checkpoint), output=str(target))
        checkpoint.unlink()


def _convert_tensorflow(source: Path, target: Path, *, atomic_virial: bool) -> None:
    """Convert from or to a frozen graph, with the whole energy bias."""
    from deepmd.backend.backend import Backend

    writer = Backend.detect_backend_by_model(str(target))
    data = _read(source)
    options: dict[str, Any] = {}
    if writer.name == "TensorFlow":
        _fold_bias(data["model"])
    elif target.suffix == ".pte":
        options = {"lower_kind": "auto", "do_atomic_virial": atomic_virial}
    asked(writer().deserialize_hook, str(target), data, **options)


def _read(source: Path) -> dict[str, Any]:
    """Return the nested dict of a model file."""
    from deepmd.backend.backend import Backend

    reader = Backend.detect_backend_by_model(str(source))
    data: dict[str, Any] = asked(reader().serialize_hook, str(source))
    if reader.name == "TensorFlow" and data["model"].get("type") == "standard":
        data["model"]["@variables"].update(_output_statistics(source))
    return data


def _output_statistics(source: Path) -> dict[str, Any]:
    """Return bias and scale behind the fitting net of a frozen graph, if it has any.

    DeePMD-kit 3.2.0 writes them below a doubled scope, looks for them below a single
    one, and takes what it does not find for 0 and 1.
    """
    from deepmd.tf.utils.graph import get_tensor_by_name_from_graph, load_graph_def

    graph, definition = asked(load_graph_def, str(source))
    known = {node.name for node in definition.node}
    places = {
        name: f"model_attr/model_attr/t_{name}" for name in ("out_bias", "out_std")
    }
    return {
        name: asked(get_tensor_by_name_from_graph, graph, place)
        for name, place in places.items()
        if place in known
    }


def _fold_bias(model: dict[str, Any]) -> None:
    """Put the whole energy bias where every reader of a frozen graph looks for it.

    DeePMD-kit adds ``out_bias`` and the fitting net's ``bias_atom_e``, but what reads
    its ``.pb`` finds only the latter, see ``_output_statistics``.
    """
    fitting = model.get("fitting", {})
    if fitting.get("type") != "ener" or (model["@variables"]["out_std"] != 1).any():
        return
    own, behind = fitting["@variables"], model["@variables"]
    shape = own["bias_atom_e"].shape
    own["bias_atom_e"] = own["bias_atom_e"] + behind["out_bias"].reshape(shape)
    behind["out_bias"] = 0 * behind["out_bias"]


def asked(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call DeePMD-kit; what it raises is its refusal, in one line."""
    try:
        return function(*arguments, **options)
    except (ImportError, MemoryError, Refused):
        raise
    except Exception as error:
        raise Refused(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Word an exception: its class and the first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
