"""Every kind of descriptor and of input: what is special about each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpbench.errors import ConfigError, ModelError
from dpbench.frames import uniform
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.config import (
    HybridConfig,
    ModelConfig,
    SeAttenConfig,
    SeE2RConfig,
    config_from_mapping,
    config_mapping,
)
from dpbench.models.descriptors import no_fast_path
from dpbench.models.pair_table import read_table
from dpbench.models.potential import DeepPotential
from tests.models import family, structures
from tests.models.conftest import KINDS
from tests.models.structures import batch_of, close, predict, water

FORMAT_1 = Path(__file__).parents[1] / "data" / "model-format-1.pth"
"""Written by dpbench before there were kinds: se_e2_a, two-sided."""

DIGESTS = {
    "one_side": "ae9131e00f9d2f10b044efac608880e5124de1d8d05964bfdf05d1c689bedf23",
    "two_side": "981c5b3e9942c59d365ddbec9a065816b9d60156154a2e534190e54fd5d786e1",
    "excluded": "0a7ec8d3d551b844feb76472e5ef359ebc773508dfb0d97e6a512d9c5f156c59",
    "few_slots": "4405c93df473dc7016d5cd960c9cabff4cb3fc933c6bbeb1bd3498d3b6540ed3",
    "protected": "2cf394ee4aa123ead0e6498fc76df8016c325c033cbf4138c762c8599e7b042c",
}
"""Names that these models had before there were kinds."""

SMOOTH = [kind for kind in family.FAMILY if "excluded" not in kind]


@pytest.fixture(params=family.FAMILY)
def kind(request):
    return request.param


def test_parameter_gradient_is_that_of_finite_differences(kind):
    """Through energy, forces and virial: what training needs."""
    potential, frames = family.model(kind), structures.mixed()
    batch = batch_of(frames, potential)
    generator = torch.Generator().manual_seed(1)

    def weighted(flat):
        found = potential.evaluate(potential.parameters.unflatten(flat), batch)
        parts = (found.energy, found.force, found.virial)
        generator.manual_seed(1)
        return sum(
            (torch.randn(part.shape, generator=generator).double() * part).sum()
            for part in parts
        )

    flat = potential.parameters.flat.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(weighted(flat), flat)
    along = torch.randn(len(flat), generator=generator).double()
    with torch.no_grad():
        values = [float(weighted(flat + h * 1e-4 * along)) for h in (-2, -1, 1, 2)]
    slope = (8 * (values[2] - values[1]) - (values[3] - values[0])) / 12e-4
    assert float(gradient @ along) == pytest.approx(slope, rel=1e-7, abs=1e-7)


def test_every_parameter_matters(kind):
    potential, frames = family.model(kind), structures.mixed()
    flat = potential.parameters.flat.clone().requires_grad_(True)
    batch = batch_of(frames, potential)
    found = potential.evaluate(potential.parameters.unflatten(flat), batch)
    (gradient,) = torch.autograd.grad(found.force.square().sum(), flat)
    views = potential.parameters.unflatten(gradient)
    idle = {name for name, view in views.items() if not view.any()}
    # A constant of the energy leaves the forces alone.
    assert idle <= {f"fitting.{t}.3.b" for t in range(2)}


@pytest.mark.parametrize("kind", SMOOTH)
def test_energy_is_twice_smooth_at_the_cutoff(kind):
    potential, step = family.model(kind), 1e-3
    rcut = potential.rcut

    def at(r):
        coord = np.array([[[0.0, 0, 0], [1.1, 0.3, 0], [0, 0, r]]])
        return predict(uniform(z=[8, 1, 1], coord=coord), potential)

    outside = at(rcut + step)
    close(at(rcut - 1e-9).energy, outside.energy)
    inside = [float(at(rcut - k * step).force[2, 2]) for k in (1, 2)]
    assert float(outside.force[2, 2]) == 0
    assert abs(inside[0]) < 1e-4
    assert inside[1] / inside[0] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("element", [8, 1])
@pytest.mark.parametrize("kind", [*KINDS, *family.FAMILY])
def test_an_atom_alone_has_the_energy_it_has_far_from_others(kind, element):
    potential = structures.model(**KINDS[kind]) if kind in KINDS else family.model(kind)
    lone = uniform(z=[element], coord=np.zeros((1, 1, 3)))
    far = np.array([[[0.0, 0, 0], [0, 0, 50.0], [0, 1.0, 50.0]]])
    among = uniform(z=[element, 8, 1], coord=far)
    alone = predict(lone, potential)
    assert alone.force.tolist() == [[0.0, 0.0, 0.0]]
    assert torch.isfinite(alone.energy).all()
    close(predict(among, potential).atom_energy[0], alone.energy[0])


@pytest.mark.parametrize("kind", DIGESTS)
def test_names_of_older_models_stay(kind):
    potential = structures.model(**KINDS[kind])
    assert model_digest(potential) == f"sha256:{DIGESTS[kind]}"


def test_files_of_format_1_stay_readable(tmp_path):
    potential, provenance = load_model(FORMAT_1)
    assert provenance == {"made by": "dpbench before format 2"}
    assert model_digest(potential) == (
        "sha256:fd687f105395ebab0346dbb9a947b79f61d615f651f899363d17040f5028c638"
    )
    found = predict(water(), potential)
    assert float(found.energy[0]) == pytest.approx(3.2906753165052773, abs=1e-12)
    expected = [-0.23078061448905896, 1.4380618048526226, -0.6241021543290278]
    assert found.force[0].tolist() == pytest.approx(expected, abs=1e-12)
    save_model(tmp_path / "m.pth", potential, provenance)
    old, new = (
        torch.load(path, weights_only=True) for path in (FORMAT_1, tmp_path / "m.pth")
    )
    assert {k: v for k, v in old.items() if isinstance(v, int | str)} == {
        k: v for k, v in new.items() if isinstance(v, int | str)
    }


def test_model_files_round_trip(kind, tmp_path):
    potential = family.model(kind)
    save_model(tmp_path / "m.pth", potential, {})
    loaded, _ = load_model(tmp_path / "m.pth")
    assert loaded.config == potential.config
    assert model_digest(loaded) == model_digest(potential)
    frames = water()
    assert torch.equal(predict(frames, loaded).force, predict(frames, potential).force)
    payload = torch.load(tmp_path / "m.pth", weights_only=True)
    assert payload["format"] == 2


def test_configurations_round_trip(kind):
    cfg = family.config(kind)
    assert config_from_mapping(config_mapping(cfg), where="m.pth") == cfg


def test_kinds_have_different_names():
    kinds = [*family.FAMILY]
    assert len({model_digest(family.model(kind)) for kind in kinds}) == len(kinds)


def test_a_hybrid_is_its_parts_side_by_side():
    hybrid = family.model("hybrid")
    batch = batch_of(water(), hybrid)
    found = [p.forward(hybrid.parameters.views, batch) for p in hybrid._parts]
    widths = [one.done.descriptor.shape[1] for one in found]
    assert sum(widths) == hybrid.config.descriptor.dim_descriptor
    first = family.SE_E2_A
    alone = DeepPotential.initialise(
        ModelConfig(type_map=("O", "H"), descriptor=first),
        structures.statistics(),
        1,
    )
    views = {
        name.removeprefix("0."): view
        for name, view in hybrid.parameters.views.items()
        if name.startswith("0.")
    }
    (own,) = alone._parts
    close(own.forward(views, batch).done.descriptor, found[0].done.descriptor)


def test_the_table_alone_counts_where_atoms_touch():
    """H2 at 0.5 Å: below sw_rmin the energy is the pair potential and the biases."""
    potential = family.model("pair_table")
    table = family.table()
    row = 24  # 0.5 Å
    assert table[row, 0] == pytest.approx(0.5)
    frames = uniform(z=[1, 1], coord=np.array([[[0.0, 0, 0], [0, 0, 0.5]]]))
    found = predict(frames, potential)
    bias = 2 * potential.statistics.energy_bias[1]
    assert float(found.energy[0]) == pytest.approx(table[row, 3] + bias, abs=1e-10)
    far = uniform(z=[1, 1], coord=np.array([[[0.0, 0, 0], [0, 0, 2.0]]]))
    plain = DeepPotential(
        replace(potential.config, pair_table=None),
        potential.parameters,
        replace(potential.statistics, pair_table=None),
    )
    close(predict(far, potential).energy, predict(far, plain).energy)
    assert abs(float((predict(frames, plain).energy - found.energy)[0])) > 0.1


def test_a_lone_pair_far_apart_is_left_to_the_net():
    """exp(-r / alpha) underflows there; the soft minimum must not."""
    potential = family.model("pair_table")
    far = uniform(z=[1, 8], coord=np.array([[[0.0, 0, 0], [0, 0, 3.9]]]))
    batch = batch_of(far, potential)
    assert potential._table.mix(batch).share.tolist() == [0.0, 0.0]


def test_below_its_first_distance_the_table_is_a_straight_line():
    potential = family.model("pair_table")

    def at(r):
        coord = np.array([[[0.0, 0, 0], [0, 0, r]]])
        return predict(uniform(z=[8, 8], coord=coord), potential)

    first, closer = at(0.02), at(0.012)
    slope = -float(first.force[1, 2])
    gained = float((closer.energy - first.energy)[0])
    assert gained == pytest.approx(-0.008 * slope, rel=1e-9)


def test_frame_numbers_enter_and_have_a_default():
    potential, frames = family.model("frame_numbers"), structures.mixed()
    batch = batch_of(frames, potential)
    default = torch.tensor([[0.3, 310.0]], dtype=torch.float64).expand(4, -1)
    given = potential.energy_and_forces(replace(batch, fparam=default))
    close(potential.energy_and_forces(batch).energy, given.energy)
    other = replace(batch, fparam=default + torch.tensor([0.1, 0.0]))
    assert (potential.energy_and_forces(other).force != given.force).any()


@pytest.mark.parametrize(
    ("kind", "words"), [("frame_numbers", "fparam"), ("atom_numbers", "aparam")]
)
def test_missing_numbers_are_named(kind, words):
    potential = family.model(kind)
    fitting = replace(potential.config.fitting, default_fparam=None)
    potential = DeepPotential(
        replace(potential.config, fitting=fitting),
        potential.parameters,
        potential.statistics,
    )
    batch = replace(batch_of(water(), potential), aparam=None)
    with pytest.raises(ModelError, match=words):
        potential.energy_and_forces(batch)


def test_statistics_that_do_not_fit_are_refused():
    potential = family.model("frame_numbers")
    statistics = replace(potential.statistics, fparam=None)
    with pytest.raises(ModelError, match="fparam"):
        DeepPotential(potential.config, potential.parameters, statistics)
    hybrid = family.model("hybrid")
    statistics = replace(hybrid.statistics, davg=hybrid.statistics.davg[0])
    with pytest.raises(ModelError, match="davg"):
        DeepPotential(hybrid.config, hybrid.parameters, statistics)


def test_why_there_is_no_fast_path_is_said(kind):
    is_served = kind.startswith("strip") or kind.endswith("_numbers")
    assert (no_fast_path(family.config(kind)) is None) == is_served
    assert no_fast_path(structures.config()) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SeE2RConfig(sel=(1, 1), rcut_smth=7.0), "rcut_smth"),
        (
            lambda: SeAttenConfig(sel=(4,), smooth_type_embedding=False),
            "always smooths",
        ),
        (
            lambda: SeAttenConfig(
                type="se_atten", sel=(4,), smooth_type_embedding=False
            ),
            "set_davg_zero",
        ),
        (lambda: SeAttenConfig(sel=(4,), tebd_dim=0), "tebd_dim"),
        (lambda: HybridConfig(list=()), "empty"),
        (
            lambda: ModelConfig(type_map=("O",), descriptor=family.SE_E2_R),
            "one per type",
        ),
        (
            lambda: ModelConfig(
                type_map=("O",),
                descriptor=replace(family.STRIP, exclude_types=((0, 1),)),
            ),
            "exclude_types",
        ),
        (
            lambda: config_from_mapping(
                {"type_map": ["O"], "descriptor": {"type": "se_e3"}}, where="m"
            ),
            "'se_atten_v2'",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("0.1 1 2\n0.2 1 1\n", "columns"),
        ("0.1 1 2 3\n", "two lines"),
        ("0.1 1 2 3\n0.2 1 2 3\n0.5 0 0 0\n", "equal steps"),
        ("0.1 1 2 3\n0.2 1 2 3\n", "not zero"),
        ("distance O-O O-H H-H\n", "no table of numbers"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path, text, words):
    path = tmp_path / "zbl.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_table(path, ntypes=2, rcut=4.0)


def test_a_table_is_filled_with_zeros_up_to_the_cutoff(tmp_path):
    path = tmp_path / "zbl.txt"
    np.savetxt(path, family.table(2.0))
    table = read_table(path, ntypes=2, rcut=4.0)
    np.testing.assert_allclose(table[:100], family.table(2.0)[:100])
    assert table[-1, 0] == pytest.approx(4.0)
    assert not table[100:, 1:].any()


def test_start_values_have_the_spread_of_deepmd_kit():
    """W ~ N(0, 1 / sqrt(n_in + n_out)), b ~ N(0, 1) in every net of every kind."""
    wide = replace(family.STRIP, neuron=(50, 100), tebd_dim=30, use_tebd_bias=True)
    cfg = replace(family.config("strip"), descriptor=wide)
    views = DeepPotential.initialise(cfg, family.statistics(cfg), 1).parameters.views
    for name, widths in (
        ("type_embedding.0.0", (2, 30)),
        ("embedding_strip.0.0", (60, 50)),
        ("embedding.0.1", (50, 100)),
        ("fitting.0.1", (10, 10)),
    ):
        w, b = views[f"{name}.w"], views[f"{name}.b"]
        assert w.shape == widths
        assert float(w.std()) == pytest.approx(sum(widths) ** -0.5, rel=0.25)
        assert float(b.std()) == pytest.approx(1, rel=0.5)


def test_parts_of_a_hybrid_have_start_values_of_their_own():
    twice = HybridConfig(list=(family.SE_E2_R, family.SE_E2_R))
    cfg = replace(family.config("hybrid"), descriptor=twice)
    views = DeepPotential.initialise(cfg, family.statistics(cfg), 1).parameters.views
    assert not torch.equal(views["0.embedding.0.0.w"], views["1.embedding.0.0.w"])
