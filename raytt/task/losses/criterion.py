"""Loss modules of torch, and whatever is built like them, as they are.

A criterion is a module called with (outputs, targets). In training mode its own value is the loss of the batch, with
whatever mean it takes. In eval mode a copy with ``reduction="none"`` gives values per position, whose mean over all but
the first dimension is the sample's loss.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.losses._autograd import AutogradLoss
from raytt.task.losses._base import check_outputs
from raytt.task.losses._layout import as_outputs_have


@dataclass(frozen=True, kw_only=True, eq=False)
class Criterion(AutogradLoss):
    """A loss module: the mean that it takes itself in training mode, per-sample values where it has them.

    Subclasses say what else is known of a class of torch; they are registered in `raytt.task.losses.CRITERIA`.

    Raises:
        InputError: If the module has parameters, which a task could not train.
    """

    module: nn.Module
    """Called as ``module(outputs, targets)``."""
    _MEANS: ClassVar[tuple[str, ...]] = ("mean", "none")
    """Reductions whose value is the mean of `per_sample`."""

    def __post_init__(self) -> None:
        trainable = [name for name, _ in self.module.named_parameters()]
        if trainable:
            raise InputError(
                f"The loss {type(self.module).__name__} has parameters of its own ({', '.join(trainable[:3])}), which "
                "would not be trained.",
                "Make it a part of the network, and give Task a batch_loss that calls both.",
            )

    def prepared(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Targets in the dtype and shape that the module takes for these outputs."""
        return as_outputs_have(outputs, targets) if targets.is_floating_point() else targets

    def batch_value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self._matched(self.module, outputs)(outputs, self.prepared(outputs, targets))
        return value.mean()

    def per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        separate: Any = copy.copy(self._matched(self.module, outputs))
        separate.reduction = "none"
        values: Tensor = separate(outputs, self.prepared(outputs, targets))
        return values.flatten(1).mean(dim=1) if values.ndim > 1 else values

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise `InputError` unless the mean over samples of per-sample losses is what the module itself gives."""
        check_outputs(outputs)
        if getattr(self.module, "reduction", None) not in self._MEANS:
            raise self._no_samples("has no per-sample losses whose mean it is")
        try:
            values: Any = self.per_sample(outputs, targets)
            whole = self.batch_value(outputs, targets)
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(
                f"{type(self.module).__name__} cannot take outputs of shape {tuple(outputs.shape)} with targets "
                f"{targets.dtype} of shape {tuple(targets.shape)}: {str(error).splitlines()[0]}",
                "Give targets as the module takes them, or Task a `forward` that shapes outputs.",
            ) from error
        if values.shape != outputs.shape[:1] or not torch.allclose(values.mean(), whole, rtol=1e-4, atol=1e-6):
            raise self._no_samples("gives a batch another value than the mean of its samples (weights, ignored labels)")

    def convert(self, targets: Tensor) -> Tensor:
        return targets

    def identity(self) -> object:
        digest = hashlib.sha256()
        for name, buffer in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {buffer.dtype} {tuple(buffer.shape)}\n".encode())
            digest.update(buffer.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        kind = type(self.module)
        plain = {k: v for k, v in sorted(vars(self.module).items()) if isinstance(v, str | int | float) and k[0] != "_"}
        return f"{kind.__module__}.{kind.__qualname__} {plain} {digest.hexdigest()[:12]}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.identity() == other.identity()

    def __hash__(self) -> int:
        return hash(self.identity())

    def _matched(self, module: nn.Module, outputs: Tensor) -> nn.Module:
        """The module with its buffers (weights of classes, say) on the outputs' device and in their precision."""
        buffers = dict(module.named_buffers())
        wanted = torch.float32 if outputs.dtype in (torch.float16, torch.bfloat16) else outputs.dtype
        fits = all(b.device == outputs.device and b.dtype in (wanted, torch.int64) for b in buffers.values())
        return module if fits else copy.deepcopy(module).to(device=outputs.device, dtype=wanted)

    def _no_samples(self, what: str) -> InputError:
        return InputError(
            f"The loss {type(self.module).__name__} {what}, but mode='eval' needs a loss per sample.",
            "Use mode='train', which takes the loss of the batch as it is.",
        )
