"""Parameter groups as the user states them."""

from __future__ import annotations

from typing import Any

import pytest

from raytt.errors import InputError
from raytt.task.parameter_groups import ParameterGroup, layerwise_decay


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": "head.*"}, "list of patterns"),
        ({"patterns": []}, "list of patterns"),
        ({"patterns": ["*"], "lr_scale": 0.0}, "lr_scale is 0.0"),
        ({"patterns": ["*"], "weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_groups_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParameterGroup(**settings)


def test_layerwise_decay_shrinks_towards_the_input() -> None:
    groups = layerwise_decay(["stem.*", ["block.*", "norm.*"], "head.*"], 0.5)
    assert [(list(g.patterns), g.lr_scale, g.weight_decay) for g in groups] == [
        (["stem.*"], 0.25, None),
        (["block.*", "norm.*"], 0.5, None),
        (["head.*"], 1.0, None),
    ]


@pytest.mark.parametrize(("layers", "decay"), [([], 0.5), ("stem.*", 0.5), (["a"], 0.0), (["a"], 1.5)])
def test_layers_that_mean_nothing_are_refused(layers: Any, decay: float) -> None:
    with pytest.raises(InputError):
        layerwise_decay(layers, decay)
