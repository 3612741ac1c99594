from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.target import KINDS, Target, TargetKind


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (0.1, Target(kind="loss_ratio", value=0.1)),
        (np.float32(0.5), Target(kind="loss_ratio", value=0.5)),
        ("0.05", Target(kind="loss_ratio", value=0.05)),
        (" loss = 0.3 ", Target(kind="loss", value=0.3)),
        ("accuracy=1", Target(kind="accuracy", value=1.0)),
        ("val_loss=2.5", Target(kind="val_loss", value=2.5)),
        ("val_accuracy=0.9", Target(kind="val_accuracy", value=0.9)),
        ("plateau=0.01@3", Target(kind="plateau", value=0.01, patience=3.0)),
        ("plateau=0.01", Target(kind="plateau", value=0.01, patience=1.0)),
    ],
)
def test_parse(text: Any, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(str(target)) == target
    assert Target.parse(target) is target


def test_text_keeps_every_digit() -> None:
    target = Target(kind="loss", value=1 / 3)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "Cannot read target 'soon'"),
        ("loss=low", "Cannot read target 'loss=low'"),
        ("recall=0.9", "Unknown target 'recall'. Known: loss_ratio"),
        (None, "Cannot read target None"),
        ({"loss": 1}, "Cannot read target"),
        (1.0, r"loss_ratio is 1\.0, but it must lie in \(0, 1\)"),
        (0, r"loss_ratio is 0\.0"),
        (float("nan"), "loss_ratio is nan"),
        ("loss=-inf", r"loss is -inf, but it must lie in \(-inf, inf\)"),
        ("loss=inf", "loss is inf"),
        ("accuracy=1.01", r"accuracy is 1\.01, but it must lie in \(0, 1\]"),
        ("plateau=0.1@0", r"patience is 0\.0 epochs"),
    ],
)
def test_targets_that_make_no_sense(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Target.parse(text)


def test_only_validation_targets_need_validation() -> None:
    needing = {name for name in KINDS.names() if Target(kind=name, value=0.5).needs_validation}
    assert needing == {"val_loss", "val_loss_ratio", "val_accuracy"}


def distance(target: str, **curves: Any) -> Any:
    known = {
        "train_loss": np.array([4.0, 2.0, 1.0]),
        "initial_loss": np.array([4.0]),
        "train_accuracy": np.array([0.1, 0.5, 0.9]),
        "val_loss": np.array([5.0, 2.0, 1.5]),
        "val_accuracy": np.array([0.1, 0.6, 0.7]),
        **curves,
    }
    return Target.parse(target).distance(**known)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("0.5", np.log([2.0, 1.0, 0.5])),
        ("loss=1.5", np.log([4.0, 2.0, 1.0]) - np.log(1.5)),
        ("accuracy=0.5", [0.4, 0.0, -0.4]),
        ("val_loss=2", np.log([2.5, 1.0, 0.75])),
        ("val_accuracy=0.7", [0.6, 0.1, 0.0]),
    ],
)
def test_distance_is_logarithmic_for_losses_and_linear_for_accuracies(target: str, expected: Any) -> None:
    found = distance(target)
    np.testing.assert_allclose(found, expected, atol=1.1e-6)
    # The threshold itself is met.
    assert (found <= 0.0).tolist() == (np.asarray(expected) <= 1e-12).tolist()


def test_distance_allows_for_single_precision_and_for_a_loss_of_zero() -> None:
    assert distance("accuracy=0.95", train_accuracy=np.array([np.float32(0.95)]))[0] <= 0.0
    assert distance("accuracy=0.95", train_accuracy=np.array([0.9499]))[0] > 0.0
    assert np.isfinite(distance("0.5", train_loss=np.array([0.0]))).all()
    assert distance("loss=1", train_loss=np.array([np.inf]))[0] == np.inf


@pytest.mark.parametrize(("target", "missing"), [("val_loss=1", "validation data"), ("accuracy=0.5", "accuracies")])
def test_distance_without_the_curve(target: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"there are no {missing}"):
        distance(target, train_accuracy=None, val_loss=None, val_accuracy=None)


def test_a_plateau_has_no_distance() -> None:
    with pytest.raises(ValueError, match="whole curve"):
        distance("plateau=0.5")


@pytest.mark.parametrize(
    "settings",
    [
        {"curve": "val_accuracy", "relative": True},
        {"curve": "train_accuracy", "settles": True},
        {"curve": "train_loss", "relative": True, "settles": True},
    ],
)
def test_kinds_that_make_no_sense(settings: Any) -> None:
    with pytest.raises(ValueError, match="a kind of target on"):
        TargetKind(**settings)


def test_only_a_share_of_the_initial_training_loss_is_a_loss_ratio() -> None:
    assert Target.parse("0.3").loss_ratio == 0.3
    assert [name for name in KINDS.names() if Target(kind=name, value=0.5).loss_ratio is not None] == ["loss_ratio"]


def test_a_kind_may_give_its_value_a_meaning_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS._entries, "perplexity", TargetKind(curve="val_loss", lowest=1.0, level=math.log))
    monkeypatch.setitem(KINDS._entries, "error", TargetKind(curve="train_accuracy", level=lambda value: 1.0 - value))
    monkeypatch.setitem(KINDS._entries, "fall", TargetKind(curve="train_loss", relative=True, level=lambda v: 1.0 - v))
    same_as = {"perplexity=20": f"val_loss={math.log(20)!r}", "error=0.25": "accuracy=0.75", "fall=0.75": "0.25"}
    for own, plain in same_as.items():
        np.testing.assert_array_equal(distance(own), distance(plain))
    assert Target.parse("fall=0.75").loss_ratio == 0.25
    with pytest.raises(InputError, match=r"perplexity is 1\.0, but it must lie in \(1, inf\)"):
        Target.parse("perplexity=1")


def test_a_ratio_of_the_validation_loss_is_one_of_its_own_initial_value() -> None:
    target = Target.parse("val_loss_ratio=0.5")
    assert target.needs_validation
    assert target.level(5.0) == 2.5
    found = distance("val_loss_ratio=0.5", initial_loss=np.array([4.0]))
    assert (found <= 0.0).tolist() == [False, True, True]
    with pytest.raises(InputError, match=r"must lie in \(0, 1\)"):
        Target.parse("val_loss_ratio=2")


def test_a_level_that_is_not_positive_is_met_where_the_loss_is_below_it() -> None:
    target = Target.parse("loss=-1")
    losses = np.array([0.5, -0.4, -1.0, -1.5])
    found = target.distance(
        train_loss=losses, initial_loss=losses[:1], train_accuracy=None, val_loss=None, val_accuracy=None
    )
    np.testing.assert_allclose(found, [1.5, 0.6, 0.0, -0.5])
    assert str(target) == "loss=-1"
