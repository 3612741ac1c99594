from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raytt.errors import InputError
from raytt.forecast.forecast import Forecast, Status, forecast, needs_full_batch, reaches
from raytt.forecast.trust import PathTrust
from raytt.task.candidate import Candidate
from raytt.task.target import KINDS, Target, TargetKind
from tests.support.fakes import Curve, curves_of

BUDGET = 400
GRID = np.array([0, 1, 2, 5, 10, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400])


def decay(rate: float, floor: float = 0.0, start: float = 2.0) -> Curve:
    return lambda t: floor + (start - floor) * np.exp(-rate * t)


def predict(curves: Any, target: str | float = 0.1, **changes: Any) -> Forecast:
    batch_size = changes.pop("batch_size", 10)
    candidate = Candidate(lr=0.1, batch_size=batch_size)
    settings = {"budget": BUDGET, "num_samples": 100, "num_samples_full": 100, "candidate": candidate, **changes}
    return forecast(curves, 0, target=Target.parse(target), **settings)


def wants_full_batch(
    curves: Any, target: str | float = 0.1, candidate: Candidate | None = None, **changes: Any
) -> bool:
    settings = {"budget": BUDGET, "num_samples": 100, "num_samples_full": 100, **changes}
    candidate = candidate or Candidate(lr=0.1, batch_size=10)
    return needs_full_batch(curves, 0, target=Target.parse(target), candidate=candidate, **settings)


# Crossing


def test_exponential_crossing_is_exact_between_records() -> None:
    found = predict(curves_of([decay(0.02)], steps=GRID))
    # ln 10 / 0.02 = 115.13, between the records at 100 and 130; exact because interpolation is log-linear.
    assert found.status is Status.REACHED
    assert found.steps == pytest.approx(np.log(10) / 0.02, rel=1e-12)


@pytest.mark.parametrize(
    ("target", "crossing"),
    [
        ("loss=0.5", np.log(4) / 0.02),
        ("val_loss=0.5", np.log(6) / 0.02),
        ("accuracy=0.6", 150.0),
        ("val_accuracy=0.3", 150.0),
    ],
)
def test_every_kind_reads_its_own_curve(target: str, crossing: float) -> None:
    curves = curves_of(
        [decay(0.02)],
        steps=GRID,
        accuracy=[lambda t: t / 250],
        val_loss=[decay(0.02, start=3.0)],
        val_accuracy=[lambda t: t / 500],
    )
    # Accuracies are compared with a rounding allowance of 1e-6, here 0.0005 steps.
    assert predict(curves, target).steps == pytest.approx(crossing, rel=1e-5)


def test_accuracy_in_single_precision_meets_its_target() -> None:
    curves = curves_of([decay(0.02)], steps=GRID, accuracy=[lambda t: np.float32(0.95) * (t >= 60)])
    assert predict(curves, "accuracy=0.95").steps == pytest.approx(60.0, rel=1e-4)


def test_first_crossing_counts_even_if_the_curve_rises_again() -> None:
    curves = curves_of([lambda t: np.where(t == 60, 0.1, 1.0)], steps=GRID)
    found = predict(curves, "loss=0.2")
    assert found.steps is not None
    assert 40 < found.steps < 60


def test_target_met_at_the_start_takes_no_steps() -> None:
    found = predict(curves_of([decay(0.02), decay(0.03)], steps=GRID), "loss=5")
    assert (found.status, found.steps, found.low, found.high) == (Status.REACHED, 0.0, 0.0, 0.0)


def test_loss_of_exactly_zero_is_no_trouble() -> None:
    found = predict(curves_of([lambda t: np.where(t >= 60, 0.0, 1.0)], steps=GRID))
    assert found.steps is not None
    assert 40 <= found.steps <= 60


def test_crossing_after_the_budget_does_not_count() -> None:
    curves = curves_of([decay(0.02)], steps=GRID)
    assert predict(curves, budget=116).status is Status.REACHED
    assert predict(curves, budget=115).status is Status.NOT_REACHED


def test_budget_between_records_uses_the_value_at_the_last_simulated_step() -> None:
    # Records at 100 and 130, the simulation ends at 116: the record at 130 holds the value at 116, below the target.
    curves = curves_of([decay(0.02)], steps=GRID, steps_done=116)
    assert predict(curves, budget=116).steps == pytest.approx(np.log(10) / 0.02, rel=1e-12)
    assert predict(curves_of([decay(0.02)], steps=GRID, steps_done=115), budget=115).status is Status.NOT_REACHED


