"""Each optimiser against what defines it, and all against the same contract."""

from math import inf

import pytest
import torch

from dpbench.errors import ConfigError, TrainingError
from dpbench.models.parameters import FlatParameters
from dpbench.train.optimisers import make_optimiser
from dpbench.train.optimisers import soap as soap_module
from dpbench.train.optimisers.adam import Adam, longest_step
from dpbench.train.optimisers.average import Averaged
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.kalman import KalmanFilter
from dpbench.train.optimisers.muon import Muon, orthogonalised
from dpbench.train.optimisers.schedule_free import ScheduleFree
from dpbench.train.optimisers.soap import Soap

SHAPES = {
    "embedding.0.0.w": (1, 5),
    "embedding.0.0.b": (5,),
    "fitting.0.0.w": (12, 4),
    "fitting.0.0.b": (4,),
    "fitting.0.1.w": (4, 4),
    "fitting.0.1.idt": (4,),
    "fitting.0.2.w": (4, 1),
}
SIZE = 5 + 5 + 48 + 4 + 16 + 4 + 4
SAME = 1e-12

GRADIENT_METHODS = [
    {"type": "adam"},
    {"type": "adam", "average": 0.9},
    {"type": "soap", "soap_refresh": 3, "soap_accumulate": 2},
    {"type": "soap", "soap_block": 4, "average": 0.5},
    {"type": "muon"},
    {"type": "schedule-free"},
]


def parameters(dtype=torch.float64, seed=0) -> FlatParameters:
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    return FlatParameters(flat.to(dtype), SHAPES)


def gradients(count: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(SIZE, generator=generator, dtype=torch.float64)
        for _ in range(count)
    ]


@pytest.mark.parametrize("options", GRADIENT_METHODS)
def test_a_badly_conditioned_quadratic_is_minimised(options):
    at = parameters()
    curvature = torch.logspace(-2, 0, SIZE, dtype=torch.float64)
    optimiser = make_optimiser(at, OptimiserConfig(**options))
    start = float((curvature * at.flat**2).sum())
    for step in range(400):
        rate = 0.1 * (1 - step / 400)
        optimiser.step(curvature * at.flat, learning_rate=rate)
    assert float((curvature * optimiser.solution() ** 2).sum()) < 1e-2 * start


