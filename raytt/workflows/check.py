"""A task tried out on this machine, without a cluster: everything that can go wrong before a ranking, in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raytt.adapters.search_space import draw
from raytt.cluster.plumbing import ray_dataset as ray_data
from raytt.cluster.plumbing import shipping
from raytt.errors import InputError, RayttError
from raytt.forecast.training_prediction import check_training_target
from raytt.rates.randomness import seeded
from raytt.rates.randomness_check import check_reopening
from raytt.results.task_check import TaskCheck, TaskFinding, Verdict
from raytt.settings.ranking import RankingSettings
from raytt.store.fingerprint import hash_nest
from raytt.task.losses import as_loss
from raytt.task.model_arguments import check_model_arguments, model_names
from raytt.task.nest import leaves
from raytt.task.target import Target
from raytt.task.target_check import check_sign, check_target
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.first_pass import explained, first_pass, listed
from raytt.training.model import PreparedModel, prepare_as_trained, weights_fingerprint
from raytt.training.objective import Objective
from raytt.training.step_timer import time_steps
from raytt.workflows.cautions import cautions

BATCH = 8
"""Samples of the batch that is passed through the network."""
TIMED_BATCH = 32
"""Samples of a timed step, or as many as there are, where no search space says otherwise."""
TIMED_STEPS = 3
SHOWN_PARTS = 6
"""Parts of a batch that are shown."""


def check(
    task: Task,
    search_space: Any = None,
    *,
    target: Target | float | str | None = None,
    num_candidates: int = RankingSettings.num_candidates,
    seed: int = RankingSettings.seed,
) -> TaskCheck:
    """Try a task out in this process: data, network, loss, gradients, evaluation, step time, journey to workers.

    Args:
        task: What would be trained.
        search_space: As `raytt.rank` takes it; None: candidates are not checked.
        target: When training would count as done; None: not checked.
        num_candidates: Configurations drawn from domains.
        seed: Of everything random.

    Returns:
        What was found. What goes wrong is a finding with a remedy, not an exception.
    """
    trial = _Trial(task)
    findings = list(trial.findings())
    if search_space is not None:
        findings += trial.tried("space", lambda: _space(trial, search_space, num_candidates, seed))
    if target is not None:
        findings += trial.tried("target", lambda: _target(trial, Target.parse(target)))
    return TaskCheck(task=task.name, findings=tuple(findings))


@dataclass
class _Trial:
    """What is known of a task so far."""

    task: Task
    objective: Objective = field(init=False)
    dataset: Any = None
    batch: Any = None
    model: PreparedModel | None = None
    num_samples: int | None = None
    lowest: float = math.inf

    def findings(self) -> Iterator[TaskFinding]:
        """Step by step; the first that fails ends it."""
        for what, step in (
            ("data", self._data),
            ("batch", self._batch),
            ("network", self._network),
            ("pass", self._pass),
            ("evaluation", self._evaluation),
            ("journey", self._journey),
            ("step", self._step),
        ):
            found = self.tried(what, step)
            yield from found
            if any(finding.verdict is Verdict.BAD for finding in found):
                return

    @staticmethod
    def tried(what: str, step: Callable[[], list[TaskFinding]]) -> list[TaskFinding]:
        """What a step found, or what went wrong in it."""
        try:
            with explained(f"Trying the {what} failed"):
                return step()
        except InputError as error:
            return [TaskFinding(what=what, verdict=Verdict.BAD, found=error.problem, remedy=error.remedy)]
        except RayttError as error:
            return [TaskFinding(what=what, verdict=Verdict.BAD, found=str(error))]

    def _data(self) -> list[TaskFinding]:
        if ray_data.is_ray_dataset(self.task.data):
            raise InputError(
                "The data is a ray.data.Dataset, which only a cluster reads.",
                "Check the task with a small part of it, such as data=list(dataset.take(64)).",
            )
        self.objective = Objective(self.task)
        with seeded("opening", 0):
            self.dataset = open_dataset(self.task.data, self.task)
        self.num_samples = len(self.dataset)
        check_reopening(self.task)
        text = f"{self.num_samples:,} samples, the same each time the data is opened"
        if self.task.validation is not None:
            text += f"; {len(open_dataset(self.task.validation, self.task)):,} for validation"  # type: ignore[arg-type]
        return [_good("data", text), *(_note("data", note) for note in getattr(self.dataset, "notes", ()))]

    def _batch(self) -> list[TaskFinding]:
        assert self.num_samples is not None
        rows = range(min(BATCH, self.num_samples))
        hashes = []
        for seed in (0, 1):
            with seeded("reading", seed):
                self.batch = self.objective.read(self.dataset, rows, training=True)
            hashes.append(hash_nest(self.batch))
        found = [_good("batch", _described(self.batch))]
        if hashes[0] != hashes[1]:
            note = "items differ each time they are read (augmentation)"
            if self.task.mode == "eval":
                remedy = "With mode='eval' one reading is kept: use mode='train' to train on fresh ones."
                found.append(_note("batch", note, remedy))
            else:
                found.append(_good("batch", f"{note}: read afresh in every step"))
        return found

    def _network(self) -> list[TaskFinding]:
        model = self.model = prepare_as_trained(self.task)
        again = self.task.model()
        if again is model.module:
            raise InputError(
                f"The model factory of task {self.task.name!r} returns the same network each time it is called, which "
                "would go on from where another run left it.",
                "Build the network anew in every call: take functools.cache off the factory.",
            )
        again.to(next(iter(model.trainable.values())).device)
        if weights_fingerprint(again) != weights_fingerprint(model.module) and not self.task.reestimate_norms:
            raise InputError(
                f"The model factory of task {self.task.name!r} gives other weights on each call.",
                "Load fixed weights, or draw new ones with a fixed seed inside the factory: torch.manual_seed(0).",
            )
        frozen = model.num_params - model.num_trainable
        size = f"{model.num_trainable:,} weights train, {frozen:,} are frozen ({_mib(model)})"
        found = [_good("network", size)]
        norms = sum(isinstance(m, _BatchNorm) and m.training for m in model.module.modules())
        if norms:
            found.append(_good("network", f"{norms} batch norms use the statistics of each minibatch"))
        return [*found, *(_note("network", note) for note in model.notes)]

    def _pass(self) -> list[TaskFinding]:
        assert self.model is not None
        if self.task.batch_loss is None and self.task.mode == "eval":
            inputs, targets = self.batch
            as_loss(self.task.loss).check(self.model.forward(self.model.module, inputs).detach(), targets)
        with seeded("pass", 0):
            passed = first_pass(self.model, self.objective, self.batch, task=self.task.name)
        self.lowest = min(passed.loss, self.objective.lowest(self.model, self.batch))
        got = len(self.model.trainable) - len(passed.without_gradient)
        found = [
            _good("loss", f"{passed.loss:.4g} on a first minibatch, mode={self.task.mode!r}"),
            _good("gradients", f"{got} of {len(self.model.trainable)} trainable parameters get one"),
            *(_note("gradients", note) for note in passed.notes),
        ]
        if self._is_random():
            found.append(_good("network", "random in training mode (dropout, stochastic depth)"))
        return found

    def _is_random(self) -> bool:
        assert self.model is not None
        values = []
        for seed in (0, 1):
            with seeded("pass", seed), torch.no_grad():
                values.append(float(self.objective.value(self.model, self.batch)))
        return values[0] != values[1]

    def _evaluation(self) -> list[TaskFinding]:
        """A pass in eval mode on validation data (else training data), and back."""
        assert self.model is not None
        module = self.model.module
        source = self.task.data if self.task.validation is None else self.task.validation
        dataset = open_dataset(source, self.task)
        rows = range(min(BATCH, len(dataset)))  # type: ignore[arg-type]
        before, training = weights_fingerprint(module), {m for m in module.modules() if m.training}
        module.eval()
        measured = self.objective.measure(self.model, self.objective.read(dataset, rows), len(rows))
        changed = weights_fingerprint(module) != before
        module.train(self.task.mode == "train")
        for part in module.modules():
            part.training = part in training
        if not math.isfinite(measured.loss):
            raise InputError(
                f"The loss in eval mode is {measured.loss}.", "Check validation data and running statistics for NaN."
            )
        text = f"loss {measured.loss / len(rows):.4g}"
        if measured.correct is not None:
            text += f", accuracy {measured.correct / len(rows):.0%}"
        found = [_good("evaluation", f"{text} on {len(rows)} samples in eval mode")]
        if changed:
            note = "the network changes its weights when it goes to eval mode, as adapters that fold themselves"
            found.append(_note("evaluation", note))
        return found

    def _journey(self) -> list[TaskFinding]:
        size = shipping.rehearse(self.task)
        remedy = "Load large data inside functions, so that workers read it themselves." if size > 100 << 20 else ""
        text = f"arrives in another process, {size / 2**20:,.1f} MiB"
        return [_note("journey", text, remedy) if remedy else _good("journey", text)]

    def _step(self) -> list[TaskFinding]:
        assert self.num_samples is not None
        size = min(TIMED_BATCH, self.num_samples)
        timed = time_steps(self.task, size, warmup=1, repeats=TIMED_STEPS, max_seconds=3.0)
        return [_good("step", f"about {timed.seconds:.2g} s with batch size {size} on this machine")]


def _space(trial: _Trial, search_space: Any, num_candidates: int, seed: int) -> list[TaskFinding]:
    names = model_names(trial.task.model)
    drawn = draw(search_space, num_candidates=num_candidates, seed=seed, model_names=names)
    check_model_arguments(trial.task, drawn.candidates)
    models = sorted({c.family for c in drawn.candidates if c.model_arguments})
    for candidate in {c.model_arguments: c for c in drawn.candidates if c.model_arguments}.values():
        with explained(f"Building the model of {candidate.family} failed"):
            prepare_as_trained(trial.task.built_for(candidate))
    sizes = sorted({c.batch_size for c in drawn.candidates})
    total = trial.num_samples
    if total is not None and sizes[-1] > total:
        raise InputError(
            f"A candidate has batch_size {sizes[-1]}, but the training data has only N = {total} samples.",
            f"Keep batch sizes in the search space to at most {total}.",
        )
    optimizers = sorted({c.optimizer.name for c in drawn.candidates})
    text = f"{len(drawn.candidates)} candidates: {', '.join(optimizers)}; batch sizes {', '.join(map(str, sizes))}"
    if models:
        text += f"; {len(models)} models, each with a reference run of its own"
    budgets = {c: c.budget(num_samples=total or 1, default_epochs=RankingSettings.max_epochs) for c in drawn.candidates}
    notes = (*drawn.notes, *(cautions(budgets) if total else ()))
    return [_good("space", text), *(_note("space", note) for note in notes)]


def _target(trial: _Trial, target: Target) -> list[TaskFinding]:
    task = trial.task
    loss = None if task.batch_loss is not None else as_loss(task.loss)
    check_target(target, loss=loss, has_validation=task.validation is not None)
    if task.mode == "train":
        check_training_target(target)
        check_sign(target, trial.lowest)
    return [_good("target", str(target))]


def _good(what: str, found: str) -> TaskFinding:
    return TaskFinding(what=what, verdict=Verdict.GOOD, found=found)


def _note(what: str, found: str, remedy: str = "") -> TaskFinding:
    return TaskFinding(what=what, verdict=Verdict.NOTE, found=found, remedy=remedy)


def _described(batch: Any) -> str:
    """Names, dtypes and shapes of the parts of a batch."""
    parts = [
        f"{name or 'batch'} {str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}"
        if isinstance(leaf, Tensor)
        else f"{name or 'batch'} {type(leaf).__name__}"
        for name, leaf in leaves(batch)
    ]
    names = {"0": "inputs", "1": "targets"}
    named = [f"{names.get(part.split()[0], part.split()[0])} {part.partition(' ')[2]}" for part in parts]
    return listed(tuple(named)) if len(named) > SHOWN_PARTS else ", ".join(named)


def _mib(model: PreparedModel) -> str:
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    training = 3 * sum(p.numel() * p.element_size() for p in model.trainable.values())
    return f"{weights / 2**20:,.1f} MiB, and {training / 2**20:,.1f} MiB for gradients and AdamW's state"
