from __future__ import annotations

from typing import Any

import pytest

from raytt.adapters.tune.stopper import LEARN_FROM, SlowTrialStopper
from raytt.errors import InputError
from raytt.forecast.forecast import Forecast, Status
from raytt.results.ranking import Provenance, Ranking
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from tests.support.fakes import example_ranking

KNOWN = Provenance(initial_loss=2.0)
SLOW, MISSED = {"lr": 0.03}, {"lr": 0.0001}


def ranking(**changes: Any) -> Ranking:
    """Candidate SLOW is predicted to take 100 steps, at most 120; MISSED runs out of its budget of 1,500."""
    return example_ranking(**{"provenance": KNOWN, **changes})


def report(config: dict[str, Any], step: float, loss: float = 1.0) -> dict[str, Any]:
    return {"config": config, "step": step, "loss": loss}


def test_a_trial_ends_when_clearly_slower_than_predicted() -> None:
    stopper = SlowTrialStopper(ranking(), metric="loss")
    assert not stopper("t", report(SLOW, 100))
    assert not stopper("t", report(SLOW, 179))
    assert stopper("t", report(SLOW, 180))
    assert not stopper.stop_all()


def test_slack_is_the_users() -> None:
    stopper = SlowTrialStopper(ranking(), metric="loss", slack=1.0)
    assert not stopper("t", report(SLOW, 119))
    assert stopper("t", report(SLOW, 120))


def test_without_an_upper_end_the_steps_count() -> None:
    config = {"lr": 0.01, "momentum": 0.9, "nesterov": True}
    stopper = SlowTrialStopper(ranking(), metric="loss", slack=2.0)
    assert not stopper("t", report(config, 160))
    assert stopper("t", report(config, 161))


def test_who_is_not_predicted_to_reach_has_its_budget() -> None:
    stopper = SlowTrialStopper(ranking(), metric="loss")
    assert not stopper("t", report(MISSED, 1499))
    assert stopper("t", report(MISSED, 1500))


def test_a_trial_ends_at_the_target() -> None:
    # A tenth of the initial loss of 2.
    stopper = SlowTrialStopper(ranking(), metric="loss")
    assert not stopper("t", report(SLOW, 10, loss=0.21))
    assert stopper("t", report(SLOW, 10, loss=0.2))


@pytest.mark.parametrize(
    ("target", "settings", "open_value", "reached"),
    [
        (Target(kind="loss", value=0.5), {}, 0.6, 0.5),
        (Target(kind="val_loss", value=0.5), {}, 0.6, 0.5),
        (Target(kind="accuracy", value=0.9), {}, 0.8, 0.9),
        (Target(kind="val_accuracy", value=0.9), {}, 0.8, 0.95),
        (Target(kind="plateau", value=0.01, patience=3), {"threshold": 0.7}, 0.8, 0.7),
        (Target(kind="loss", value=0.5), {"threshold": 3.0, "mode": "max"}, 2.0, 3.0),
    ],
)
def test_what_reaches_follows_from_the_target(
    target: Target, settings: dict[str, Any], open_value: float, reached: float
) -> None:
    stopper = SlowTrialStopper(ranking(target=target), metric="loss", **settings)
    assert not stopper("t", report(SLOW, 1, loss=open_value))
    assert stopper("t", report(SLOW, 1, loss=reached))


def test_real_speeds_correct_predicted_ones() -> None:
    """Where training is four times faster than predicted throughout, a trial that is not is slow."""
    forecasts = [
        (Candidate(lr=lr), Forecast(status=Status.REACHED, steps=100.0 * i, low=90.0, high=100.0 * i))
        for i, lr in enumerate((0.1, 0.2, 0.3, 0.4), start=1)
    ]
    stopper = SlowTrialStopper(ranking(examples=forecasts), metric="loss", slack=1.5)
    *fast, slow = stopper._entries.values()
    assert stopper.limit(slow) == 1.5 * 400
    assert LEARN_FROM == len(fast) == 3
    for entry, share in zip(fast, (0.20, 0.25, 0.22), strict=True):
        assert stopper.limit(slow) == 1.5 * 400
        assert stopper("t", report({"lr": entry.candidate.lr}, share * entry.forecast.steps, loss=0.0))
    assert stopper.limit(slow) == pytest.approx(1.5 * 400 * 0.25)


@pytest.mark.parametrize(
    "config",
    [
        {"lr": 0.03, "data_dir": "/data", "model": {"depth": 3}},
        {"lr": 0.03, "optimizer": {"optimizer": "sgd", "momentum": None}},
    ],
)
def test_configurations_are_known_in_any_dress(config: dict[str, Any]) -> None:
    assert SlowTrialStopper(ranking(), metric="loss")("t", report(config, 200))


@pytest.mark.parametrize("config", [{}, {"lr": 0.77}, {"lr": -1.0}, {"momentum": 0.9}])
def test_trials_that_were_not_ranked_are_left_alone(config: dict[str, Any]) -> None:
    stopper = SlowTrialStopper(ranking(), metric="loss")
    assert not stopper("t", report(config, 1e9))
    assert stopper("t", report(config, 1e9, loss=0.1))


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"Trial t reports no 'acc', but config, loss, step"):
        SlowTrialStopper(ranking(), metric="acc")("t", report(SLOW, 1))
    with pytest.raises(InputError, match=r"slack is 0\.5"):
        SlowTrialStopper(ranking(), metric="loss", slack=0.5)
    for changes in ({"provenance": Provenance()}, {"target": Target(kind="plateau", value=0.1, patience=2)}):
        with pytest.raises(InputError, match="Give a threshold"):
            SlowTrialStopper(ranking(**changes), metric="loss")
