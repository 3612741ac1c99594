"""What would be trained: model, data, loss, and which parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.checks import one_of, within
from raytt.task.losses import Loss
from raytt.task.parameter_groups import ParameterGroup

PRECISIONS = ("float32", "bfloat16", "float16")
"""In which network and loss may be computed."""
LAST_BATCHES = ("straddle", "drop", "keep")
"""What may become of the end of an epoch."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A fine-tuning task. Everything in it travels to Ray workers, so models and data are best given as factories.

    A batch is what ``collate`` makes of a list of items: a pair ``(inputs, targets)``. ``inputs`` may be a tensor or a
    mapping of tensors; outputs are ``forward(model, inputs)`` of shape (samples, outputs).
    """

    name: str
    """Used in run names and reports: letters, digits, '-', '_' and '.'."""
    model: Callable[..., nn.Module]
    """Factory of the network with its pre-trained weights; must give the same weights on every call. Arguments that
    have defaults, as in ``def model(lora_rank=8)``, may be hyperparameters of the search space."""
    data: Any
    """Training data: a map-style dataset of (input, target) items, a pair (inputs, targets) of tensors, arrays, lists
    or pandas objects, a pandas DataFrame, the path of an Arrow/Parquet file, a ray.data.Dataset, or a function without
    arguments returning one of these."""
    validation: Any = None
    """Validation data in the same forms, or None."""
    loss: str | Loss | nn.Module | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    """A name in `raytt.task.losses.LOSSES` ('cross_entropy', 'squared_error', …), a loss of torch.nn, a Loss, or a
    function of outputs and targets: per-sample losses, with ``mode="train"`` also one number for the batch."""
    batch_loss: Callable[[nn.Module, Any], Tensor] | None = None
    """``batch_loss(model, batch)``: the mean loss of a batch as one number, in the place of ``loss``, ``forward`` and
    targets; ``batch`` is what ``collate`` makes of a list of items. Needs ``mode="train"``. For a transformers model
    whose batches hold labels: ``lambda model, batch: model(**batch).loss``. With gradient accumulation a step takes the
    mean of its minibatches' losses, unless this is a `raytt.task.step_loss.StepLoss`."""
    trainable: Sequence[str] = ("*",)
    """Patterns (fnmatch) over parameter names: those that train. A leading '!' excludes, and exclusions alone leave the
    rest. What the factory froze (``requires_grad=False``) stays frozen."""
    parameter_groups: Sequence[ParameterGroup] = ()
    """Parameters with another learning rate or weight decay than the rest; a parameter belongs to one group at most.
    Needs ``mode="train"``."""
    decay_norms_and_biases: bool = True
    """Whether weight decay also takes biases and parameters of fewer than two dimensions, as the scales of norms; a
    parameter group's own ``weight_decay`` goes before. False needs ``mode="train"``."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """'bfloat16' or 'float16': network and loss are computed under ``torch.autocast``, and with 'float16' the loss is
    scaled by ``torch.amp.GradScaler``. The loss takes outputs as float32; weights stay as they are. Needs
    ``mode="train"``."""
    ema_decay: float | None = None
    """Quality in eval mode is that of a moving average of the weights, w̄ ← d w̄ + (1 − d) w after each step, running
    statistics with them (``torch.optim.swa_utils.AveragedModel`` with ``use_buffers=True``); d in (0, 1). None: of the
    weights themselves. Needs ``mode="train"``."""
    sample_weights: Sequence[float] | None = None
    """A weight ≥ 0 of each training sample: an epoch is N draws with replacement in proportion to them, as with
    ``torch.utils.data.WeightedRandomSampler``. None: every sample once in an epoch. Needs ``mode="train"``."""
    last_batch: Literal["straddle", "drop", "keep"] = "straddle"
    """What becomes of the samples at the end of an epoch that fill no minibatch: the next epoch fills it up
    ('straddle'), they are left out ('drop', a data loader's ``drop_last=True``), or they are a smaller minibatch
    ('keep', a data loader's default). 'drop' and 'keep' need ``mode="train"``."""
    forward: Callable[[nn.Module, Any], Tensor] | None = None
    """How inputs become outputs. Default: ``model(inputs)``, for mappings ``model(**inputs)``; then ``.logits``."""
    collate: Callable[[list[Any]], tuple[Any, Tensor]] | None = None
    """From a list of items to (inputs, targets). Default: torch's collation of (input, target) pairs."""
    mix: Callable[[Any, Any], tuple[Any, Any]] | None = None
    """``mix(inputs, targets)`` of each training minibatch before it is used, drawn afresh each time, as
    ``torchvision.transforms.v2.MixUp`` and ``CutMix`` or ``timm.data.Mixup`` do: mixed inputs, and class probabilities
    as targets. Validation is not mixed. Needs ``mode="train"``; with `batch_loss` mix there, if ``model.training``."""
    mode: Literal["train", "eval"] = "train"
    """'train': the network as ``module.train()`` has it, data read afresh in every step; predictions follow descent
    rates of minibatches. Training losses are those of the minibatches, smoothed; validation is in eval mode. 'eval':
    training with the norms' stored statistics and without dropout; predictions follow per-sample gradients."""
    reestimate_norms: bool = False
    """Whether batch-norm running statistics are first re-estimated on the task's own data."""
    input_columns: Sequence[str] | None = None
    """Columns that form the inputs of Arrow, Parquet, pandas or ray.data items (one: a tensor; several: a mapping)."""
    target_column: str | None = None
    """Column of Arrow, Parquet, pandas or ray.data items that holds the target."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise InputError(
                f"Task.name is {self.name!r}.",
                "Use letters, digits, '-', '_' and '.', beginning with a letter or digit, as for a directory.",
            )
        one_of("precision", self.precision, PRECISIONS)
        one_of("last_batch", self.last_batch, LAST_BATCHES)
        if self.ema_decay is not None:
            within("ema_decay", self.ema_decay, 0.0, 1.0, open_low=True, open_high=True)
        if self.batch_loss is not None and self.mix is not None:
            raise InputError(
                f"Task {self.name!r} has a batch_loss and mix, which takes inputs and targets.",
                "Mix in batch_loss, where model.training says that it is no validation, and leave mix out.",
            )
        if self.batch_loss is not None and self.mode == "eval":
            raise InputError(
                f"Task {self.name!r} has a batch_loss and mode='eval', which needs the outputs and the loss of every "
                "sample.",
                "Use mode='train', or give `loss` (and if need be `forward`) in the place of batch_loss.",
            )

    def built_for(self, candidate: Candidate) -> Task:
        """The same task, with the model that a candidate asks for (`Candidate.model_arguments`)."""
        if not candidate.model_arguments:
            return self
        return replace(self, model=functools.partial(self.model, **dict(candidate.model_arguments)))


Inputs = Tensor | Mapping[str, Tensor]
