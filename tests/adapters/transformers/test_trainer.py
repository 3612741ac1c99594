from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, Trainer, TrainingArguments

import raytt
from raytt.rates.reference import train_as_given
from raytt.task.step_loss import StepLoss

from .tiny import (
    BATCH,
    SAMPLES,
    SEED,
    STEPS,
    OrderedTrainer,
    arguments,
    distance,
    final_weights,
    moved,
    network,
    padded,
    quiet,
    ragged,
    sentences,
)

# What transformers says of its own deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class OwnLoss(OrderedTrainer):
    """A loss of the user's class: the model's, and a penalty on the logits."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        return outputs.loss + 0.1 * outputs.logits.square().mean()


class OwnOptimizer(OrderedTrainer):
    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3, betas=(0.8, 0.99))
        return self.optimizer


def own_loss_function(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), reduction="sum") / (
        num_items_in_batch
    )


@pytest.mark.parametrize(
    ("kind", "changes", "more"),
    [
        (OrderedTrainer, {}, {}),
        (OrderedTrainer, {"bf16": True}, {}),
        (OrderedTrainer, {"label_smoothing_factor": 0.1, "lr_scheduler_type": "cosine"}, {}),
        (OrderedTrainer, {"max_grad_norm": 0.1, "lr_scheduler_type": "constant", "adam_beta2": 0.95}, {}),
        (OrderedTrainer, {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true", "learning_rate": 0.05}, {}),
        (OrderedTrainer, {"optim": "rmsprop", "max_grad_norm": 0.0}, {}),
        (OrderedTrainer, {"gradient_checkpointing": True}, {}),
        (OrderedTrainer, {"weight_decay": 1.0}, {}),
        (OrderedTrainer, {}, {"compute_loss_func": own_loss_function}),
        (OwnLoss, {}, {}),
        (OwnOptimizer, {}, {}),
    ],
)
def test_weights_after_50_steps_are_those_of_trainer(
    kind: type[Trainer], changes: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    trainer = kind(model=network(), args=arguments(tmp_path, **changes), train_dataset=sentences(), **more)
    adapted = raytt.from_transformers(trainer)
    ours = final_weights(adapted)
    trainer.train()
    assert distance(ours, trainer.model.state_dict()) < 1e-5
    assert moved(adapted, trainer.model) > 1e-3


def test_with_warmup_the_same_learning_rates_give_the_same_weights(tmp_path: Path) -> None:
    """With W steps of warm-up the two take other learning rates: with raytt's, Trainer reaches raytt's weights."""
    args = arguments(tmp_path, warmup_steps=10, lr_scheduler_type="linear")
    trainer = OrderedTrainer(model=network(), args=args, train_dataset=sentences())
    adapted = raytt.from_transformers(trainer)
    assert adapted.candidate.warmup_steps == 10
    assert any("warm-up" in note for note in adapted.notes)
    ours = final_weights(adapted)
    factors = adapted.candidate.lr_factors(STEPS)
    trainer.create_optimizer()
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda step: float(factors[min(step, STEPS - 1)])
    )
    trainer.train()
    assert distance(ours, trainer.model.state_dict()) < 1e-5


def test_classifier_with_model_init_columns_and_validation(tmp_path: Path) -> None:
    def model_init() -> nn.Module:
        config = BertConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return AutoModelForSequenceClassification.from_config(config)

    rows = [
        {"input_ids": row["input_ids"] % 30, "label": number % 2, "text": "not for the model"}
        for number, row in enumerate(sentences())
    ]
    args = arguments(tmp_path, seed=5, num_train_epochs=3, max_steps=-1, lr_scheduler_type="constant")
    trainer = OrderedTrainer(
        model_init=model_init, args=args, train_dataset=rows, eval_dataset={"a": rows[:4], "b": rows}
    )
    trainer.state.global_step = 1
    adapted = raytt.from_transformers(trainer, name="rows")
    assert (adapted.task.name, adapted.seed, adapted.candidate.max_epochs) == ("rows", 5, 3.0)
    assert len(adapted.task.validation) == 4
    assert any("'a'" in note for note in adapted.notes)
    batch = adapted.task.collate(rows[:2])  # type: ignore[misc]
    assert set(batch) == {"input_ids", "labels"}
    trainer.args.max_steps = STEPS
    trainer.train()
    assert distance(final_weights(adapted), trainer.model.state_dict()) < 1e-5


def test_travels_to_another_process(tmp_path: Path) -> None:
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    adapted = raytt.from_transformers(trainer)
    here = final_weights(adapted)
    (tmp_path / "task").write_bytes(cloudpickle.dumps((adapted.task, adapted.candidate)))
    code = (
        "import sys, torch; from ray import cloudpickle; from raytt.rates.reference import train_as_given\n"
        "task, candidate = cloudpickle.load(open(sys.argv[1], 'rb'))\n"
        f"log = train_as_given(task, candidate, seed={SEED}, steps={STEPS}, stop_ratio=1e-9, num_points=1)\n"
        "torch.save(log.points[-1].state, sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "task", tmp_path / "state"], check=True)
    assert distance(here, torch.load(tmp_path / "state")) == 0.0


def test_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    adapted = raytt.from_transformers(trainer)
    final_weights(adapted)
    assert distance(before, trainer.model.state_dict()) == 0.0
    assert (trainer.optimizer, trainer.lr_scheduler) == (None, None)
    with torch.no_grad():
        next(trainer.model.parameters()).add_(1.0)
    assert distance(before, adapted.task.model().state_dict()) == 0.0


@pytest.mark.parametrize(
    "candidate",
    [
        {"optimizer": "adamw", "lr": 3e-4, "batch_size": 8, "schedule": "cosine", "min_lr": 1e-5, "max_steps": 20},
        {"optimizer": "sgd", "lr": 0.1, "momentum": 0.5, "batch_size": 4, "schedule": "linear", "max_epochs": 2},
        {"optimizer": "rmsprop", "lr": 1e-3, "alpha": 0.9, "batch_size": 4, "max_steps": 12},
        {"optimizer": "adamw", "lr": 1e-3, "betas": (0.8, 0.95), "schedule": "polynomial", "power": 2, "max_steps": 9},
    ],
)
def test_arguments_mean_the_candidate(candidate: dict[str, Any], tmp_path: Path) -> None:
    wanted = raytt.Candidate(**candidate)
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    changes = raytt.from_transformers(trainer).arguments(wanted)
    for args in (
        dataclasses.replace(trainer.args, **changes),
        TrainingArguments(output_dir=str(tmp_path), **{**quiet(), **changes}),
    ):
        again = Trainer(model=network(), args=args, train_dataset=sentences())
        assert raytt.from_transformers(again).candidate == wanted


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optim": "adafactor"}, "in proportion to the weights, unlike those of torch.optim.Adafactor"),
        ({"neftune_noise_alpha": 5.0}, "NEFTune"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "'reduce_lr_on_plateau'"),
    ],
)
def test_refuses_what_is_not_taken_over(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    more = {"eval_strategy": "steps"} if "plateau" in str(changes) else {}
    trainer = OrderedTrainer(
        model=network(),
        args=arguments(tmp_path, **changes, **more),
        train_dataset=sentences(),
        eval_dataset=sentences(),
    )
    with pytest.raises(raytt.InputError, match=named):
        raytt.from_transformers(trainer)


def test_refuses_deepspeed_and_a_training_step_of_its_own(tmp_path: Path) -> None:
    class OwnStep(OrderedTrainer):
        def training_step(self, *given: Any, **named: Any) -> Tensor:
            return super().training_step(*given, **named)

    with pytest.raises(raytt.InputError, match="OwnStep has a `training_step`"):
        raytt.from_transformers(OwnStep(model=network(), args=arguments(tmp_path), train_dataset=sentences()))
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    trainer.is_deepspeed_enabled = True
    with pytest.raises(raytt.InputError, match="DeepSpeed"):
        raytt.from_transformers(trainer)
    with pytest.raises(raytt.InputError, match="got a LlamaForCausalLM"):
        raytt.from_transformers(network())


def test_8_bit_adamw_counts_as_adamw(tmp_path: Path) -> None:
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    trainer.args.optim = "paged_adamw_8bit"
    adapted = raytt.from_transformers(trainer)
    assert adapted.candidate.optimizer.name == "adamw"
    assert any("8 bits" in note for note in adapted.notes)


def test_parameters_that_trainer_does_not_decay_are_a_group_for_candidates_that_decay(tmp_path: Path) -> None:
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    adapted = raytt.from_transformers(trainer)
    assert adapted.candidate.optimizer.weight_decay == 0.0  # type: ignore[attr-defined]
    (group,) = adapted.task.parameter_groups
    decayed = set(trainer.get_decay_parameter_names(trainer.model))
    assert set(group.patterns) == {name for name, _ in trainer.model.named_parameters()} - decayed
    assert (group.lr_scale, group.weight_decay) == (1.0, 0.0)


class TellsOwnLoss(OwnLoss):
    """Says that its loss is the minibatch's own, so that the step's is the mean of them."""

    loss_is_scaled_for_ga = False


class TakesNoCount(OrderedTrainer):
    """As with a network that does not take num_items_in_batch."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.model_accepts_loss_kwargs = False


