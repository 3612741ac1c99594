"""What every registered optimizer must hold, against `torch.optim` itself."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.forecast.reference_choice import reference_candidate
from raytt.task.candidate import Candidate, hyperparameters
from raytt.task.optimizers import OPTIMIZERS, Adafactor, Adaptive, Optimizer
from raytt.task.schedules import SCHEDULES
from raytt.training.memory_meter import MemoryMeter
from tests.task.optimizers.examples import EXAMPLES, ONE_BY_ONE, TORCH, label

every_example = pytest.mark.parametrize("optimizer", EXAMPLES, ids=label)


def test_every_registered_optimizer_is_tested() -> None:
    assert {e.name for e in EXAMPLES} == set(OPTIMIZERS.names()) == set(TORCH)
    for kind in OPTIMIZERS:
        changed = {f.name for e in EXAMPLES if type(e) is kind for f in fields(e) if getattr(e, f.name) != f.default}
        assert changed == {f.name for f in fields(kind)}


def test_names_of_hyperparameters_mean_one_thing() -> None:
    """A flat configuration could not be taken apart otherwise."""
    own = [{f.name for kind in kinds for f in fields(kind)} for kinds in (OPTIMIZERS, SCHEDULES)]
    # Arguments of the model are hyperparameters under names of their own.
    base = {f.name for f in fields(Candidate)} - {"model_arguments"}
    assert len(hyperparameters()) == len(set(hyperparameters())) == len(own[0] | own[1] | base)


@every_example
def test_torch_gets_all_hyperparameters(optimizer: Optimizer) -> None:
    made = optimizer.torch([nn.Parameter(torch.zeros(2))], 0.3)
    assert type(made) is TORCH[optimizer.name]
    assert made.defaults["lr"] == 0.3
    for field in fields(optimizer):
        assert made.defaults[field.name] == getattr(optimizer, field.name)


def test_defaults_are_those_of_torch_but_for_weight_decay() -> None:
    for name, kind in TORCH.items():
        defaults = kind([nn.Parameter(torch.zeros(2))], lr=0.1).defaults
        for field in fields(OPTIMIZERS.get(name)):
            assert field.default == (0.0 if field.name == "weight_decay" else defaults[field.name])


def _walk(optimizer: Optimizer, start: float, lr: float, gradient: Any, steps: int) -> list[float]:
    """One weight under ``gradient(w)``, in double precision."""
    weight = nn.Parameter(torch.full((1,), start, dtype=torch.float64))
    made = optimizer.torch([weight], lr)
    places = [float(weight.detach())]
    for _ in range(steps):
        weight.grad = gradient(weight.detach())
        made.step()
        places.append(float(weight.detach()))
    return places


@every_example
def test_effective_lr_is_the_settled_step_under_a_constant_gradient(optimizer: Optimizer) -> None:
    plain = replace(optimizer, weight_decay=0.0)
    # So small that Adafactor's cap 1/√t is above it to the end.
    slope, lr = 3.0, 0.005
    # Moving averages with β₂ = 0.999 have settled after 20,000 steps (0.999^20000 = 2e-9).
    places = _walk(plain, 0.0, lr, lambda w: torch.full_like(w, slope), 20_000)
    divisor = slope + plain.eps if isinstance(plain, Adaptive) else slope if plain.scale_free else 1.0
    # Adafactor's steps are in units of the weight's own size.
    size = max(optimizer.eps[1], abs(places[-2])) if isinstance(optimizer, Adafactor) else 1.0
    assert (places[-2] - places[-1]) / size * divisor / slope == pytest.approx(plain.effective_lr(lr), rel=1e-6)
    np.testing.assert_array_equal(plain.effective_lr(np.array([lr, 2 * lr]))[0], plain.effective_lr(lr))


@every_example
@pytest.mark.parametrize("share", [0.97, 1.03])
def test_a_quadratic_diverges_beyond_the_stability_limit(optimizer: Optimizer, share: float) -> None:
    plain, scale = replace(optimizer, weight_decay=0.0), 1.0
    if math.isinf(plain.stability_limit(1.0)):
        pytest.skip("it never diverges")
    if isinstance(plain, Adaptive):
        # So large that D = √v + ε is one number, ε, to the last bit.
        scale = 1e60
        plain = replace(plain, eps=scale)
    curvature = 4.0
    lr = share * plain.stability_limit(curvature / scale)
    places = np.abs(_walk(plain, 1.0, lr, lambda w: curvature * w, 300))
    # The first steps may go far whatever the limit: Adam's are as if there were no moving average.
    middle, end = places[140:160].max(), places[-20:].max()
    assert end > 10.0 * middle if share > 1.0 else end < 0.1 * middle


@every_example
def test_the_share_of_the_limit_agrees_with_the_limit(optimizer: Optimizer) -> None:
    assert optimizer.stability_share(0.3, 4.0) == pytest.approx(0.3 / optimizer.stability_limit(4.0), rel=1e-12)
    assert optimizer.stability_limit(0.0) == math.inf
    assert optimizer.stability_share(0.3, 0.0) == 0.0
    assert optimizer.trusted_share > 0.0


@pytest.mark.parametrize("optimizer", [e for e in EXAMPLES if isinstance(e, Adaptive)], ids=label)
def test_the_preconditioner_is_that_of_torch(optimizer: Adaptive) -> None:
    """D from torch's state, by which its step is the settled one: here after the first step with one gradient."""
    plain: Any = replace(optimizer, weight_decay=0.0)
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    made = plain.torch([weight], 0.01)
    weight.grad = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    made.step()
    moment = made.state[weight][plain.moment] / plain.moment_correction(1)
    expected = -0.01 * weight.grad / (moment.sqrt() + plain.eps)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=0.0)