# Plateau


def naive_plateau(loss: Curve, fraction: float, window: float, end: float) -> float:
    """First step of a fine grid at which the loss fell by less than ``fraction`` of itself over the window."""
    for t in np.arange(window, end, 0.01):
        if loss(t - window) - loss(t) < fraction * loss(t - window):
            return float(t)
    return np.inf


@pytest.mark.parametrize("patience", [1.0, 2.5])
def test_plateau_against_a_naive_search(patience: float) -> None:
    loss = decay(0.02, floor=0.3)
    # Every step is a record: log-linear interpolation errs by at most (0.02)²/8 in ln loss, 0.1 steps here.
    curves = curves_of([loss], steps=np.arange(BUDGET + 1))
    found = predict(curves, f"plateau=0.05@{patience}")
    # One epoch is 100 samples in batches of 10: 10 steps.
    assert found.steps == pytest.approx(naive_plateau(loss, 0.05, 10 * patience, BUDGET), abs=0.2)


def test_plateau_between_sparse_records() -> None:
    log_loss = np.log(decay(0.03, floor=0.3)(GRID))
    curves = curves_of([lambda t: np.exp(np.interp(t, GRID, log_loss))], steps=GRID)
    found = predict(curves, "plateau=0.05@1.5")
    naive = naive_plateau(lambda t: np.exp(np.interp(t, GRID, log_loss)), 0.05, 15, BUDGET)
    # Exact on the interpolated curve, up to the spacing of the naive search. Records alone would give 130 or 160.
    assert found.steps == pytest.approx(naive, abs=0.02)
    assert naive not in GRID


def test_a_plateau_of_another_loss_reads_that_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS._entries, "val_plateau", TargetKind(curve="val_loss", settles=True))
    falling, settling = decay(0.02), decay(0.02, floor=0.3)
    curves = curves_of([falling], steps=np.arange(BUDGET + 1), val_loss=[settling])
    assert predict(curves, "val_plateau=0.05").steps == pytest.approx(
        naive_plateau(settling, 0.05, 10, BUDGET), abs=0.2
    )
    swapped = predict(curves_of([settling], steps=GRID, val_loss=[falling]), "val_plateau=0.1")
    assert swapped.shortfall == pytest.approx(np.log(0.9) + 0.2, rel=1e-9)
    with pytest.raises(InputError, match="there are no validation data"):
        predict(curves_of([settling], steps=GRID), "val_plateau=0.1")


def test_plateau_counts_epochs_of_the_whole_training_set() -> None:
    curves = curves_of([decay(0.02, floor=0.3)], steps=np.arange(BUDGET + 1))
    found = predict(curves, "plateau=0.05", num_samples_full=300)
    assert found.steps == pytest.approx(naive_plateau(decay(0.02, floor=0.3), 0.05, 30, BUDGET), abs=0.2)


def test_no_plateau_while_the_loss_falls() -> None:
    found = predict(curves_of([decay(0.02)], steps=GRID), "plateau=0.1")
    # Falls by 1 − e^−0.2 = 18 % per epoch of 10 steps, for ever; 10 % would do: short by ln 0.9 + 0.2.
    assert found.status is Status.NOT_REACHED
    assert found.shortfall == pytest.approx(np.log(0.9) + 0.2, rel=1e-9)


def test_rising_loss_is_no_plateau() -> None:
    found = predict(curves_of([lambda t: 1.0 + t / 400], steps=GRID), "plateau=0.1")
    assert found.status is Status.UNSTABLE


def test_plateau_of_a_path_that_diverges_later() -> None:
    curves = curves_of([lambda t: np.where(t > 200, np.inf, decay(0.05, floor=0.3)(t))], steps=np.arange(BUDGET + 1))
    assert predict(curves, "plateau=0.05").steps == pytest.approx(
        naive_plateau(decay(0.05, floor=0.3), 0.05, 10, BUDGET), abs=0.2
    )


def test_patience_beyond_the_budget_is_never_met() -> None:
    found = predict(curves_of([decay(0.1, floor=1.0)], steps=GRID), "plateau=0.1@41")
    assert found.status is Status.NOT_REACHED
    assert found.shortfall is None


# Median, interval, censoring


