from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import raytt
from raytt.adapters.transformers.loss import TrainerLoss
from raytt.store.fingerprint import task_facts

from .tiny import OrderedTrainer, arguments, network, sentences


class WithTeacher(OrderedTrainer):
    """Reads a second network beside the trained one."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
        self.seen = next(self.teacher.parameters()).dtype, self.model is model
        return model(**inputs).loss


def test_other_networks_are_where_the_trained_one_is(tmp_path: Path) -> None:
    trainer = WithTeacher(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    trainer.teacher = nn.Linear(2, 2, device="meta")
    loss = TrainerLoss(trainer)
    # Weights without values cannot be moved off the meta device: that it is tried shows where they would go.
    rows = {name: torch.stack([row[name] for row in sentences()[:2]]) for name in ("input_ids", "labels")}
    with pytest.raises(NotImplementedError, match="meta"):
        loss(network(), rows)


def test_the_trained_network_is_not_kept_and_the_batch_stays_whole(tmp_path: Path) -> None:
    trainer = WithTeacher(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    trainer.teacher = nn.Linear(2, 2)
    loss = TrainerLoss(trainer)
    rows = {name: torch.stack([row[name] for row in sentences()[:2]]) for name in ("input_ids", "labels")}
    first = float(loss(network(), rows).detach())
    assert set(rows) == {"input_ids", "labels"}
    assert first == float(loss(network(), rows).detach())
    assert loss._shell.seen == (torch.float32, True)
    assert loss._shell.model is None
    assert "seen" not in vars(trainer)
    assert loss.travels_with[0] is WithTeacher


def test_what_it_depends_on_is_noticed(tmp_path: Path) -> None:
    def facts(kind: type[OrderedTrainer] = OrderedTrainer, more: Any = None, **changes: Any) -> Any:
        args = arguments(tmp_path, **changes)
        trainer = kind(model=network(), args=args, train_dataset=sentences(), compute_loss_func=more)
        return task_facts(raytt.from_transformers(trainer).task)["batch_loss"]

    plain = facts()
    assert facts(learning_rate=0.1) == plain
    others = {facts(WithTeacher), facts(more=lambda outputs, labels: outputs), facts(label_smoothing_factor=0.1)}
    assert len({plain, *others}) == 4