@every_example
def test_configuration_and_back(optimizer: Optimizer) -> None:
    candidate = Candidate(optimizer=optimizer, lr=0.1, schedule="step", step_size=7, max_steps=9)
    config = json.loads(json.dumps(candidate.config()))
    assert config["optimizer"] == optimizer.name
    assert Candidate.from_config(config) == candidate
    own = {f.name: getattr(optimizer, f.name) for f in fields(optimizer)}
    assert Candidate(optimizer=optimizer.name, lr=0.1, schedule="step", step_size=7, max_steps=9, **own) == candidate
    assert pickle.loads(pickle.dumps(candidate)) == candidate
    assert replace(candidate, lr=0.2) == Candidate.from_config(config | {"lr": 0.2})
    assert replace(candidate, weight_decay=0.3).optimizer == replace(optimizer, weight_decay=0.3)


def test_all_examples_are_told_apart() -> None:
    candidates = [Candidate(optimizer=optimizer, lr=0.1) for optimizer in EXAMPLES]
    assert len(set(candidates)) == len({c.sort_key() for c in candidates}) == len(EXAMPLES)
    assert len({label(optimizer) for optimizer in EXAMPLES}) == len(EXAMPLES)


@every_example
def test_words_tell_what_is_not_at_its_default(optimizer: Optimizer) -> None:
    changed = {f.name for f in fields(optimizer) if getattr(optimizer, f.name) != f.default}
    # That momentum is Nesterov's is said with it.
    assert set(optimizer.describe()) == changed - {"nesterov"}


@pytest.mark.parametrize("kind", list(OPTIMIZERS), ids=lambda kind: kind.name)
def test_bad_hyperparameters_are_refused_by_name(kind: type[Optimizer]) -> None:
    bad: dict[str, Any] = {"momentum": 1.0, "alpha": 1.0, "eps": 0.0, "weight_decay": -1.0, "nesterov": "yes"}
    for name, value in (bad | {"betas": (0.9, 1.0)}).items():
        if name in {f.name for f in fields(kind)}:
            with pytest.raises(InputError, match=f"β₂ of {name}" if name == "betas" else f"{name} is "):
                kind(**{name: value})


