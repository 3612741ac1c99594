from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search import Searcher

from raytt.adapters.tune.search_space import draw
from raytt.adapters.tune.searcher import RankedSearcher, points_to_evaluate
from raytt.errors import InputError
from raytt.forecast.forecast import Forecast, Status
from raytt.results.ranking import Provenance, Ranking
from raytt.task.candidate import Candidate
from tests.support.fakes import example_ranking

NESTED = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "batch_size": tune.grid_search([8, 32]),
    "optimizer": {"optimizer": "sgd", "momentum": tune.choice([None, 0.9])},
    "schedule": tune.choice([{"schedule": "constant"}, {"schedule": "step", "step_size": tune.randint(50, 60)}]),
    "nesterov": tune.sample_from(lambda spec: spec.config.optimizer.momentum is not None),
}


def ranked(space: Any, *, count: int = 6, seed: int = 3) -> Ranking:
    """A ranking in which a candidate takes the fewer steps the larger its learning rate."""
    examples = [
        (c, Forecast(status=Status.REACHED, steps=10.0 / c.lr, low=9.0 / c.lr, high=12.0 / c.lr, shortfall=0.0))
        for c in draw(space, num_candidates=count, seed=seed).candidates
    ]
    return example_ranking(examples, provenance=Provenance(seed=seed, initial_loss=1.0))


@pytest.mark.parametrize("count", [1, 5, 6, 40])
def test_points_look_as_the_search_space_writes_them(count: int) -> None:
    ranking = ranked(NESTED, count=count)
    points = points_to_evaluate(ranking, NESTED)
    assert [draw([p], num_candidates=1, seed=0).candidates[0] for p in points] == [e.candidate for e in ranking.entries]
    for point in points:
        assert set(point) == set(NESTED)
        assert set(point["optimizer"]) == {"optimizer", "momentum"}
        assert isinstance(point["schedule"], dict)


def test_the_best_come_first_and_may_be_all() -> None:
    ranking = ranked(NESTED)
    points = points_to_evaluate(ranking, NESTED, top=2)
    assert [p["lr"] for p in points] == [e.candidate.lr for e in ranking.entries[:2]]
    with pytest.raises(InputError, match="top is 0"):
        points_to_evaluate(ranking, NESTED, top=0)


def test_flat_points_without_a_search_space() -> None:
    points = points_to_evaluate(example_ranking())
    assert points[1] == {"optimizer": "sgd", "lr": 0.03, "batch_size": 32}
    assert points[0]["nesterov"] is True


def test_a_ranking_read_from_a_file_gives_the_same_points(tmp_path: Path) -> None:
    ranking = ranked(NESTED)
    ranking.save(tmp_path / "r.json")
    assert points_to_evaluate(Ranking.load(tmp_path / "r.json"), NESTED) == points_to_evaluate(ranking, NESTED)


def test_lists_keep_what_they_listed() -> None:
    space = [{"lr": 0.1, "schedule": {"schedule": "cosine"}}, Candidate(lr=0.3), {"lr": 0.2}]
    points = points_to_evaluate(ranked(space), space)
    assert points == [{"optimizer": "sgd", "lr": 0.3, "batch_size": 32}, space[2], space[0]]


def test_another_search_space_is_noticed() -> None:
    with pytest.raises(InputError, match="does not give 6 of the ranking's configurations"):
        points_to_evaluate(ranked(NESTED), {"lr": tune.uniform(0.2, 0.3)})


def test_the_searcher_ends_after_the_last() -> None:
    searcher = RankedSearcher(example_ranking(), top=2)
    assert searcher.set_search_properties("loss", "min", {"lr": tune.uniform(0, 1)})
    assert (searcher.metric, searcher.mode) == ("loss", "min")
    assert [searcher.suggest(str(i)) for i in range(2)] == points_to_evaluate(example_ranking(), top=2)
    assert searcher.suggest("2") == searcher.suggest("3") == Searcher.FINISHED


def test_a_restored_searcher_goes_on(tmp_path: Path) -> None:
    searcher = RankedSearcher(example_ranking())
    first = searcher.suggest("0")
    searcher.save(str(tmp_path / "state"))
    again = RankedSearcher(example_ranking())
    again.restore(str(tmp_path / "state"))
    assert again.suggest("1") == searcher.suggest("1") != first
    with pytest.raises(InputError, match="had 7 configurations, this one has 3"):
        RankedSearcher(example_ranking(), top=3).restore(str(tmp_path / "state"))
    assert b"next" in (tmp_path / "state").read_bytes()
