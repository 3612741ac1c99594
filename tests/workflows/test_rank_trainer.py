"""From a Trainer and a search space of Optuna, over workers, to a Trainer that does what was predicted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from optuna.distributions import FloatDistribution
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

import raytt

TARGET = 0.4


def _network() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=30,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
        )
    )


class Losses(TrainerCallback):
    """The training loss that Trainer logs after each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        if logs and "loss" in logs:
            self.seen.append(float(logs["loss"]))


def _trainer(args: TrainingArguments) -> Trainer:
    """Counts on by a step that differs from line to line."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(0, 30, (128, 1), generator=generator)
    tokens = (first + torch.arange(10) * (1 + first % 3)) % 30
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    return Trainer(model=_network(), args=args, train_dataset=rows)


def test_steps_are_those_that_trainer_takes(ray_session: None, tmp_path: Path) -> None:
    args = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        max_steps=120,
    )
    given = raytt.from_transformers(_trainer(args))
    ranking = raytt.rank(
        given.task,
        {**given.candidate.config(), "lr": FloatDistribution(2e-3, 8e-3, log=True)},
        target=TARGET,
        num_candidates=3,
        seed=given.seed,
        cluster=raytt.ClusterSettings(num_workers=2),
        run=raytt.RunSettings(storage_path=tmp_path, name="trainer", progress=False),
    )
    assert len(ranking.entries) == 3
    errors = []
    for entry in ranking.entries:
        assert entry.forecast.steps is not None
        found = Losses()
        trainer = _trainer(replace(args, **given.arguments(entry.candidate)))
        trainer.add_callback(found)
        trainer.train()
        smooth = np.convolve(found.seen, np.ones(3) / 3, mode="valid")
        real = int(np.argmax(smooth <= TARGET * smooth[0])) + 1
        assert real > 1
        errors.append(math.log(entry.forecast.steps / real))
    assert np.median(np.abs(errors)) < math.log(1.35), errors
