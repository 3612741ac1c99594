"""Optimizer steps of a configuration, as the user's own training loop takes them.

What a step is stands here alone: the reference run, validation and the timing of steps all take theirs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raytt.task.candidate import Candidate
from raytt.training.model import PreparedModel
from raytt.training.objective import Objective
from raytt.training.parameter_groups import make_optimizer, set_learning_rate


class Steps:
    """The optimizer of a configuration on a network, one update at a time.

    Args:
        model: What is trained, in the mode in which it is trained.
        objective: What is lowered.
        candidate: How.
        ema_decay: Of a moving average of the weights; None: there is none.
    """

    def __init__(
        self, model: PreparedModel, objective: Objective, candidate: Candidate, *, ema_decay: float | None = None
    ) -> None:
        self._model, self._objective, self._candidate = model, objective, candidate
        self._optimizer = make_optimizer(model.trainable, model.groups, candidate)
        device = next(iter(model.trainable.values())).device.type
        self._scaler = GradScaler(device, enabled=objective.scales_loss)
        self._average = (
            None
            if ema_decay is None
            else AveragedModel(model.module, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)  # type: ignore[no-untyped-call]
        )

    @property
    def optimizer(self) -> Optimizer:
        """Of torch, with its state."""
        return self._optimizer

    def averaged(self) -> PreparedModel | None:
        """The network with the moving average of weights and running statistics after the steps taken so far.

        It is the network itself before the first step, and after it (the average begins there, as in torch). None
        without an average.
        """
        if self._average is None:
            return None
        parameters = dict(self._average.module.named_parameters())
        return replace(
            self._model,
            module=self._average.module,
            trainable={name: parameters[name] for name in self._model.trainable},
        )

    def take(
        self,
        rate: float,
        read: Callable[[NDArray[np.int64]], Any],
        rows: NDArray[np.int64] | Sequence[NDArray[np.int64]],
    ) -> float:
        """One update with learning rate ``rate`` on the samples ``rows``; their loss before it.

        With gradient accumulation they are cut in A minibatches of B in order, each passed on its own, and gradients of
        their parts of the step's loss add up (`Objective.parts`; the mean, unless the task's loss says otherwise).

        Args:
            rate: η of this step, as the schedule has it.
            read: Gives the minibatch of chosen samples, on the device.
            rows: Numbers of the samples, shape ``(A·B,)``, or those of each of the A minibatches.
        """
        set_learning_rate(self._optimizer, rate)
        self._optimizer.zero_grad(set_to_none=True)
        times, total = self._candidate.accumulation_steps, 0.0
        parts = rows.reshape(times, -1) if isinstance(rows, np.ndarray) else rows
        for value in self._objective.parts(self._model, map(read, parts), times):
            self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            total += float(value.detach())
        self.update()
        return total

    def update(self) -> None:
        """What follows once gradients are there: clip them, move the weights, and the average after them."""
        if self._candidate.max_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.trainable.values(), self._candidate.max_grad_norm)
        # Passed over where the scaled gradient is not finite, as in any loop with a scaler.
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update_parameters(self._model.module)