@pytest.mark.parametrize(
    ("kind", "changes", "more"),
    [
        (OrderedTrainer, {}, {}),
        (OrderedTrainer, {"optim": "sgd", "learning_rate": 0.3, "max_grad_norm": 0.1}, {}),
        (OrderedTrainer, {"bf16": True}, {}),
        (OrderedTrainer, {"label_smoothing_factor": 0.1}, {}),
        (OrderedTrainer, {}, {"compute_loss_func": own_loss_function}),
        (TakesNoCount, {"optim": "sgd", "learning_rate": 0.3}, {}),
        (OwnLoss, {"optim": "sgd", "learning_rate": 0.1}, {}),
        (TellsOwnLoss, {"optim": "sgd", "learning_rate": 0.3}, {}),
    ],
)
def test_weights_after_50_accumulated_steps_are_those_of_trainer(
    kind: type[Trainer], changes: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    """Numbers of tokens that count differ tenfold between minibatches; how they weigh differs between Trainers."""
    args = arguments(tmp_path, gradient_accumulation_steps=4, **changes)
    trainer = kind(model=network(), args=args, train_dataset=ragged(), data_collator=padded, **more)
    adapted = raytt.from_transformers(trainer)
    assert (adapted.candidate.batch_size, adapted.candidate.accumulation_steps) == (BATCH, 4)
    assert adapted.arguments(adapted.candidate)["gradient_accumulation_steps"] == 4
    ours = final_weights(adapted)
    trainer.train()
    assert distance(ours, trainer.model.state_dict()) < 1e-5
    assert moved(adapted, trainer.model) > 1e-3


def test_a_loss_of_ones_own_under_accumulation_is_warned_of(tmp_path: Path) -> None:
    def notes(kind: type[Trainer], **changes: Any) -> str:
        args = arguments(tmp_path, **changes)
        return " ".join(raytt.from_transformers(kind(model=network(), args=args, train_dataset=ragged())).notes)

    assert "loss_is_scaled_for_ga = False" in notes(OwnLoss, gradient_accumulation_steps=4)
    for kind, times in ((OwnLoss, 1), (TellsOwnLoss, 4), (OrderedTrainer, 4)):
        assert "loss_is_scaled_for_ga" not in notes(kind, gradient_accumulation_steps=times)


def test_the_loss_of_a_step_is_the_mean_over_all_its_tokens(tmp_path: Path) -> None:
    args = arguments(tmp_path, gradient_accumulation_steps=4)
    trainer = OrderedTrainer(model=network(), args=args, train_dataset=ragged(), data_collator=padded)
    loss, module = raytt.from_transformers(trainer).task.batch_loss, network()
    assert isinstance(loss, StepLoss)
    batches = [padded(ragged()[first : first + BATCH]) for first in range(0, SAMPLES, BATCH)]
    parts = [float(part.detach()) for part in loss.parts(module, batches)]
    total, tokens = 0.0, 0
    for row in ragged():
        logits = module(input_ids=row["input_ids"][None]).logits[0, :-1]
        total += float(nn.functional.cross_entropy(logits, row["labels"][1:], reduction="sum").detach())
        tokens += int((row["labels"][1:] != -100).sum())
    assert sum(parts) == pytest.approx(total / tokens, rel=1e-5)
    assert max(parts) > 4 * min(parts)


def test_loss_is_the_mean_over_tokens_of_the_minibatch(tmp_path: Path) -> None:
    trainer = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    adapted = raytt.from_transformers(trainer)
    rows = sentences()[:BATCH]
    module = network()
    logits = module(input_ids=torch.stack([row["input_ids"] for row in rows])).logits[:, :-1]
    labels = torch.stack([row["labels"] for row in rows])[:, 1:]
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert adapted.task.batch_loss is not None
    found = adapted.task.batch_loss(module, adapted.task.collate(rows))  # type: ignore[misc]
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_dropout_is_that_of_the_trainer(tmp_path: Path) -> None:
    """In train mode, and a function of raytt's seed alone."""
    trainer = OrderedTrainer(model=network(attention_dropout=0.5), args=arguments(tmp_path), train_dataset=sentences())
    adapted = raytt.from_transformers(trainer)
    runs = [train_as_given(adapted.task, adapted.candidate, seed=seed, steps=3).losses for seed in (0, 0)]
    assert runs[0].tolist() == runs[1].tolist()
    still = OrderedTrainer(model=network(), args=arguments(tmp_path), train_dataset=sentences())
    other = raytt.from_transformers(still)
    assert train_as_given(other.task, other.candidate, seed=0, steps=3).losses.tolist() != runs[0].tolist()


def test_samples_are_counted(tmp_path: Path) -> None:
    args = arguments(tmp_path, per_device_train_batch_size=5)
    adapted = raytt.from_transformers(OrderedTrainer(model=network(), args=args, train_dataset=sentences()))
    assert adapted.num_samples == SAMPLES
    assert any("smaller minibatch" in note for note in adapted.notes)
