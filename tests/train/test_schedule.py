"""Learning rates and prefactors against values computed with DeePMD-kit 3.2.0."""

import math

import pytest

from dpbench.errors import ConfigError
from dpbench.train.config import OptimiserConfig, TrainConfig, settled
from dpbench.train.schedule import LearningRateConfig, LossConfig, Schedule

EXACT = 1e-12


def schedule(steps: int, **kwargs: object) -> Schedule:
    config = LearningRateConfig(**({"start_lr": 1e-3, "smooth": False} | kwargs))
    loss = LossConfig(
        course="held",
        start_pref_e=0.02,
        limit_pref_e=1.0,
        start_pref_f=1000.0,
        limit_pref_f=1.0,
        start_pref_v=0.0,
        limit_pref_v=0.0,
    )
    return Schedule(config, loss, steps=steps)


@pytest.mark.parametrize(
    ("steps", "options", "expected"),
    [
        (
            1_000_000,
            {"stop_lr": 3.51e-8, "decay_steps": 5000},
            {
                0: 0.001,
                1: 0.001,
                100_000: 0.0003585343015561633,
                333_333: 3.388061994617318e-05,
                999_999: 3.6947119128759015e-08,
            },
        ),
        (  # decay_steps does not fit: replaced by 100
            2000,
            {"stop_lr": 1e-5, "decay_steps": 5000},
            {
                0: 0.001,
                200: 0.0006309573444801933,
                666: 0.000251188643150958,
                1999: 1.2589254117941668e-05,
            },
        ),
        (  # decay_steps does not fit a short run: replaced by 400 // 100 + 1
            400,
            {"stop_lr": 1e-5, "decay_steps": 5000},
            {
                40: 0.0006309573444801933,
                133: 0.000223872113856834,
                399: 1.0592537251772897e-05,
            },
        ),
        (
            500,
            {
                "stop_lr": 1e-5,
                "decay_steps": 50,
                "warmup_steps": 100,
                "warmup_start_factor": 0.1,
            },
            {
                0: 0.0001,
                1: 0.000109,
                50: 0.00055,
                166: 0.0005623413251903491,
                499: 1.7782794100389226e-05,
            },
        ),
        (
            1000,
            {"stop_lr_ratio": 1e-2, "decay_steps": 500, "smooth": True},
            {
                1: 0.000995405417351527,
                333: 0.00021577444091526666,
                999: 1.0046157902783956e-05,
            },
        ),
        (
            1000,
            {"type": "cosine", "stop_lr": 1e-5, "warmup_steps": 100},
            {
                0: 0.0,
                50: 0.0005,
                100: 0.001,
                333: 0.0008451083178481894,
                999: 1.0003015709393756e-05,
            },
        ),
        (
            1000,
            {
                "type": "wsd",
                "decay_type": "inverse_linear",
                "decay_phase_ratio": 0.3,
                "stop_lr": 1e-5,
                "warmup_steps": 100,
            },
            {
                700: 0.001,
                701: 0.0007518796992481203,
                850: 1.9801980198019806e-05,
                999: 1.0033109260559849e-05,
            },
        ),
        (
            1000,
            {
                "type": "wsd",
                "decay_type": "cosine",
                "decay_phase_ratio": 0.3,
                "stop_lr": 1e-5,
                "warmup_steps": 100,
            },
            {701: 0.0009999728588359286, 850: 0.000505, 999: 1.002714116407149e-05},
        ),
        (
            1000,
            {
                "type": "wsd",
                "decay_type": "linear",
                "decay_phase_ratio": 0.3,
                "stop_lr": 1e-5,
                "warmup_steps": 100,
            },
            {
                50: 0.0005,
                100: 0.001,
                699: 0.001,
                701: 0.0009967,
                850: 0.000505,
                999: 1.3299999999999944e-05,
            },
        ),
    ],
)
def test_learning_rate_is_that_of_deepmd_kit(steps, options, expected):
    rates = schedule(steps, **options)
    got = {step: rates.learning_rate(step) for step in expected}
    assert got == pytest.approx(expected, rel=EXACT)


def test_learning_rate_never_falls_below_its_end():
    rates = schedule(100, stop_lr=1e-5, decay_steps=7)
    assert all(rates.learning_rate(step) >= 1e-5 for step in range(150))


def test_prefactors_move_with_the_learning_rate():
    rates = schedule(2000, stop_lr=1e-5)
    assert rates.prefactors(0) == pytest.approx((0.02, 1000.0, 0.0), rel=EXACT)
    share = 1.2589254117941668e-05 / 1e-3
    expected = (1 - 0.98 * share, 1 + 999 * share, 0.0)
    assert rates.prefactors(1999) == pytest.approx(expected, rel=EXACT)


def test_geometric_prefactors_move_by_the_same_factor_each_step():
    config = LearningRateConfig(type="cosine", warmup_ratio=0.1)
    loss = LossConfig(
        course="geometric",
        start_pref_e=0.01,
        limit_pref_e=1.0,
        start_pref_f=100.0,
        limit_pref_f=100.0,
        start_pref_v=0.0,
        limit_pref_v=0.0,
    )
    rates = Schedule(config, loss, steps=100)
    assert rates.prefactors(0) == pytest.approx((0.01, 100.0, 0.0), rel=EXACT)
    assert rates.prefactors(50) == pytest.approx((0.1, 100.0, 0.0), rel=EXACT)
    assert rates.prefactors(100) == pytest.approx((1.0, 100.0, 0.0), rel=EXACT)


