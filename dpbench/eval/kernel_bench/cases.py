"""What is timed: each kernel of a family, made from any of its variants."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch

from dpbench.eval.kernel_bench.water import Water
from dpbench.kernels.choice import choose
from dpbench.kernels.layers import Layer
from dpbench.kernels.passes import Edges, Layout, Normal
from dpbench.kernels.roofline import (
    StepShape,
    Work,
    fused_passes,
    md_step,
    training_step,
)
from dpbench.kernels.roofline import total as add_up
from dpbench.kernels.tables import Grid, Tables
from dpbench.kernels.tables import reference as reference_tables
from dpbench.models.compressed import compress
from dpbench.models.edge_features import constants_of, layout_of, reach_of
from dpbench.models.parameters import embedding_nets, fitting_nets
from dpbench.train.roofline import knot_units

Call = Callable[[], object]
"""One call of a kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCase:
    """One kernel, whichever variant serves it."""

    name: str
    """What it is called in the table."""
    family: str
    """Its family in ``kernels.choice``."""
    work: Work
    """What it has to do at least."""
    make: Callable[[ModuleType], Call]
    """Returns a call of the kernel from a variant's module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """What the passes take, made once by the reference."""

    grid: Grid
    nets: list[list[Layer]]
    tables: Tables
    layout: Layout
    normal: Normal
    edges: Edges
    moments: torch.Tensor
    tangent: torch.Tensor
    atom_dot: torch.Tensor


def all_cases(water: Water) -> Iterator[KernelCase]:
    """Return every kernel on a box of water."""
    shape = water.shape()
    choose("tables", "cpu", water.model.dtype)  # its variant decides what knots cost
    step = training_step(shape, tabulated=True, knot_units=knot_units())
    training = {w.kernel: w for w in step}
    ready = _prepare(water)
    yield from _table_cases(water, ready, training["knots"])
    yield from _pass_cases(ready, shape, training["environment"])
    yield from _fitting_cases(water, shape)
    yield _inference_case(water)


def _prepare(water: Water) -> _Prepared:
    from dpbench.kernels.passes import reference as passes

    model, batch = water.model, water.batch
    constants = constants_of(model)
    layout = layout_of(batch, constants.net)
    views = model.parameters.views
    nets = [net.layers(views) for net in embedding_nets(model.config)]
    grid = reach_of(model, passes.shortest(batch.edge_vec, layout)).grid
    tables = reference_tables.make_tables(nets, "tanh", grid, model.dtype)
    edges = passes.prepare(batch.edge_vec, layout, constants.normal, tables)
    generator = torch.Generator().manual_seed(3)
    atom_dot = torch.randn(water.natoms, 3, generator=generator, dtype=torch.float64)
    tangent = passes.tangent_rows(edges, layout, constants.normal, atom_dot, None)
    return _Prepared(
        grid=grid,
        nets=nets,
        tables=tables,
        layout=layout,
        normal=constants.normal,
        edges=edges,
        moments=passes.moments(edges, layout, tables),
        tangent=tangent,
        atom_dot=atom_dot,
    )


def _table_cases(water: Water, ready: _Prepared, knots: Work) -> Iterator[KernelCase]:
    """A third of the units at knots is forward, the rest their adjoint."""
    dtype, name = water.model.dtype, "tanh"
    gradient = torch.ones_like(ready.tables.coefficients)
    yield KernelCase(
        name="tables: from nets",
        family="tables",
        work=_part(knots, 1 / 3),
        make=lambda m: lambda: m.make_tables(ready.nets, name, ready.grid, dtype),
    )
    yield KernelCase(
        name="tables: adjoint",
        family="tables",
        work=_part(knots, 2 / 3),
        make=lambda m: lambda: m.tables_adjoint(ready.nets, name, ready.grid, gradient),
    )


def _pass_cases(
    ready: _Prepared, shape: StepShape, environment: Work
) -> Iterator[KernelCase]:
    works = fused_passes(shape)
    vec, layout, normal = ready.edges.vec, ready.layout, ready.normal
    edges, tables, x, dot = ready.edges, ready.tables, ready.moments, ready.tangent
    calls: dict[str, tuple[Work, Callable[[ModuleType], Call]]] = {
        "environment and places": (
            _part(environment, 0.5),
            lambda m: lambda: m.prepare(vec, layout, normal, tables),
        ),
        "P1 moments": (
            works["P1"],
            lambda m: lambda: m.moments(edges, layout, tables),
        ),
        "P2 edge gradient": (
            works["P2"],
            lambda m: lambda: m.edge_gradient(x, edges, layout, normal, tables),
        ),
        "P3 tangent moments": (
            works["P3"],
            lambda m: lambda: m.tangent_moments(dot, edges, layout, tables),
        ),
        "P4 adjoint": (
            works["P4"],
            lambda m: lambda: m.adjoint((x, x), dot, edges, layout, tables),
        ),
    }
    for name, (work, make) in calls.items():
        yield KernelCase(name=name, family="passes", work=work, make=make)


def _fitting_cases(water: Water, shape: StepShape) -> Iterator[KernelCase]:
    """Inference takes two units, a training step six; one net for each type."""
    views, batch = water.model.parameters.views, water.batch
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(water.natoms, shape.inputs, generator=generator)
    inputs = inputs.to(water.model.dtype)
    parts = [
        (net.layers(views), inputs[slice(*batch.atom_type_offset[t : t + 2])])
        for t, net in enumerate(fitting_nets(water.model.config))
    ]
    works = {
        units: add_up([w for w in step if w.kernel == "fitting"])
        for units, step in (
            (2, md_step(shape, tabulated=True)),
            (6, training_step(shape, tabulated=True)),
        )
    }

    def infer(module: ModuleType) -> Call:
        return lambda: [module.infer(x, layers, "tanh") for layers, x in parts]

    def train(module: ModuleType) -> Call:
        def call() -> None:
            for layers, x in parts:
                done = module.forward(x, layers, "tanh")
                module.backward(done)
                _, along = module.tangent(done, x)
                module.tangent_backward(done, along)
                module.weight_gradients(done, along, done.energy)

        return call

    yield KernelCase(
        name="fitting: inference", family="fitting", work=works[2], make=infer
    )
    yield KernelCase(
        name="fitting: training", family="fitting", work=works[6], make=train
    )


def _inference_case(water: Water) -> KernelCase:
    """Energy, forces and virial of moving atoms; the neighbour list is there."""
    potential = compress(water.model)
    frames, shape = water.frames, water.shape()
    coord = torch.from_numpy(frames.coord.copy())
    box = torch.from_numpy(frames.box.copy())
    pbc = torch.tensor([True, True, True])

    def make(module: ModuleType) -> Call:
        evaluator = module.make_evaluator(
            potential, water.batch.atype, nreplicas=1, skin=1.0
        )
        evaluator.build(coord, box, pbc)
        return lambda: evaluator.evaluate(coord, box)

    return KernelCase(
        name="inference: an MD step",
        family="inference",
        work=add_up(md_step(shape, tabulated=True)),
        make=make,
    )


def _part(work: Work, share: float) -> Work:
    """Return a share of a kernel's work."""
    return Work(kernel=work.kernel, flops=share * work.flops, bytes=share * work.bytes)
