"""When simulations are carried over to the whole set."""

from __future__ import annotations

from typing import Any

import pytest

from raytt.task.target import Target
from raytt.workflows.plan import LEAST_STOP_RATIO, STOP_RATIO, RankPlan


def _plan(target: str, **changes: Any) -> RankPlan:
    return RankPlan(target=Target.parse(target), **changes)


@pytest.mark.parametrize(
    ("target", "has_references", "whole_set", "lifts"),
    [
        ("loss_ratio=0.1", True, None, False),
        ("accuracy=0.9", True, None, False),
        ("val_loss=0.5", True, None, True),
        ("val_accuracy=0.9", True, None, True),
        ("loss_ratio=0.1", False, None, True),
        ("loss_ratio=0.1", True, True, True),
        ("val_loss=0.5", False, False, False),
    ],
)
def test_a_reference_run_stands_in_for_the_whole_set(
    target: str, has_references: bool, whole_set: bool | None, lifts: bool
) -> None:
    assert _plan(target, whole_set=whole_set).lifts(has_references=has_references) is lifts


@pytest.mark.parametrize(
    ("target", "changes", "ratio"),
    [
        ("loss_ratio=0.1", {}, 0.1),
        ("loss_ratio=0.001", {}, LEAST_STOP_RATIO),
        ("loss_ratio=0.9", {}, 0.5),
        ("val_accuracy=0.9", {}, STOP_RATIO),
        ("loss_ratio=0.1", {"stop_ratio": 0.4}, 0.4),
    ],
)
def test_where_reference_runs_stop(target: str, changes: dict[str, object], ratio: float) -> None:
    assert _plan(target, **changes).stops_at() == ratio


@pytest.mark.parametrize(
    ("target", "changes", "count"),
    [
        ("loss_ratio=0.6", {}, 3),
        ("loss_ratio=0.2", {}, 3),
        ("loss_ratio=0.15", {}, 4),
        ("loss_ratio=0.1", {}, 5),
        ("loss_ratio=0.001", {}, 5),
        ("val_accuracy=0.9", {}, 3),
        ("loss_ratio=0.1", {"stop_ratio": 0.2}, 3),
        ("loss_ratio=0.1", {"num_waypoints": 2}, 2),
    ],
)
def test_deeper_reference_runs_have_more_tangents(target: str, changes: dict[str, object], count: int) -> None:
    assert _plan(target, **changes).waypoints() == count
