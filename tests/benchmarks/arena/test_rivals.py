from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arena.__main__ import GRID, SHARES, Result, by_contest, firsts, play, summary
from benchmarks.arena.contest import from_folder, from_own_record, learning_rate_time
from benchmarks.arena.measures import worth
from benchmarks.arena.purse import Purse, Spent
from benchmarks.arena.rivals import RIVALS
from benchmarks.arena.rivals.own import hyperparameters

from .contests import contest


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_ranks_at_every_share_and_finds_a_good_one_with_all_the_money(name: str) -> None:
    made = contest(n=24)
    purse = Purse(made, [0.05, 0.3, 1.0])
    with contextlib.suppress(Spent):
        RIVALS[name](made, purse, 0)
    assert len(purse.rankings) == 3
    found = worth(purse.rankings[-1], made.final)
    assert found.five <= 3.0
    assert all(len(seen) <= len(m) for seen, m in zip(purse.seen, made.metric, strict=True))


@pytest.mark.parametrize("name", ["raytt, pilots alone", "i-Epoch", "ASHA", "Hyperband"])
def test_the_same_seed_buys_the_same(name: str) -> None:
    made = contest(n=24)
    bought = []
    for _ in range(2):
        purse = Purse(made, [0.31])
        with contextlib.suppress(Spent):
            RIVALS[name](made, purse, 5)
        bought.append([len(seen) for seen in purse.seen])
    assert bought[0] == bought[1]


def test_a_result_in_words() -> None:
    made = contest(n=24)
    results = [play(made, name, RIVALS[name], 0) for name in ("raytt, pilots alone", "i-Epoch")]
    assert [len(r.worths) for r in results] == [len(GRID)] * 2
    assert "i-Epoch" in summary(results)
    assert "of 1" in firsts(results)
    assert "made up" in by_contest(results, SHARES[2])


def test_cost_to_counts_from_where_it_stays() -> None:
    one = Result(contest="c", rival="r", seed=0, worths=(), computing=0.0)
    near = [True] + [False] * 2 + [True] * (len(GRID) - 3)
    assert one.cost_to(near) == GRID[3]
    assert one.cost_to([False] * len(GRID)) == np.inf
    assert one.cost_to([True] * len(GRID)) == GRID[0]


def test_learning_rate_time_of_a_warm_up_and_a_cosine() -> None:
    plain = learning_rate_time({}, 4)
    np.testing.assert_allclose(plain, [0.25, 0.5, 0.75, 1.0])
    warm = learning_rate_time({"warmup_epochs": 2.0}, 4)
    np.testing.assert_allclose(warm, np.cumsum([0.0, 0.5, 1.0, 1.0]) / 2.5)
    cosine = learning_rate_time({"cat:sched:cosine": 1.0}, 4)
    factors = [0.5 * (1 + np.cos(np.pi * t / 4)) for t in range(4)]
    np.testing.assert_allclose(cosine, np.cumsum(factors) / sum(factors))


def test_one_hot_columns_become_one_hyperparameter() -> None:
    assert hyperparameters(contest())[4] == {"lr": 4.0, "cat:opt": "cat:opt:b"}


def test_own_record_is_a_contest_per_task() -> None:
    found = from_own_record()
    assert {c.name for c in found} >= {"digits", "docstrings"}
    for one in found:
        assert one.features.shape == (len(one.metric), len(one.columns))
        assert all(len(m) == len(s) for m, s in zip(one.metric, one.seconds, strict=True))


def test_a_folder_is_a_contest_per_data_set(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    curves = [{"dataset": d, "run": f"{d}{i}", "accuracy": [1.0, 2.0][: 1 + i % 2], "seconds": [3.0, 4.0][: 1 + i % 2]}
              for d in "ab" for i in range(4)]  # fmt: skip
    pandas.DataFrame(curves).to_parquet(tmp_path / "curves.parquet")
    configs = pandas.DataFrame(
        [{"lr": 0.1 * k, "warmup_epochs": 0} for k in range(8)], index=[c["run"] for c in curves]
    )
    configs.index.name = "run"
    configs.to_parquet(tmp_path / "configs.parquet")
    found = from_folder(tmp_path, least=2)
    assert [(c.name, len(c.metric), c.total) for c in found] == [("a", 4, 20.0), ("b", 4, 20.0)]
    assert [len(c.metric) for c in from_folder(tmp_path, whole=True, least=2)] == [2, 2]
    assert json.dumps([c.features[:, 0].tolist() for c in from_folder(tmp_path, whole=True, least=2)])
