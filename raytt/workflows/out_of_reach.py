"""A target that no candidate is predicted to reach: how near they come, and a target that some do reach."""

from __future__ import annotations

import math
from collections.abc import Iterable

from raytt.forecast.forecast import Forecast
from raytt.task.target import Target

KEPT = 0.9
"""Share of the greatest predicted fall that the suggested target asks for: a convention."""


def out_of_reach(target: Target, forecasts: Iterable[Forecast]) -> tuple[str, ...]:
    """A sentence where a share of an initial loss is reached by none, as of language models whose loss falls by little.

    Args:
        target: What was asked for.
        forecasts: Of all candidates.
    """
    found = list(forecasts)
    missing = [one.shortfall for one in found if one.shortfall is not None]
    if not target.relative or any(one.steps is not None for one in found) or not missing:
        return ()
    lowest = target.value * math.exp(min(missing))
    better = math.ceil(100.0 * (1.0 - KEPT * (1.0 - lowest))) / 100.0
    if not target.value < better < 1.0:
        return ()
    return (
        f"No candidate is predicted to reach {target} within its budget: the nearest comes down to {lowest:.2f}. The "
        "loss of some tasks, such as that of language models, can fall by little; candidates can then be told apart by "
        f"a target near 1, such as --target {target.kind}={better:.2f}.",
    )
