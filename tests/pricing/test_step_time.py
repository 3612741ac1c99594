"""Step times of steps that accumulate gradients."""

from __future__ import annotations

from raytt.pricing.step_time import Origin, StepTime


def test_a_step_of_several_minibatches_takes_as_many_times_as_long() -> None:
    one = StepTime(batch_size=8, seconds=0.5, low=0.25, high=1.0, source="timed", device="card")
    three = one.repeated(3)
    assert (three.seconds, three.low, three.high) == (1.5, 0.75, 3.0)
    assert (three.batch_size, three.origin, three.device) == (8, Origin.TIMED, "card")
    assert three.source == "3 times: timed"
    assert one.repeated(1) is one
