"""The example with adapters: its texts, its base model in the cache, and that adapters alone train."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import raytt
from raytt.examples import lora
from raytt.rates.reference import train_as_given
from raytt.rates.reference_search import find_reference
from raytt.task.candidate import Candidate
from raytt.training.model import prepare_for_training, weights_fingerprint
from tests.support import language_task

# peft asks transformers for what the latter has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base model after three steps of pre-training."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(lora.CACHE, str(folder))
        patch.setattr(lora, "PRETRAINING_STEPS", 3)
        lora.main()
        yield folder


def test_the_base_model_is_trained_once_and_kept(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = cache.iterdir()
    assert file == lora.weights_file()
    lora.main()
    assert capsys.readouterr().out.strip() == f"The base model is there: {file}"


def test_pretraining_lowers_the_loss() -> None:
    _, losses = lora.pretrain(12)
    # From that of a uniform guess.
    assert losses[0] == pytest.approx(math.log(lora.VOCABULARY), rel=0.05)
    assert losses[-1] < 0.9 * losses[0]


def test_without_a_base_model_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(lora.CACHE, str(tmp_path))
    with pytest.raises(raytt.InputError, match=r"not there yet .*python -m raytt\.examples\.lora"):
        lora.build_model()


def test_windows_are_text_and_validation_is_other_text(cache: Path) -> None:
    train, held_out = lora.train_data(), lora.validation_data()
    assert (len(train), len(held_out)) == (lora.NUM_TRAIN, lora.NUM_VALIDATION)
    seen = {bytes(train[i]["input_ids"].tolist()) for i in range(len(train))}
    others = {bytes(held_out[i]["input_ids"].tolist()) for i in range(len(held_out))}
    assert len(seen) > 0.99 * lora.NUM_TRAIN
    assert len(seen & others) <= 2
    assert all(window in lora.source_text() for window in seen)
    with pytest.raises(raytt.InputError, match="has 1 windows of 96 bytes, but this example needs 2"):
        lora.Windows(b"a" * 100, 0, 2)


def test_adapters_alone_train(cache: Path) -> None:
    assert weights_fingerprint(lora.build_model()) == weights_fingerprint(lora.build_model())
    model = prepare_for_training(lora.task)
    assert all(".lora_" in name for name in model.trainable)
    assert model.num_trainable < 0.2 * model.num_params
    before = {name: p.clone() for name, p in model.module.named_parameters()}
    log = train_as_given(
        lora.task, Candidate(optimizer="adamw", lr=1e-2, batch_size=4), seed=0, steps=3, stop_ratio=0.01, num_points=1
    )
    after = log.points[-1].state
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) == (".lora_" not in name), name


class Backwards(language_task.Counting):
    """What the base model was trained on, the other way round."""

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": super().__getitem__(index)["input_ids"][::-1]}


def test_a_learning_rate_for_adapters_is_found_from_one_for_all_weights() -> None:
    import peft

    base = train_as_given(
        language_task.TASK, Candidate(optimizer="adamw", lr=1e-2, batch_size=32), seed=0, steps=150, stop_ratio=0.01,
        num_points=1,
    ).points[-1].state  # fmt: skip

    def adapted() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            settings = peft.LoraConfig(
                r=4, lora_alpha=8, target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True
            )
            trained = language_task.model()
            trained.load_state_dict(base)
            network: nn.Module = peft.get_peft_model(trained, settings)
        return network

    task = raytt.Task(
        name="adapted",
        model=adapted,
        data=Backwards,
        collate=language_task.collate,
        batch_loss=language_task.batch_loss,
        mode="train",
    )
    candidate = Candidate(optimizer="adamw", lr=2e-5, batch_size=16)
    found = find_reference(task, candidate, seed=0, stop_ratio=0.5, num_points=2, most_steps=40)
    assert found.log.candidate.lr >= 2e-3
    assert found.log.last_ratio < 0.8
    assert found.wasted_steps > 0
