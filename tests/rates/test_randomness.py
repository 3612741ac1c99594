"""Seeded blocks: repeatable inside, without trace outside."""

from __future__ import annotations

import random

import numpy as np
import torch

from raytt.rates.randomness import seed_of, seeded


def _draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.random()), random.random()


def test_draws_are_a_function_of_the_key_alone() -> None:
    with seeded("a", 1):
        first = _draws()
    _draws()
    with seeded("a", 1):
        again = _draws()
    with seeded("a", 2):
        other = _draws()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_the_generators_outside_go_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = [_draws(), _draws()]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    found = [_draws()]
    with seeded("between"):
        _draws()
    found.append(_draws())
    assert found == expected


def test_keys_are_not_run_together() -> None:
    assert seed_of(1, 23) != seed_of(12, 3)
    assert 0 <= seed_of("x") < 2**63
