"""Rankings in the hands of a real Tuner."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search.basic_variant import BasicVariantGenerator

from raytt.adapters.optuna.searcher import PredictedOptunaSearch, _value
from raytt.adapters.tune.searcher import RankedSearcher, points_to_evaluate
from raytt.adapters.tune.stopper import SlowTrialStopper
from raytt.errors import InputError
from raytt.forecast.forecast import Forecast, Status
from raytt.results.ranking import Provenance
from raytt.task.candidate import Candidate
from tests.adapters.tune.test_searcher import ranked
from tests.support.fakes import example_ranking

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Tune's and Optuna's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

NESTED = {
    "lr": tune.grid_search([0.01, 0.1]),
    "optimizer": {"optimizer": "sgd", "momentum": tune.choice([0.0, 0.9])},
    "batch_size": 8,
}


def _train(config: dict[str, Any]) -> None:
    """Gradient descent on ½ rate w², reported every ten steps; loss 0.1 after about 11.5/lr steps."""
    lr = config["lr"] * (0.1 if config.get("lr") == 0.05 else 1.0)
    weight, step = 1.0, 0
    while step < 5000:
        for _ in range(10):
            weight *= 1.0 - 0.1 * lr
            step += 1
        tune.report({"step": step, "loss": weight**2, "config_seen": config})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Tuner's settings that keep to the temporary directory and the screen clean."""
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    return {"storage_path": str(tmp_path / "results"), "verbose": 0}


@pytest.mark.slow
def test_a_tuner_tries_the_best_first_and_ends_the_slow(settings: dict[str, Any]) -> None:
    def forecast(lr: float) -> Forecast:
        steps = math.log(0.1) / (2 * math.log(1.0 - 0.1 * lr))
        return Forecast(status=Status.REACHED, steps=steps, low=0.9 * steps, high=1.1 * steps, shortfall=0.0)

    # The trial at 0.05 is ten times slower than predicted.
    candidates = [Candidate(lr=lr, batch_size=8) for lr in (0.02, 0.05, 0.2, 0.1)]
    ranking = example_ranking([(c, forecast(c.lr)) for c in candidates], provenance=Provenance(initial_loss=1.0))
    tuner = tune.Tuner(
        _train,
        tune_config=tune.TuneConfig(
            search_alg=RankedSearcher(ranking, top=3),
            num_samples=10,
            max_concurrent_trials=1,
            metric="loss",
            mode="min",
        ),
        run_config=tune.RunConfig(stop=SlowTrialStopper(ranking, metric="loss"), **settings),
    )
    results = {r.config["lr"]: r.metrics for r in tuner.fit()}
    assert list(results) == [0.2, 0.1, 0.05]
    for lr in (0.2, 0.1):
        assert results[lr]["loss"] <= 0.1
        assert results[lr]["step"] == math.ceil(forecast(lr).steps / 10) * 10
    limit = 1.5 * 1.1 * forecast(0.05).steps
    assert results[0.05]["loss"] > 0.1
    assert limit <= results[0.05]["step"] < limit + 10


@pytest.mark.slow
def test_points_and_searcher_meet_a_nested_space(settings: dict[str, Any]) -> None:
    ranking = ranked(NESTED, count=4)
    points = points_to_evaluate(ranking, NESTED, top=2)
    seen = []
    for search, space in (
        (
            BasicVariantGenerator(points_to_evaluate=points),
            {k: v for k, v in NESTED.items() if k != "lr"} | {"lr": 1.0},
        ),
        (RankedSearcher(ranking, NESTED, top=2), NESTED),
    ):
        tuner = tune.Tuner(
            _train,
            param_space=space,
            tune_config=tune.TuneConfig(search_alg=search, num_samples=2, max_concurrent_trials=1),
            run_config=tune.RunConfig(stop={"step": 10}, **settings),
        )
        seen.append([r.metrics["config_seen"] for r in tuner.fit()])
    assert seen == [points, points]


@pytest.mark.slow
def test_optuna_begins_with_the_best_and_knows_the_predictions(settings: dict[str, Any]) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {"lr": tune.loguniform(0.01, 0.5), "optimizer": {"momentum": tune.choice([0.0, 0.9])}, "batch_size": 8}
    ranking = ranked(space, count=20)
    search = PredictedOptunaSearch(ranking, space, metric="step", mode="min", top=2, metric_is="steps", seed=0)
    tuner = tune.Tuner(
        _train,
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=search, num_samples=4, max_concurrent_trials=1),
        run_config=tune.RunConfig(stop=SlowTrialStopper(ranking, metric="loss"), **settings),
    )
    results = [r.metrics["config_seen"] for r in tuner.fit()]
    assert results[:2] == points_to_evaluate(ranking, space, top=2)
    assert len(results) == 4
    assert all(config["batch_size"] == 8 and 0.01 <= config["lr"] <= 0.5 for config in results)
    told = {trial.params["lr"]: trial.value for trial in search._ot_study.trials}
    predicted = {e.candidate.lr: e.forecast.steps for e in ranking.entries[2:]}
    assert told.items() >= predicted.items()
    # Fewer steps are predicted at larger rates, and Optuna looks there.
    assert min(config["lr"] for config in results) > 0.1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": tune.grid_search([0.1, 0.2])}, "'lr' is a grid"),
        ({"lr": 0.1, "more": {"momentum": tune.grid_search([0.1])}}, "'more/momentum' is a grid"),
        ({"lr": tune.sample_from(lambda _: 0.1)}, "cannot draw 'lr'"),
        ({"lr": tune.uniform(0.1, 0.2), "schedule": tune.choice([{"schedule": "cosine"}])}, "cannot draw 'schedule'"),
    ],
)
def test_spaces_that_optuna_cannot_draw_are_refused(space: dict[str, Any], message: str) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match=message):
        PredictedOptunaSearch(ranked(space), space, metric="loss")


def test_costs_that_are_told(settings: dict[str, Any]) -> None:
    ranking = example_ranking(provenance=Provenance(usd_per_hour=3.6))
    best, last = ranking.entries[0], ranking.entries[-1]
    assert best.forecast.steps is not None
    assert _value(best, "steps", ranking) == best.forecast.steps
    assert _value(best, "seconds", ranking) == best.seconds
    assert _value(best, "usd", ranking) == pytest.approx((best.seconds or 0.0) * 0.001)
    assert _value(last, "steps", ranking) == 1500
    assert _value(last, "seconds", ranking) == last.budget_seconds
    with pytest.raises(InputError, match="knows no price"):
        _value(best, "usd", example_ranking(provenance=Provenance()))
