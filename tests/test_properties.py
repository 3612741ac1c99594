"""Properties that must hold for any input."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytt.dynamics.curves import Curves
from raytt.dynamics.kernel.gram import assemble, gram_tile
from raytt.forecast.forecast import Forecast, Status, forecast
from raytt.pricing.quote import quote
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Ranking
from raytt.task.candidate import Candidate
from raytt.task.optimizers import OPTIMIZERS
from raytt.task.target import KINDS, Target
from tests.support.fakes import STEP_TIMES, example_ranking

# What is checked is the result, not how fast it comes; a test that passes keeps passing.
settings.register_profile(
    "raytt", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("raytt")

positive = st.floats(1e-6, 1e6)


CANDIDATE = Candidate(lr=0.1, batch_size=8)


@st.composite
def candidates(draw: st.DrawFn, batch_sizes: tuple[int, ...] = (8, 32, 64)) -> Candidate:
    optimizer = draw(st.sampled_from(OPTIMIZERS.names()))
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9])) if optimizer in ("sgd", "rmsprop") else 0.0
    schedule = draw(st.sampled_from(["constant", "cosine", "linear", "step"]))
    max_steps = draw(st.none() | st.integers(1, 10_000))
    warmup = draw(st.fixed_dictionaries({"warmup_steps": st.integers(0, 50)}) | st.just({"warmup_ratio": 0.1}))
    return Candidate(
        optimizer=optimizer,
        lr=draw(positive),
        momentum=momentum,
        nesterov=optimizer == "sgd" and momentum > 0 and draw(st.booleans()),
        betas=(draw(st.sampled_from([0.8, 0.9])), draw(st.sampled_from([0.9, 0.999]))),
        weight_decay=draw(st.sampled_from([0.0, 1e-4])),
        batch_size=draw(st.sampled_from(batch_sizes)),
        schedule=schedule,
        **warmup,
        step_size=draw(st.integers(1, 100)) if schedule == "step" else 0,
        gamma=draw(st.floats(0.0, 1.0)),
        max_steps=max_steps,
        max_epochs=draw(st.none() | positive) if max_steps is None else None,
    )


@st.composite
def forecasts(draw: st.DrawFn) -> Forecast:
    status = draw(st.sampled_from(list(Status)))
    if status not in (Status.REACHED, Status.UNTRUSTED):
        return Forecast(status=status, steps=None, shortfall=draw(st.none() | st.floats(0.0, 100.0)))
    low, steps, high = sorted(draw(st.tuples(*[st.floats(0.0, 1e9)] * 3)))
    interval = draw(st.sampled_from([(low, high), (low, None), (None, None)]))
    return Forecast(status=status, steps=steps, low=interval[0], high=interval[1], shortfall=0.0)


@st.composite
def curves(draw: st.DrawFn) -> Curves:
    """Any curves of one candidate, diverging paths among them."""
    num_paths, num_records = draw(st.integers(1, 6)), draw(st.integers(2, 8))
    gaps = draw(arrays(np.int64, num_records - 1, elements=st.integers(1, 50)))
    losses = [draw(arrays(np.float64, (1, num_paths, num_records), elements=st.floats(0.0, 1e9))) for _ in range(3)]
    gone = draw(arrays(np.int64, num_paths, elements=st.integers(1, 2 * num_records)))
    past = np.arange(num_records) >= gone[:, None]
    # Finite and equal initial losses, as the paths of one network have them.
    for loss in losses:
        loss[..., 0] = np.clip(loss[0, 0, 0], 1e-3, 1e3)
    accuracy = draw(arrays(np.float64, (1, num_paths, num_records), elements=st.floats(0.0, 1.0)))
    return Curves(
        steps=np.concatenate([[0], np.cumsum(gaps)]).astype(np.float64),
        train_loss=np.where(past, np.inf, losses[0]),
        train_loss_resampled=np.where(past, np.inf, losses[1]),
        train_accuracy=np.where(past, 0.0, accuracy),
        val_loss=np.where(past, np.inf, losses[2]),
        val_accuracy=np.where(past, 0.0, accuracy[..., ::-1]),
        steps_done=np.array([gaps.sum()]),
    )


targets = st.builds(
    Target, kind=st.sampled_from(KINDS.names()), value=st.floats(0.01, 0.99), patience=st.floats(0.1, 5.0)
)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 6)),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    st.integers(1, 4),
)
def test_gram_is_positive_semidefinite_and_does_not_depend_on_the_cut(rows: Any, block: int) -> None:
    blocks = [rows[i : i + block] for i in range(0, len(rows), block)]
    tiles = {(i, j): gram_tile(a, b) for i, a in enumerate(blocks) for j, b in enumerate(blocks) if i <= j}
    gram = assemble(tiles, [b.shape[0] * b.shape[1] for b in blocks])
    assert np.array_equal(gram, gram.T)
    # Products of float32 are exact in float64; sums of at most 6 of them and the eigenvalue solver round.
    scale = max(np.trace(gram), 1e-30)
    assert np.linalg.eigvalsh(gram).min() >= -1e-13 * scale
    flat = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    np.testing.assert_allclose(gram, np.einsum("ir,jr->ij", flat, flat), atol=1e-14 * scale)


@given(
    st.lists(st.tuples(candidates(), forecasts()), min_size=1, max_size=8, unique_by=lambda pair: pair[0]), st.randoms()
)
def test_ranking_does_not_depend_on_the_order_of_candidates(pairs: Any, shuffler: random.Random) -> None:
    def rank(order: list[Any]) -> Any:
        return rank_candidates(
            [c for c, _ in order],
            [f for _, f in order],
            budgets=[1000] * len(order),
            step_times=STEP_TIMES,
            num_samples_full=500,
            usd_per_hour=1.0,
        )

    shuffled = shuffler.sample(pairs, len(pairs))
    entries = rank(pairs)
    assert entries == rank(shuffled)
    # Trusted first, each group by cost, those without a cost last.
    costs = [(entry.forecast.status is Status.UNTRUSTED, entry.usd) for entry in entries if entry.usd is not None]
    assert costs == sorted(costs)
    assert len(costs) == sum(entry.forecast.reaches for entry in entries[: len(costs)])


@given(st.floats(0, 1e9), positive, st.floats(0, 1e6), st.floats(0, 1e6))
def test_cost_rises_with_the_price(steps: float, seconds_per_step: float, one: float, two: float) -> None:
    low, high = sorted([one, two])
    cheap, dear = (quote(steps, seconds_per_step=seconds_per_step, usd_per_hour=p).usd for p in (low, high))
    assert cheap is not None
    assert dear is not None
    assert 0.0 <= cheap <= dear
    assert math.isclose(dear, steps * seconds_per_step / 3600 * high, rel_tol=1e-12)


@given(
    st.tuples(*[st.floats(0, 1e9)] * 3).map(sorted),
    st.tuples(*[st.floats(1e-6, 1e4)] * 3).map(sorted),
)
def test_interval_of_a_quote_holds_its_seconds_and_both_intervals(steps: Any, seconds: Any) -> None:
    found = quote(
        steps[1],
        seconds_per_step=seconds[1],
        steps_interval=(steps[0], steps[2]),
        seconds_per_step_interval=(seconds[0], seconds[2]),
    )
    assert found.low is not None
    assert found.high is not None
    # Rounding of exp and ln: relative 1e-15 × ln(1e18).
    assert found.low <= min(steps[0] * seconds[1], steps[1] * seconds[0]) * (1 + 1e-12)
    assert found.high >= max(steps[2] * seconds[1], steps[1] * seconds[2]) * (1 - 1e-12)


@given(
    st.lists(st.tuples(candidates(), forecasts()), max_size=5),
    st.none() | st.floats(0, 1e6),
    st.dictionaries(st.text(max_size=5), st.floats(0, 1e6)),
    targets,
    st.lists(st.text()),
)
def test_json_is_strict_and_read_back_the_same(pairs: Any, price: Any, phases: Any, target: Target, notes: Any) -> None:
    ranking = example_ranking(pairs, usd_per_hour=price, phases=phases, target=target, notes=tuple(notes))
    text = json.dumps(ranking.to_json(), allow_nan=False)
    assert Ranking.from_json(json.loads(text)) == ranking


@given(curves(), targets, st.integers(1, 400), st.integers(1, 100), st.none() | st.booleans())
def test_any_curves_give_a_valid_forecast(
    given_curves: Curves, target: Target, budget: int, num_samples: int, full_batch: bool | None
) -> None:
    found = forecast(
        given_curves,
        0,
        target=target,
        budget=budget,
        num_samples=num_samples,
        num_samples_full=100,
        candidate=CANDIDATE,
        full_batch_reaches=full_batch,
    )
    numbers = [found.low, found.steps, found.high, found.shortfall, found.accuracy, found.val_accuracy]
    assert all(n is None or (math.isfinite(n) and n >= 0) for n in numbers)
    if found.reaches:
        assert found.steps is not None
        assert found.steps <= budget
        assert found.low is None or found.low <= found.steps
        assert found.high is None or found.high >= found.steps
        assert found.status in (Status.REACHED, Status.UNTRUSTED)
    else:
        assert found.low is None
        assert found.high is None


@given(curves(), targets, st.integers(1, 400))
def test_stricter_targets_take_no_fewer_steps(given_curves: Curves, target: Target, budget: int) -> None:
    if target.settles:
        return
    loose = target.value / 1.5 if target.on_accuracy else target.value * 1.5
    easy = replace(target, value=min(loose, 0.995))

    def steps(wanted: Target) -> float:
        found = forecast(
            given_curves, 0, target=wanted, budget=budget, num_samples=100, num_samples_full=100, candidate=CANDIDATE
        )
        return math.inf if found.steps is None else found.steps

    assert steps(easy) <= steps(target) * (1 + 1e-12) + 1e-9


@given(candidates())
def test_configuration_and_back(candidate: Candidate) -> None:
    assert Candidate.from_config(candidate.config()) == candidate
    assert Candidate.from_config(json.loads(json.dumps(candidate.config()))) == candidate


@given(candidates(), candidates())
def test_sort_key_tells_candidates_apart(one: Candidate, two: Candidate) -> None:
    assert (one.sort_key() == two.sort_key()) == (one == two)


@given(candidates(), st.integers(1, 300))
def test_lr_factors_lie_between_zero_and_one(candidate: Candidate, steps: int) -> None:
    factors = candidate.lr_factors(steps)
    assert factors.shape == (steps,)
    assert bool(((factors >= 0) & (factors <= 1)).all())
    assert factors[0] > 0


@given(targets)
def test_target_as_text_and_back(target: Target) -> None:
    assert Target.parse(str(target)) == target
