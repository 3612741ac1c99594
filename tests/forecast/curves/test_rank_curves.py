from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.curves.rank_curves import CurveRanker, rank_curves

WHOLE = 20
LRS = [float(x) for x in np.geomspace(1e-4, 1e-1, 24)]
CANDIDATES = [{"lr": lr, "optimizer": "sgd" if i % 2 else "adamw"} for i, lr in enumerate(LRS)]


def whole_curve(i: int) -> list[float]:
    """Saturating, best in the middle of the learning rates, adamw above sgd."""
    end = 0.9 - 0.02 * abs(i - 12) - 0.03 * (i % 2)
    return [end * (1.0 - 0.6 * math.exp(-5.0 * (k + 1) / WHOLE)) for k in range(WHOLE)]


FINAL = np.array([whole_curve(i)[-1] for i in range(24)])


def correlation(scores: Any) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(scores)), np.argsort(np.argsort(FINAL)))[0, 1])


def test_candidates_never_trained_are_placed_by_those_alike() -> None:
    curves = [whole_curve(i)[:5] if i % 3 else [] for i in range(24)]
    found = rank_curves(CANDIDATES, curves, evaluations=WHOLE)
    unseen = [i for i in range(24) if i % 3 == 0]
    assert correlation(found.scores) > 0.9
    assert np.corrcoef(found.scores[unseen], FINAL[unseen])[0, 1] > 0.8


def test_whole_curves_are_ranked_as_they_are() -> None:
    found = rank_curves(CANDIDATES, [whole_curve(i) for i in range(24)], evaluations=WHOLE)
    assert found.order.tolist() == np.argsort(-FINAL, kind="stable").tolist()
    np.testing.assert_allclose(found.final, FINAL)
    np.testing.assert_allclose(found.low, found.high)
    assert found.next.tolist() == []


def test_a_loss_is_ranked_as_its_negative() -> None:
    curves = [whole_curve(i)[: 1 + i % 6] for i in range(24)]
    up = rank_curves(CANDIDATES, curves, evaluations=WHOLE)
    down = rank_curves(CANDIDATES, [[-y for y in c] for c in curves], evaluations=WHOLE, mode="min")
    assert up.order.tolist() == down.order.tolist()
    np.testing.assert_allclose(up.final, -down.final)
    np.testing.assert_allclose(up.low, -down.high)
    assert (down.low <= down.final).all()
    assert (down.final <= down.high).all()


def test_the_scale_of_the_metric_does_not_matter_to_the_order() -> None:
    curves = [whole_curve(i)[: 1 + i % 6] for i in range(24)]
    found = rank_curves(CANDIDATES, curves, evaluations=WHOLE)
    scaled = rank_curves(CANDIDATES, [[1000.0 * y - 7.0 for y in c] for c in curves], evaluations=WHOLE)
    np.testing.assert_allclose(found.scores, scaled.scores, atol=1e-9)


def test_intervals_of_long_curves_are_narrower() -> None:
    curves = [whole_curve(i)[: 15 if i < 12 else 1] for i in range(24)]
    found = rank_curves(CANDIDATES, curves, evaluations=WHOLE)
    wide = (found.high - found.low)[[i for i in range(24) if 2 < i < 21]]
    assert wide[:9].max() < wide[9:].max()


def test_a_run_that_ended_with_its_first_evaluation_failed_and_those_alike_are_feared_to() -> None:
    curves = [[0.05] if i > 18 and i % 2 == 0 else (whole_curve(i)[:3] if i % 2 == 0 else []) for i in range(24)]
    ended = [i > 18 and i % 2 == 0 for i in range(24)]
    found = rank_curves(CANDIDATES, curves, evaluations=WHOLE, ended=ended)
    assert found.failing[23] > 2.0 * found.failing[1] > 0.0
    assert set(np.flatnonzero(ended)).isdisjoint(found.next.tolist())
    np.testing.assert_allclose(found.final[ended], 0.05)


def test_a_cheap_evaluation_goes_before_an_equal_dear_one() -> None:
    candidates = [{"lr": 1.0}, {"lr": 1.0}]
    found = rank_curves(candidates, [[0.5], [0.5]], evaluations=WHOLE, seconds=[9.0, 1.0])
    assert found.next.tolist() == [1, 0]


def test_nothing_seen_is_an_order_without_figures() -> None:
    found = rank_curves(CANDIDATES, [[]] * 24, evaluations=WHOLE)
    assert found.order.tolist() == list(range(24))
    assert np.isnan(found.final).all()
    assert sorted(found.next.tolist()) == list(range(24))


def test_what_was_seen_before_the_learning_rate_rose_says_less() -> None:
    progress = np.tile(np.arange(1, WHOLE + 1) / WHOLE, (24, 1))
    progress[:, 0] = 0.0
    curves = [whole_curve(i)[:1] for i in range(24)]
    late = rank_curves(CANDIDATES, curves, evaluations=WHOLE, progress=progress)
    early = rank_curves(CANDIDATES, curves, evaluations=WHOLE)
    assert (late.high - late.low).mean() > (early.high - early.low).mean()


def test_following_next_finds_the_best_sooner_than_training_all() -> None:
    ranker = CurveRanker(CANDIDATES, evaluations=WHOLE)
    curves: list[list[float]] = [[] for _ in CANDIDATES]
    for _ in range(72):
        i = int(ranker.rank(curves).next[0])
        curves[i].append(whole_curve(i)[len(curves[i])])
    assert int(ranker.rank(curves).order[0]) == int(np.argmax(FINAL))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evaluations": 0}, "0 evaluations"),
        ({"evaluations": 2}, "3 evaluations, more than 2"),
        ({"evaluations": 5, "seconds": [1.0]}, "seconds has 1 entries for 2"),
        ({"evaluations": 5, "seconds": [1.0, 0.0]}, "candidate 1 takes 0.0 seconds"),
        ({"evaluations": 5, "ended": [True]}, "ended has 1 entries for 2"),
        ({"evaluations": 5, "progress": np.ones(4)}, r"progress has shape \(4,\)"),
        ({"evaluations": 5, "progress": np.full(5, 2.0)}, r"outside \[0, 1\]"),
        ({"evaluations": 5, "mode": "best"}, "mode is 'best'"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank_curves([{"lr": 0.1}, {"lr": 0.2}], [[0.1, 0.2, 0.3], []], **arguments)


def test_no_candidates_and_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="no candidates"):
        rank_curves([], [], evaluations=3)
    with pytest.raises(InputError, match="candidate 0 has a value"):
        rank_curves([{}], [[math.nan]], evaluations=3)