@pytest.mark.parametrize("options", GRADIENT_METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_restored_state_goes_on_bitwise(options, dtype):
    config = OptimiserConfig(**options)
    straight = parameters(dtype)
    first = make_optimiser(straight, config)
    made = [g.to(dtype) for g in gradients(20)]
    for gradient in made[:9]:
        first.step(gradient, learning_rate=0.1)
    resumed = FlatParameters(straight.flat.clone(), SHAPES)
    second = make_optimiser(resumed, config)
    second.restore(first.state())
    for gradient in made[9:]:
        first.step(gradient, learning_rate=0.1)
        second.step(gradient, learning_rate=0.1)
    assert torch.equal(straight.flat, resumed.flat)
    assert torch.equal(first.solution(), second.solution())


@pytest.mark.parametrize("options", [*GRADIENT_METHODS, {"type": "kalman"}])
def test_a_state_is_a_copy(options):
    at = parameters()
    optimiser = make_optimiser(at, OptimiserConfig(**options))
    state = optimiser.state()
    kept = {k: v.clone() for k, v in state.items() if isinstance(v, torch.Tensor)}
    if options["type"] == "kalman":
        optimiser.update(gradients(1)[0], 0.3)
    else:
        for gradient in gradients(3):
            optimiser.step(gradient, learning_rate=0.1)
    assert all(torch.equal(state[name], value) for name, value in kept.items())


def test_state_of_another_optimiser_is_refused():
    adam = make_optimiser(parameters(), OptimiserConfig(type="adam"))
    soap = make_optimiser(parameters(), OptimiserConfig(type="soap"))
    with pytest.raises(TrainingError, match="its optimiser is soap, expected adam"):
        adam.restore(soap.state())


def test_a_refused_state_changes_nothing():
    soap = Soap(parameters(), OptimiserConfig(type="soap"))
    soap.step(gradients(1)[0], learning_rate=0.1)
    before, wrong = soap.state(), soap.state()
    wrong["mean"] = torch.ones_like(wrong["mean"])
    wrong["fitting.0.1.w.left.basis"] = torch.zeros(3, 3)
    with pytest.raises(TrainingError, match="does not fit"):
        soap.restore(wrong)
    after = soap.state()
    assert all(
        torch.equal(after[k], v)
        for k, v in before.items()
        if isinstance(v, torch.Tensor)
    )


def test_a_state_without_name_is_that_of_adam():
    adam = Adam(parameters().flat, OptimiserConfig())
    state = adam.state()
    del state["name"]
    adam.restore(state)


def test_soap_without_bases_is_adam():
    ours, theirs = parameters(), parameters()
    soap = Soap(
        ours, OptimiserConfig(type="soap", soap_block=1, beta1=0.9, beta2=0.999)
    )
    adam = Adam(theirs.flat, OptimiserConfig())
    for gradient in gradients(20):
        soap.step(gradient, learning_rate=0.05)
        adam.step(gradient, learning_rate=0.05)
    torch.testing.assert_close(ours.flat, theirs.flat, rtol=SAME, atol=SAME)


def test_soap_with_fixed_bases_is_adam_in_turned_coordinates():
    """Turn all gradients by hand, let Adam work, turn back: SOAP does the same."""
    at = parameters()
    config = OptimiserConfig(type="soap", soap_refresh=1000)
    soap = Soap(at, config)
    soap.step(gradients(1)[0], learning_rate=0.05)
    start, state = at.flat.clone(), soap.state()
    left, right = (state[f"fitting.0.1.w.{s}.basis"] for s in ("left", "right"))
    weight = at.unflatten(start)["fitting.0.1.w"]
    turned = (left.T @ weight @ right).flatten().contiguous()
    adam = Adam(turned, OptimiserConfig(beta1=0.95, beta2=0.95))
    for gradient in gradients(10, seed=2):
        soap.step(gradient, learning_rate=0.05)
        own = at.unflatten(gradient)["fitting.0.1.w"]
        adam.step((left.T @ own @ right).flatten(), learning_rate=0.05)
    expected = left @ turned.view(4, 4) @ right.T
    torch.testing.assert_close(
        at.views["fitting.0.1.w"], expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("betas", [(0.95, 0.95), (0.9, 0.999), (0.5, 0.3)])
def test_longest_step_is_reached_by_the_worst_gradients_and_never_passed(betas):
    """By Cauchy and Schwarz the worst grow by b2 / b1 from step to step."""
    silent, steps, rate = 8000, 300, 0.01
    worst = (betas[1] / betas[0]) ** torch.arange(steps, dtype=torch.float64)
    noise = torch.stack(gradients(steps)).abs()
    course = torch.cat([worst[:, None], noise], dim=1)
    course = torch.cat([torch.zeros(silent, course.shape[1]).double(), course])
    at = torch.zeros(course.shape[1], dtype=torch.float64)
    adam = Adam(at, OptimiserConfig(beta1=betas[0], beta2=betas[1], epsilon=1e-300))
    longest = 0.0
    for gradient in course:
        before = at.clone()
        adam.step(gradient, learning_rate=rate)
        longest = max(longest, float((at - before).abs().max()) / rate)
    assert longest == pytest.approx(longest_step(betas), rel=1e-3)
    assert longest <= longest_step(betas) * (1 + SAME)


def test_decays_that_bound_nothing_cut_nothing():
    assert longest_step((0.99, 0.9)) == inf


@pytest.mark.parametrize("is_cut", [True, False])
def test_soap_moves_no_further_than_adam_when_bases_turn(is_cut, monkeypatch):
    """Gradients over nine decades: in float32 the smallest bases turn by rounding."""
    if not is_cut:
        monkeypatch.setattr(soap_module, "longest_step", lambda _: inf)
    at = parameters(torch.float32)
    soap = Soap(at, OptimiserConfig(type="soap", soap_refresh=5, soap_accumulate=1))
    scales = torch.logspace(0, -9, 4, dtype=torch.float64).view(4, 1)
    course, longest = gradients(300, seed=5), 0.0
    for step, gradient in enumerate(course):
        weight = at.unflatten(gradient)["fitting.0.1.w"]
        turn = torch.linalg.qr(at.unflatten(course[step // 8])["fitting.0.1.w"]).Q
        weight.copy_(turn @ (scales * weight))
        state = soap.state()
        at.flat.zero_()
        soap.step(gradient.float(), learning_rate=1.0)
        left, right = (state[f"fitting.0.1.w.{s}.basis"] for s in ("left", "right"))
        moved = left.T @ at.views["fitting.0.1.w"] @ right
        longest = max(longest, float(moved.abs().max()))
    assert (longest < 1.001) is is_cut


def test_soap_bases_become_the_eigenvectors_of_the_gradients():
    """Gradients with fixed left and right directions: the bases find them."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(
        torch.randn(4, 4, generator=generator, dtype=torch.float64)
    ).Q
    scales = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    at = parameters()
    soap = Soap(at, OptimiserConfig(type="soap", soap_refresh=2, soap_accumulate=1))
    for gradient in gradients(400, seed=4):
        noise = at.unflatten(gradient)["fitting.0.1.w"]
        noise.copy_(turn @ (scales.view(4, 1) * noise.clone()))
        soap.step(gradient, learning_rate=0.0)
    left = soap.state()["fitting.0.1.w.left.basis"]
    overlap = (turn.T @ left).abs()
    torch.testing.assert_close(left.T @ left, torch.eye(4, dtype=left.dtype))
    assert float(overlap.diagonal().min()) > 0.9


@pytest.mark.parametrize("shape", [(12, 4), (4, 12), (6, 5), (40, 8)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_muons_direction_is_nearly_orthogonal(shape, dtype):
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(shape, generator=generator).to(dtype)
    found = orthogonalised(matrix)
    values = torch.linalg.svdvals(found.double())
    assert found.dtype == dtype
    assert 0.65 < float(values.min()) <= float(values.max()) < 1.25
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    cosine = (found.double() * (left @ right)).sum() / (
        found.double().norm() * (left @ right).norm()
    )
    assert float(cosine) > 0.97


def test_muons_gram_form_equals_the_direct_one():
    generator = torch.Generator().manual_seed(6)
    tall = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    square = torch.linalg.qr(tall).R  # tall = Q R, and Q passes through
    expected = torch.linalg.qr(tall).Q @ orthogonalised(square)
    torch.testing.assert_close(orthogonalised(tall), expected, rtol=1e-9, atol=1e-9)


def test_muon_moves_what_is_no_matrix_as_adam_does():
    at = parameters()
    muon = Muon(at, OptimiserConfig(type="muon"))
    theirs = parameters()
    adam = Adam(theirs.flat, OptimiserConfig())
    for gradient in gradients(7):
        muon.step(gradient, learning_rate=0.05)
        adam.step(gradient, learning_rate=0.05)
    for name in SHAPES:
        same = torch.allclose(at.views[name], theirs.views[name], rtol=SAME)
        assert same == (name not in ("fitting.0.0.w", "fitting.0.1.w"))


def test_schedule_free_solution_is_the_mean_of_its_iterates():
    at = parameters()
    optimiser = ScheduleFree(at.flat, OptimiserConfig(type="schedule-free"))
    iterates, rates = [], [0.01, 0.02, 0.05, 0.05, 0.05, 0.05]
    for gradient, rate in zip(gradients(6), rates, strict=True):
        optimiser.step(gradient, learning_rate=rate)
        iterates.append(optimiser.state()["iterate"])
    weights = torch.tensor(rates, dtype=torch.float64).square()
    mean = (weights[:, None] * torch.stack(iterates)).sum(0) / weights.sum()
    torch.testing.assert_close(optimiser.solution(), mean, rtol=SAME, atol=SAME)
    between = 0.1 * iterates[-1] + 0.9 * mean
    torch.testing.assert_close(at.flat, between, rtol=SAME, atol=SAME)


def test_average_forgets_its_start_and_follows_the_weights():
    at = parameters()
    averaged = make_optimiser(at, OptimiserConfig(type="adam", average=0.5))
    assert isinstance(averaged, Averaged)
    expected = at.flat.clone()
    for count, gradient in enumerate(gradients(5), start=1):
        averaged.step(gradient, learning_rate=0.1)
        decay = min(0.5, count / (count + 10))
        expected = decay * expected + (1 - decay) * at.flat
    torch.testing.assert_close(averaged.solution(), expected, rtol=SAME, atol=SAME)
    assert not torch.equal(averaged.solution(), at.flat)


def test_kalman_filter_is_recursive_least_squares_on_a_linear_model():
    generator = torch.Generator().manual_seed(7)
    count, size = 40, 6
    rows = torch.randn(count, size, generator=generator, dtype=torch.float64)
    labels = torch.randn(count, generator=generator, dtype=torch.float64)
    weights = torch.zeros(size, dtype=torch.float64)
    kalman = KalmanFilter(
        weights, OptimiserConfig(type="kalman", kalman_lambda=1.0, kalman_nu=1.0)
    )
    for row, label in zip(rows, labels, strict=True):
        kalman.update(row, label - row @ weights)
    # Unit covariance and unit noise: ridge regression with penalty one.
    normal = rows.T @ rows + torch.eye(size, dtype=torch.float64)
    expected = torch.linalg.solve(normal, rows.T @ labels)
    torch.testing.assert_close(weights, expected, rtol=1e-10, atol=1e-10)


def test_kalman_filter_goes_on_bitwise_and_refuses_gradients():
    at = parameters()
    config = OptimiserConfig(type="kalman", kalman_block=10)
    first = KalmanFilter(at.flat, config)
    for jacobian in gradients(5):
        first.update(jacobian, 0.3)
    again = parameters()
    again.flat.copy_(at.flat)
    second = KalmanFilter(again.flat, config)
    second.restore(first.state())
    for jacobian in gradients(5, seed=8):
        first.update(jacobian, -0.2)
        second.update(jacobian, -0.2)
    assert torch.equal(at.flat, again.flat)
    with pytest.raises(ConfigError, match="takes no gradient"):
        first.step(at.flat, learning_rate=0.1)


def test_a_covariance_beyond_memory_is_refused():
    flat = torch.zeros(1_000_000, dtype=torch.float32)
    with pytest.raises(ConfigError, match="Set kalman_block to 536 or less"):
        KalmanFilter(flat, OptimiserConfig(type="kalman", kalman_block=1280))


@pytest.mark.parametrize(
    "options",
    [
        {"average": 1.0},
        {"average": 0.9, "type": "schedule-free"},
        {"kalman_block": 4000},
        {"kalman_lambda": 0.0},
        {"soap_refresh": 0},
        {"muon_momentum": 1.0},
    ],
)
def test_constants_outside_the_methods_are_refused(options):
    with pytest.raises(ConfigError):
        OptimiserConfig(**options)
