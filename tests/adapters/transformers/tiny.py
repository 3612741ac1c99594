"""Small trainers of transformers that visit samples in raytt's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from raytt.adapters.adapted import Adapted
from raytt.rates.reference import train_as_given
from raytt.task.minibatches import minibatches

SAMPLES, BATCH, STEPS, SEED = 16, 4, 50, 3


class Ordered:
    """Trainer's samples in the order in which raytt's steps take them."""

    def _get_train_sampler(self, train_dataset: Any = None) -> list[int]:
        passes = STEPS * self.args.gradient_accumulation_steps  # type: ignore[attr-defined]
        return [int(row) for row in minibatches(SAMPLES, BATCH, passes, SEED).ravel()]


class OrderedTrainer(Ordered, Trainer):
    """With its own order, otherwise as it is."""


def network(**config: Any) -> LlamaForCausalLM:
    """6,000 random weights, embeddings tied to the head."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            **{
                "vocab_size": 50,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "max_position_embeddings": 32,
                "tie_word_embeddings": True,
                **config,
            }
        )
    )


def sentences() -> list[dict[str, Tensor]]:
    """Random tokens; how many positions count differs from sample to sample."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(SAMPLES):
        tokens = torch.randint(0, 50, (8,), generator=generator)
        labels = tokens.clone()
        labels[: number % 5] = -100
        found.append({"input_ids": tokens, "labels": labels})
    return found


def ragged() -> list[dict[str, Tensor]]:
    """Random tokens, 2 to 32 of them, of which all or only the last half count."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for number in range(SAMPLES):
        tokens = torch.randint(1, 50, (2 + 28 * (number < 5) + number % 3,), generator=generator)
        labels = tokens.clone()
        labels[: 1 + len(tokens) // 2 * (number % 2)] = -100
        found.append({"input_ids": tokens, "labels": labels})
    return found


def padded(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A minibatch of sentences of different lengths; padding is 0 and does not count."""

    def pad(name: str, value: int) -> Tensor:
        return nn.utils.rnn.pad_sequence([row[name] for row in rows], batch_first=True, padding_value=value)

    ids = pad("input_ids", 0)
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": pad("labels", -100)}


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """On the CPU, without logs and checkpoints."""
    return TrainingArguments(
        output_dir=str(folder), **{**quiet(), "max_steps": STEPS, "learning_rate": 1e-3, **changes}
    )


def quiet() -> dict[str, Any]:
    """What keeps a Trainer from writing and from looking for devices."""
    return {
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "per_device_train_batch_size": BATCH,
    }


def final_weights(adapted: Adapted, task: Any = None, *, steps: int = STEPS) -> dict[str, Tensor]:
    """State after raytt's own training of the candidate."""
    log = train_as_given(task or adapted.task, adapted.candidate, seed=SEED, steps=steps, stop_ratio=1e-9, num_points=1)
    assert len(log.losses) == steps
    return log.points[-1].state


def distance(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Largest difference of a weight."""
    assert set(left) == set(right)
    return max(float((left[name] - right[name]).abs().max()) for name in left if left[name].is_floating_point())


def moved(adapted: Adapted, module: nn.Module) -> float:
    """How far training has moved a network's weights."""
    return distance(adapted.task.model().state_dict(), module.state_dict())