def test_an_open_course_is_geometric_unless_a_falling_prefactor_has_a_zero():
    falls = LearningRateConfig(type="cosine").suited("soap")
    stays = LearningRateConfig().suited("schedule-free")
    assert LossConfig().suited(falls).course == "geometric"
    assert LossConfig().suited(stays).course == "geometric"
    from_zero = LossConfig(start_pref_v=0.0)
    assert from_zero.suited(falls).course == "held"
    without = LossConfig(start_pref_v=0.0, limit_pref_v=0.0)
    assert without.suited(falls).course == "geometric"
    assert LossConfig(course="rate").suited(falls).course == "rate"
    with pytest.raises(ConfigError, match="cannot start or end at zero"):
        from_zero.suited(stays)


def test_a_geometric_course_from_zero_is_refused():
    with pytest.raises(ConfigError, match="cannot start or end at zero"):
        LossConfig(course="geometric", start_pref_v=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"start_lr": -1.0},
        {"decay_phase_ratio": 0.0},
        {"start_lr": math.inf},
        {"stop_lr": 1e-2},
        {"stop_lr": 1e-5, "stop_lr_ratio": 1e-2},
        {"decay_steps": 0},
        {"warmup_steps": 5, "warmup_ratio": 0.1},
        {"warmup_ratio": 1.0},
        {"warmup_start_factor": 2.0},
    ],
)
def test_contradicting_rates_are_refused(options):
    with pytest.raises(ConfigError):
        LearningRateConfig(**({"start_lr": 1e-3} | options))


def test_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ConfigError, match="warm-up of 100 steps"):
        schedule(100, warmup_steps=100)


def test_a_loss_of_nothing_is_refused():
    zero = {f"{a}_pref_{b}": 0.0 for a in ("start", "limit") for b in "efv"}
    with pytest.raises(ConfigError, match="all prefactors are zero"):
        LossConfig(**zero)
    with pytest.raises(ConfigError, match="start_pref_e"):
        LossConfig(start_pref_e=-1.0)


def warmed(course: str, **options: object) -> Schedule:
    rate = LearningRateConfig(**({"type": "cosine", "warmup_steps": 20} | options))
    return Schedule(rate, LossConfig(course=course), steps=120)


def test_prefactors_are_held_while_the_rate_warms_up():
    held, plain = warmed("held"), warmed("rate")
    start, limit = (1.0, 1000.0, 1.0), (1000.0, 100.0, 3.0)
    for step in (0, 7, 19, 20):
        assert held.prefactors(step) == pytest.approx(start, rel=EXACT)
    for step in (20, 60, 119):
        assert held.prefactors(step) == plain.prefactors(step)
    # DeePMD-kit 3.2: limit + (start - limit) * lr / start_lr, and lr(0) is zero.
    assert plain.prefactors(0) == pytest.approx(limit, rel=EXACT)
    middle = [(a + b) / 2 for a, b in zip(start, limit, strict=True)]
    assert plain.prefactors(10) == pytest.approx(middle, rel=EXACT)


@pytest.mark.parametrize(
    "optimiser", ["adam", "soap", "muon", "schedule-free", "kalman"]
)
def test_prefactors_reach_their_end_with_every_optimiser(optimiser):
    config = settled(TrainConfig(optimiser=OptimiserConfig(type=optimiser)))
    assert config.loss.course == "geometric"
    course = Schedule(config.learning_rate, config.loss, steps=1000)
    assert course.prefactors(0) == pytest.approx((1.0, 1000.0, 1.0), rel=EXACT)
    assert course.prefactors(999) == pytest.approx((1000.0, 100.0, 3.0), rel=0.06)


def test_fine_tuning_starts_at_a_tenth_of_the_rate_unless_one_is_stated():
    new, tuned = (settled(TrainConfig(), is_fine_tuning=i) for i in (False, True))
    rates = tuned.learning_rate.first_lr, new.learning_rate.first_lr
    assert rates[0] == pytest.approx(rates[1] / 10)
    stated = TrainConfig(learning_rate=LearningRateConfig(start_lr=3e-3))
    assert settled(stated, is_fine_tuning=True).learning_rate.first_lr == 3e-3


@pytest.mark.parametrize(
    ("steps", "rate"), [(None, 1e-2), (0, 1e-2), (2500, 1e-2), (10_000, 5e-3)]
)
def test_long_runs_of_soap_start_lower_unless_a_rate_is_stated(steps, rate):
    found = settled(TrainConfig(), steps=steps).learning_rate
    assert found.first_lr == pytest.approx(rate, rel=EXACT)
    assert found.final_lr == pytest.approx(1e-3 * rate, rel=EXACT)
    tuned = settled(TrainConfig(), is_fine_tuning=True, steps=steps).learning_rate
    assert tuned.first_lr == pytest.approx(rate / 10, rel=EXACT)
    stated = TrainConfig(learning_rate=LearningRateConfig(start_lr=3e-3))
    assert settled(stated, steps=steps).learning_rate.first_lr == 3e-3
    adam = TrainConfig(optimiser=OptimiserConfig(type="adam"))
    assert settled(adam, steps=steps).learning_rate.first_lr == 2e-3


def test_a_stated_course_stays():
    for course in ("rate", "held", "geometric"):
        config = TrainConfig(
            optimiser=OptimiserConfig(type="kalman"), loss=LossConfig(course=course)
        )
        assert settled(config).loss.course == course


def test_a_rate_that_stays_wants_no_zero_prefactor():
    config = TrainConfig(
        optimiser=OptimiserConfig(type="schedule-free"),
        loss=LossConfig(start_pref_v=0.0),
    )
    with pytest.raises(ConfigError, match="course = 'held'"):
        settled(config)