@pytest.mark.parametrize("kind", list(OPTIMIZERS), ids=lambda kind: kind.name)
def test_what_another_optimizer_has_is_ignored_unless_that_misleads(kind: type[Optimizer]) -> None:
    own = {f.name for f in fields(kind)}
    others = {"betas": (0.5, 0.5), "eps": 1e-3, "alpha": 0.5, "momentum": 0.0, "nesterov": False}
    given = {name: value for name, value in others.items() if name not in own}
    assert Candidate(optimizer=kind.name, lr=0.1, **given) == Candidate(optimizer=kind.name, lr=0.1)
    if not {"momentum", "nesterov"} & own:
        for name, value in (("momentum", 0.9), ("nesterov", True)):
            with pytest.raises(InputError, match=r"momentum is its first beta|Adafactor has no momentum"):
                Candidate(optimizer=kind.name, lr=0.1, **{name: value})


def test_rmsprop_has_no_nesterov_momentum() -> None:
    with pytest.raises(InputError, match=r"optimizer='rmsprop' with nesterov=True.*no Nesterov momentum"):
        Candidate(optimizer="rmsprop", lr=0.1, momentum=0.9, nesterov=True)


@every_example
def test_what_the_simulation_leaves_out_is_told(optimizer: Optimizer) -> None:
    plain = Candidate(optimizer=replace(optimizer, weight_decay=0.0), lr=0.1)
    assert plain.doubts() == ()
    clipping = replace(plain, max_grad_norm=1.0).doubts()
    assert ["max_grad_norm is left out" in doubt for doubt in clipping] == [True] * isinstance(optimizer, Adaptive)
    decaying = replace(plain, weight_decay=0.1).doubts()
    coupled = optimizer.name in ("adam", "rmsprop")
    assert ["one average preconditioner" in doubt for doubt in decaying] == [True] * coupled


def test_an_unknown_name_raises_whoever_meets_it() -> None:
    class Muon(type(EXAMPLES[0])):  # type: ignore[misc]
        name = "muon"

    with pytest.raises(InputError, match="Unknown optimizer 'muon'"):
        Candidate(optimizer="muon", lr=0.1)
    with pytest.raises(InputError, match="Unknown optimizer 'muon'"):
        Candidate(optimizer=Muon(), lr=0.1)
    with pytest.raises(InputError, match="Did you mean 'adamw'"):
        Candidate.from_config({"optimizer": "AdamWW", "lr": 0.1})
    # Past the candidate's own check, each asks the object, which has no other optimizer's behaviour to fall back to.
    bare = type("Bare", (Optimizer,), {"name": "bare"})
    with pytest.raises(TypeError, match="abstract"):
        bare()
    with pytest.raises(ValueError, match="too many values"):
        reference_candidate([Candidate(optimizer=e, lr=0.1) for e in EXAMPLES], stability_limit=1.0)


@every_example
@pytest.mark.parametrize("together", [False, True])
def test_numbers_kept_and_needed_are_those_of_torch(optimizer: Optimizer, together: bool) -> None:
    """Of six parameters of one size, updated one after the other or, where torch can, together."""
    size, count = 1000, 6
    weights = [nn.Parameter(torch.randn(size)) for _ in range(count)]
    made = optimizer.torch(weights, 0.01)
    for group in made.param_groups:
        if "foreach" in group and optimizer.name not in ONE_BY_ONE:
            group["foreach"] = together
    for weight in weights:
        weight.grad = torch.randn(size)
    made.step()
    kept = [value for state in made.state.values() for value in state.values() if torch.is_tensor(value)]
    assert sum(value.numel() for value in kept if value.numel() > 1) == optimizer.state_numbers * size * count
    meter = MemoryMeter()
    meter.hold([weights, [weight.grad for weight in weights], kept])
    meter.restart()
    before = meter.live
    with meter:
        made.step()
    needed = optimizer.scratch_numbers(together=False)
    if together:
        needed = max(needed, optimizer.scratch_numbers(together=True) * count)
    # Single numbers, such as the count of steps, do not count.
    assert round((meter.peak - before) / 4 / size, 1) == needed