def test_interval_is_students_in_the_logarithm_of_steps() -> None:
    rates = np.array([0.015, 0.018, 0.02, 0.022, 0.03])
    found = predict(curves_of([decay(r) for r in rates], steps=GRID))
    x = np.log1p(np.log(10) / rates)
    half = stats.t.ppf(0.95, 4) * np.sqrt(1 + 1 / 5) * x.std(ddof=1)
    assert found.steps == pytest.approx(np.log(10) / 0.02)
    assert found.low == pytest.approx(np.expm1(x[2] - half))
    assert found.high == pytest.approx(np.expm1(x[2] + half))


def test_interval_covers_nine_runs_in_ten() -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        rates = 0.05 * np.exp(0.2 * rng.standard_normal(9))
        found = predict(curves_of([decay(r) for r in rates[:8]], steps=GRID))
        assert found.low is not None
        assert found.high is not None
        hits.append(found.low <= np.log(10) / rates[8] <= found.high)
    # Binomial standard deviation √(0.9 · 0.1 / 400) = 0.015; the median as centre costs a little coverage.
    assert 0.85 < np.mean(hits) < 0.95


def test_bootstrap_of_samples_widens_the_interval_of_a_subsample_only() -> None:
    paths = [decay(r) for r in (0.019, 0.02, 0.021)]
    resampled = [decay(r) for r in (0.017, 0.024, 0.022)]
    curves = curves_of(paths, steps=GRID, resampled=resampled)
    whole = predict(curves)
    part = predict(curves, num_samples_full=200)
    assert whole.steps == part.steps
    x, y = (np.log1p(np.log(10) / np.array(r)) for r in ((0.019, 0.02, 0.021), (0.017, 0.024, 0.022)))
    variance = (1 + 1 / 3) * x.var(ddof=1) + 0.5 * np.mean((y - x) ** 2)
    half = stats.t.ppf(0.95, 2) * np.sqrt(variance)
    assert part.high == pytest.approx(np.expm1(x[1] + half))
    assert whole == predict(curves_of(paths, steps=GRID))


def test_paths_that_never_reach_leave_the_interval_open() -> None:
    stuck = decay(0.02, floor=1.0)
    found = predict(curves_of([decay(0.02), decay(0.021), decay(0.019), stuck], steps=GRID))
    # The median counts the stuck path as +∞: between the second and the third of the four.
    assert found.steps == pytest.approx(np.log(10) / 2 * (1 / 0.02 + 1 / 0.019))
    assert found.low is not None
    assert found.high is None
    assert found.status is Status.REACHED


def test_half_of_the_paths_are_not_enough() -> None:
    stuck = decay(0.02, floor=1.0)
    found = predict(curves_of([decay(0.02), decay(0.03), stuck, stuck], steps=GRID))
    assert (found.status, found.steps, found.low, found.high) == (Status.NOT_REACHED, None, None, None)


def test_resample_that_never_reaches_leaves_the_interval_of_a_subsample_open() -> None:
    paths = [decay(0.02)] * 3
    curves = curves_of(paths, steps=GRID, resampled=[decay(0.02), decay(0.02), decay(0.02, floor=1.0)])
    assert predict(curves, num_samples_full=200).high is None
    assert predict(curves).high is not None


def test_one_path_has_no_interval() -> None:
    found = predict(curves_of([decay(0.02)], steps=GRID))
    assert (found.low, found.high) == (None, None)


def test_accuracies_at_the_target_are_those_of_each_path_at_its_own_crossing() -> None:
    curves = curves_of(
        [decay(0.02), decay(0.01)],
        steps=np.arange(BUDGET + 1),
        accuracy=[lambda t: t / 1000, lambda t: np.minimum(t, 120) / 400],
    )
    assert predict(curves).accuracy == pytest.approx((np.log(10) / 0.02 / 1000 + 0.3) / 2)
    # Not reached: at the end of the budget.
    assert predict(curves, 0.001).accuracy == pytest.approx((0.4 + 0.3) / 2)
    assert predict(curves).val_accuracy is None


# Statuses


def spike(t: np.ndarray) -> np.ndarray:
    return np.where((t > 5) & (t < 60), 1e5, decay(0.01)(t))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (lambda t: np.where(t > 50, np.inf, 2.0), Status.UNSTABLE),
        (lambda t: 2.0 + np.abs(np.sin(t)), Status.UNSTABLE),
        (lambda t: np.where(t == 0, 2.0, np.where(t < 375, 3.0, 1.0)), Status.UNSTABLE),
        (lambda t: np.where(t == 0, 2.0, np.where(t < 300, 3.0, 1.0)), Status.NOT_REACHED),
        (lambda t: np.where(spike(t) < 0.3, 0.3, spike(t)), Status.NOT_REACHED),
        (lambda t: np.where(t == 350, 50.0, 1.0), Status.NOT_REACHED),
        (decay(0.001), Status.NOT_REACHED),
        (decay(0.05, floor=1.0), Status.NOT_REACHED),
    ],
    ids=[
        "overflows",
        "ends above its start",
        "comes down at the very end",
        "comes down in time",
        "spikes and recovers",
        "spikes once late",
        "too slow",
        "flat",
    ],
)
def test_status_without_a_full_batch_run(path: Curve, status: Status) -> None:
    found = predict(curves_of([path] * 3, steps=GRID))
    assert found.status is status
    assert found.steps is None


