"""A tiny causal language model of transformers' own class on counting sequences, which returns its loss itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import raytt

NUM_SAMPLES = 256
VOCABULARY = 24
IGNORED = -100


def model() -> nn.Module:
    """GPT-2 of one layer with dropout 0.1, the same weights on every call."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=16,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        loss_type="ForCausalLMLoss",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = GPT2LMHeadModel(config)
    return network


class Counting(Dataset[dict[str, list[int]]]):
    """Token sequences of 6 to 12 that count in steps of 1 to 3, as a tokenizer would give them: lists in a mapping."""

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        generator = torch.Generator().manual_seed(index)
        start, step, length = (
            int(torch.randint(a, b, (1,), generator=generator)) for a, b in ((0, 24), (1, 4), (6, 13))
        )
        return {"input_ids": [(start + step * place) % VOCABULARY for place in range(length)]}


def collate(items: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """Padded to the longest of the batch; labels ignore the padding."""
    width = max(len(item["input_ids"]) for item in items)
    ids, labels = torch.zeros(len(items), width, dtype=torch.int64), torch.full((len(items), width), IGNORED)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        ids[row, :length] = labels[row, :length] = torch.tensor(item["input_ids"])
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def batch_loss(model: nn.Module, batch: Any) -> Tensor:
    """The mean over all positions that are not ignored, as transformers takes it."""
    loss: Tensor = model(**batch).loss
    return loss


TASK = raytt.Task(
    name="counting",
    model=model,
    data=Counting,
    validation=Counting,
    collate=collate,
    batch_loss=batch_loss,
    mode="train",
)
