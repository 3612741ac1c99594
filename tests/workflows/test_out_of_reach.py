"""A target that nothing reaches is said to be one, with one that can be reached."""

from __future__ import annotations

import math

from raytt.forecast.forecast import Forecast, Status
from raytt.task.target import Target
from raytt.workflows.out_of_reach import out_of_reach

TARGET = Target.parse("val_loss_ratio=0.3")


def missing(lowest: float) -> Forecast:
    return Forecast(status=Status.NOT_REACHED, steps=None, shortfall=math.log(lowest / TARGET.value))


def test_the_nearest_and_a_target_that_it_reaches_are_named() -> None:
    (note,) = out_of_reach(TARGET, [missing(0.95), missing(0.86), Forecast(status=Status.UNSTABLE, steps=None)])
    assert "the nearest comes down to 0.86" in note
    # 0.9 of the fall by 0.14, rounded up.
    assert note.endswith("--target val_loss_ratio=0.88.")


def test_nothing_is_said_where_one_arrives_or_nothing_is_learned() -> None:
    arrived = Forecast(status=Status.REACHED, steps=20.0, low=10.0, high=40.0, shortfall=0.0)
    assert out_of_reach(TARGET, [missing(0.86), arrived]) == ()
    assert out_of_reach(TARGET, [Forecast(status=Status.UNSTABLE, steps=None)]) == ()
    assert out_of_reach(TARGET, [missing(1.2)]) == ()
    assert out_of_reach(Target.parse("val_accuracy=0.9"), [missing(0.86)]) == ()
