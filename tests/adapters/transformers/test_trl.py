"""trl's SFTTrainer, full and with LoRA of peft, of which only the adapters train and are copied; its DPOTrainer."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from ray import cloudpickle
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

import raytt

from .tiny import SAMPLES, STEPS, Ordered, distance, final_weights, moved, network, quiet

# What transformers says of the names that trl uses.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

WORDS = "<pad> <unk> <eos> the cat sat on mat dog ran far away home"


LINES = ["the cat sat on the mat", "the dog ran far", "the dog ran home", "cat sat far away home"]


class OrderedSftTrainer(Ordered, SFTTrainer):
    pass


class OrderedDpoTrainer(Ordered, DPOTrainer):
    pass


def _tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS.split())}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.mark.parametrize(("lora", "times"), [(False, 1), (True, 1), (False, 4)])
def test_weights_after_50_steps_are_those_of_sft_trainer(lora: bool, times: int, tmp_path: Path) -> None:
    disable_progress_bars()
    trainer = OrderedSftTrainer(
        model=network(vocab_size=16, pad_token_id=0),
        args=SFTConfig(
            output_dir=str(tmp_path),
            bf16=False,
            max_steps=STEPS,
            learning_rate=1e-2,
            gradient_accumulation_steps=times,
            **quiet(),
        ),
        train_dataset=Dataset.from_dict({"text": LINES * (SAMPLES // len(LINES))}),
        processing_class=_tokenizer(),
        peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]) if lora else None,
    )
    adapted = raytt.from_transformers(trainer)
    task = cloudpickle.loads(cloudpickle.dumps(adapted.task))
    here, travelled = final_weights(adapted), final_weights(adapted, task)
    trainer.train()
    assert distance(here, trainer.model.state_dict()) < 1e-5
    assert distance(here, travelled) == 0.0
    assert moved(adapted, trainer.model) > 1e-2
    first, second = dict(task.model().named_parameters()), dict(task.model().named_parameters())
    assert {name for name in first if first[name].data_ptr() == second[name].data_ptr()} == {
        name for name in first if lora and "lora_" not in name
    }


@pytest.mark.parametrize("times", [1, 2])
def test_weights_after_50_steps_are_those_of_dpo_trainer(times: int, tmp_path: Path) -> None:
    """Preferences against a reference network, which travels with the loss."""
    disable_progress_bars()
    chosen = LINES * (SAMPLES // len(LINES))
    trainer = OrderedDpoTrainer(
        model=network(vocab_size=16, pad_token_id=0),
        ref_model=network(vocab_size=16, pad_token_id=0),
        args=DPOConfig(
            output_dir=str(tmp_path),
            bf16=False,
            max_steps=STEPS,
            learning_rate=1e-2,
            gradient_accumulation_steps=times,
            **quiet(),
        ),
        train_dataset=Dataset.from_dict(
            {"prompt": ["the cat"] * SAMPLES, "chosen": chosen, "rejected": list(reversed(chosen))}
        ),
        processing_class=_tokenizer(),
    )
    adapted = raytt.from_transformers(trainer)
    ours = final_weights(adapted, cloudpickle.loads(cloudpickle.dumps(adapted.task)))
    trainer.train()
    assert distance(ours, trainer.model.state_dict()) < 1e-5
    assert moved(adapted, trainer.model) > 1e-2
