"""The two-sided estimate against curves that follow its law, and against training on all of a larger set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.forecast.full_dataset import EXPONENTS, lift, whole_ratio
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy

SIZES = np.array([128.0, 256.0, 512.0])
STEPS = np.arange(60)


def by_law(alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Trained, left out, and both ratios at N_full = 4096, of curves that follow the law."""
    level, a, b = np.exp(-STEPS / 30.0), 0.02 * STEPS, 0.03 * STEPS
    x = (512.0 / SIZES[:, None]) ** alpha
    far = (512.0 / 4096.0) ** alpha
    return level / (1 + a * x), (level * (1 + b * x))[:-1], (1 + a) / (1 + a * far), (1 + b * far) / (1 + b)


@pytest.mark.parametrize("alpha", EXPONENTS)
def test_the_law_is_recovered(alpha: float) -> None:
    trained, left_out, more, less = by_law(alpha)
    found = whole_ratio(trained, left_out, SIZES, 4096)
    np.testing.assert_allclose(found.trained, more, rtol=0.04)
    np.testing.assert_allclose(found.unseen, less, rtol=0.04)


def test_where_no_sample_is_learned_by_heart_nothing_changes() -> None:
    level = np.exp(-STEPS / 30.0)
    found = whole_ratio(np.tile(level, (3, 1)), np.tile(level, (2, 1)), SIZES, 4096)
    np.testing.assert_allclose(found.trained, 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.unseen, 1.0, rtol=1e-9)


def test_a_subset_that_is_harder_from_the_start_is_no_overfitting() -> None:
    level = np.exp(-STEPS / 30.0)
    trained, left_out = level * np.array([[1.2], [0.9], [1.0]]), level * np.array([[0.9], [1.1]])
    np.testing.assert_allclose(whole_ratio(trained, left_out, SIZES, 4096).trained, 1.0, rtol=1e-9)


def test_the_last_known_ratio_is_carried_on() -> None:
    trained, left_out, more, _ = by_law(1.0)
    valid = np.ones((2, len(STEPS)), dtype=bool)
    valid[0, 40:] = False
    trained[0, 40:] = 1e-9
    trained[1, 50:] = np.inf
    found = whole_ratio(trained, left_out, SIZES, 4096, valid)
    np.testing.assert_allclose(found.trained[:40], more[:40], rtol=0.04)
    np.testing.assert_allclose(found.trained[40:], found.trained[39])


def noisy_problem(num_samples: int) -> Tangent:
    """Three classes told apart by few of many features, some labels wrong: which invites overfitting."""
    generator = torch.Generator().manual_seed(0)
    width, classes = 120, 3
    features = torch.randn(800, width, generator=generator) / width**0.5
    scale = torch.linspace(3.0, 0.5, width)
    labels = (features * scale @ torch.randn(width, classes, generator=generator)).argmax(dim=1)
    wrong = torch.rand(800, generator=generator) < 0.1
    labels = torch.where(wrong, torch.randint(classes, (800,), generator=generator), labels)
    rows = torch.einsum("nr,cd->ncdr", features * scale, torch.eye(classes)).reshape(800, classes, -1)
    samples = Samples(
        outputs=torch.zeros(num_samples, classes),
        jacobian=rows[:num_samples],
        radial=torch.zeros(num_samples, classes),
        targets=labels[:num_samples],
    )
    return Tangent(train=samples, position=torch.zeros(classes * width))


def test_the_whole_set_is_met_from_a_quarter_of_it() -> None:
    candidates, budgets = [Candidate(lr=1.0, batch_size=16)], [50]  # 4 passes over the part
    common = {"num_paths": 4, "seed": 3, "target": None}
    part, whole = noisy_problem(200), noisy_problem(800)
    real = simulate(whole, CrossEntropy(), candidates, budgets, **common)
    alone = simulate(part, CrossEntropy(), candidates, budgets, **common)
    smaller = [(n, simulate(part, CrossEntropy(), candidates, budgets, subset=n, **common), 0) for n in (50, 100)]
    lifted = lift(alone, 0, smaller, num_samples=200, num_samples_full=800)
    late = real.steps >= 5

    def error(name: str, found: np.ndarray) -> float:
        return float(np.abs(found - getattr(real, name)[0].mean(axis=0))[late].mean())

    before = error("train_loss", alone.train_loss[0].mean(axis=0))
    assert error("train_loss", lifted.train_loss[0].mean(axis=0)) < 0.5 * before
    assert lifted.train_accuracy is not None
    assert alone.train_accuracy is not None
    before = error("train_accuracy", alone.train_accuracy[0].mean(axis=0))
    assert error("train_accuracy", lifted.train_accuracy[0].mean(axis=0)) < 0.5 * before