def test_diverged_after_the_target_was_met_is_reached() -> None:
    curves = curves_of([lambda t: np.where(t > 200, np.inf, decay(0.02)(t))] * 3, steps=GRID)
    assert predict(curves).status is Status.REACHED


def test_early_end_of_the_simulation_because_all_diverged() -> None:
    curves = curves_of([lambda t: np.where(t > 5, np.inf, 2.0)] * 3, steps=GRID, steps_done=10)
    found = predict(curves)
    assert found.status is Status.UNSTABLE
    assert found.shortfall is None


def test_mostly_reaching_but_some_diverging() -> None:
    bad: Curve = lambda t: np.where(t > 5, np.inf, 2.0)  # noqa: E731
    assert predict(curves_of([decay(0.02)] * 3 + [bad], steps=GRID)).status is Status.REACHED
    assert predict(curves_of([decay(0.02)] * 2 + [bad] * 2, steps=GRID)).status is Status.UNSTABLE
    assert predict(curves_of([decay(0.001)] * 2 + [bad] * 2, steps=GRID)).status is Status.UNSTABLE
    assert predict(curves_of([decay(0.001)] * 3 + [bad], steps=GRID)).status is Status.NOT_REACHED


def test_noise_floor_needs_a_flat_curve_and_a_full_batch_that_arrives() -> None:
    flat = curves_of([decay(0.05, floor=1.0)] * 3, steps=GRID)
    assert wants_full_batch(flat)
    assert predict(flat, full_batch_reaches=True).status is Status.NOISE_FLOOR
    assert predict(flat, full_batch_reaches=False).status is Status.NOT_REACHED
    falling = curves_of([decay(0.004)] * 3, steps=GRID)
    assert not wants_full_batch(falling)
    assert predict(falling, full_batch_reaches=True).status is Status.NOT_REACHED


def test_pace_that_counts_as_flat() -> None:
    # A loss that falls by a factor e^−r per budget and ends at e² times the target needs 2 / r further budgets.
    def ends_at(rate: float) -> Any:
        return curves_of([lambda t: 0.2 * np.exp(2.0 + rate * (1.0 - t / BUDGET))] * 2, steps=GRID)

    assert not wants_full_batch(ends_at(0.6), "loss=0.2")  # 3.3 budgets
    assert wants_full_batch(ends_at(0.4), "loss=0.2")  # 5 budgets


def test_flat_accuracy_is_a_noise_floor_too() -> None:
    curves = curves_of([decay(0.05, floor=1.0)] * 2, steps=GRID, accuracy=[lambda t: np.minimum(t / 100, 0.8)] * 2)
    assert wants_full_batch(curves, "accuracy=0.95")
    found = predict(curves, "accuracy=0.95", full_batch_reaches=True)
    assert found.status is Status.NOISE_FLOOR
    assert found.shortfall == pytest.approx(0.15, abs=1e-5)


def test_curve_above_its_start_is_noise_if_the_full_batch_arrives() -> None:
    curves = curves_of([lambda t: 2.0 + np.minimum(t, 1.0)] * 3, steps=GRID)
    assert wants_full_batch(curves)
    assert predict(curves, full_batch_reaches=True).status is Status.NOISE_FLOOR
    assert predict(curves, full_batch_reaches=False).status is Status.UNSTABLE


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        (0.1, {"candidate": Candidate(lr=0.1, batch_size=10, schedule="cosine")}),
        (0.1, {"candidate": Candidate(lr=0.1, batch_size=10, schedule="linear")}),
        (0.1, {"candidate": Candidate(lr=0.1, batch_size=100)}),
        ("plateau=0.001", {}),
        (0.9, {}),
    ],
    ids=["cosine ends at 0", "linear ends at 0", "batch is everything", "plateau", "reached"],
)
def test_no_full_batch_run_where_noise_cannot_be_the_reason(target: str | float, changes: dict[str, Any]) -> None:
    assert not wants_full_batch(curves_of([decay(0.05, floor=1.0)] * 3, steps=GRID), target, **changes)


def test_no_full_batch_run_for_a_plateau_that_is_not_reached() -> None:
    assert not wants_full_batch(curves_of([decay(0.02)] * 3, steps=GRID), "plateau=0.1")


def test_no_full_batch_run_for_what_overflows() -> None:
    curves = curves_of([lambda t: np.where(t > 50, np.inf, 2.0)] * 3, steps=GRID)
    assert not wants_full_batch(curves)
    assert predict(curves, full_batch_reaches=True).status is Status.UNSTABLE


def test_reaches() -> None:
    curves = curves_of([decay(0.02)], steps=GRID)
    assert reaches(curves, 0, target=Target.parse(0.1), budget=116, steps_per_epoch=10.0)
    assert not reaches(curves, 0, target=Target.parse(0.1), budget=115, steps_per_epoch=10.0)


def test_untrusted_after_many_passes_over_a_subsample() -> None:
    curves = curves_of([decay(0.02)] * 2, steps=GRID)
    # 115.13 steps of 10 are 1,151.3 samples.
    assert predict(curves, num_samples=57, num_samples_full=1000).status is Status.UNTRUSTED
    assert predict(curves, num_samples=58, num_samples_full=1000).status is Status.REACHED
    assert predict(curves, num_samples=100, num_samples_full=100).status is Status.REACHED


@pytest.mark.parametrize(("height", "status"), [(3.9, Status.REACHED), (4.1, Status.UNTRUSTED)])
def test_untrusted_after_the_loss_rose_above_twice_its_start(height: float, status: Status) -> None:
    spiking: Curve = lambda t: np.where((t > 5) & (t < 60), height, decay(0.02)(t))  # noqa: E731
    assert predict(curves_of([spiking, spiking, decay(0.02)], steps=GRID)).status is status
    assert predict(curves_of([spiking, decay(0.02), decay(0.02)], steps=GRID)).status is Status.REACHED


def test_untrusted_near_the_edge_of_stability() -> None:
    curves = curves_of([decay(0.02)] * 2, steps=GRID)
    assert predict(curves, stability_share=0.19).status is Status.REACHED
    assert predict(curves, stability_share=0.21).status is Status.UNTRUSTED
    assert predict(curves_of([decay(0.0001)], steps=GRID), stability_share=0.21).status is Status.NOT_REACHED


def test_what_the_simulation_leaves_out_is_told_whatever_the_status() -> None:
    """AdamW's clipping is not simulated."""
    clipping = Candidate(optimizer="adamw", lr=0.1, batch_size=10, max_grad_norm=1.0)
    wild = PathTrust(sharpness=1e4, last_ratio=0.5, batch_size=10)
    for curve, trust, status in (
        (decay(0.02), None, Status.REACHED),
        (decay(0.0001), None, Status.NOT_REACHED),
        (decay(0.02), wild, Status.UNSTABLE),
    ):
        found = predict(curves_of([curve] * 2, steps=GRID), candidate=clipping, trust=trust)
        assert found.status is status
        assert "its max_grad_norm is left out of the simulation" in found.doubts[-1]
        plain = predict(
            curves_of([curve] * 2, steps=GRID), candidate=replace(clipping, max_grad_norm=None), trust=trust
        )
        assert plain == replace(found, doubts=found.doubts[:-1])


def test_rise_after_the_target_is_of_no_interest() -> None:
    later: Curve = lambda t: np.where(t > 200, 100.0, decay(0.02)(t))  # noqa: E731
    assert predict(curves_of([later] * 3, steps=GRID)).status is Status.REACHED


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_an_explanation(status: Status) -> None:
    assert status.explanation.endswith(".")


@pytest.mark.parametrize(
    "numbers",
    [
        {"status": Status.REACHED, "steps": None},
        {"status": Status.NOT_REACHED, "steps": 3.0},
        {"status": Status.UNSTABLE, "steps": None, "low": 1.0},
        {"status": Status.REACHED, "steps": 3.0, "low": 4.0, "high": 5.0},
        {"status": Status.REACHED, "steps": 3.0, "high": 5.0},
        {"status": Status.REACHED, "steps": float("inf")},
        {"status": Status.REACHED, "steps": -1.0},
    ],
)
def test_forecasts_that_contradict_themselves(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"status|interval"):
        Forecast(**numbers)
