"""What a ``LightningModule`` finds in the place of its Trainer: numbers it may ask for, and logs that go nowhere."""

from __future__ import annotations

from typing import Any

from torch import nn

from raytt.errors import InputError

_SILENCED = ("log", "log_dict", "print")
"""Methods of a module that only tell what it does."""


def is_lightning(value: Any) -> bool:
    """Whether it is a ``LightningModule``, of the package lightning or of the older pytorch_lightning."""
    return any(
        kind.__name__ == "LightningModule" and kind.__module__.partition(".")[0] in ("lightning", "pytorch_lightning")
        for kind in type(value).__mro__
    )


class StandIn:
    """The part of a Trainer that ``training_step`` and ``configure_optimizers`` commonly read.

    Args:
        steps: The whole budget T; None where it is not known.
        num_training_batches: Minibatches of an epoch.
        accumulate_grad_batches: Of the Trainer.
        max_epochs: Of the Trainer.
        max_steps: Of the Trainer.
    """

    def __init__(
        self,
        *,
        steps: int | None,
        num_training_batches: int,
        accumulate_grad_batches: int,
        max_epochs: int | None,
        max_steps: int | None,
    ) -> None:
        self._steps = steps
        self.num_training_batches, self.accumulate_grad_batches = num_training_batches, accumulate_grad_batches
        self.max_epochs, self.max_steps = max_epochs, max_steps
        self.current_epoch = self.global_step = self.global_rank = self.local_rank = 0
        self.world_size = self.num_devices = self.num_nodes = 1
        self.training = self.is_global_zero = True
        self.validating = self.testing = self.sanity_checking = self.barebones = False
        self.logger = self.datamodule = None
        self.loggers: list[Any] = []
        self.callback_metrics: dict[str, Any] = {}

    @property
    def estimated_stepping_batches(self) -> int:
        """T.

        Raises:
            InputError: If it is not known.
        """
        if self._steps is None:
            raise InputError(
                "The module asks for estimated_stepping_batches, the budget in steps.",
                "Give trainer=lightning.Trainer(max_epochs=…) or max_steps.",
            )
        return self._steps

    def __getattr__(self, name: str) -> Any:
        # Pickle and deepcopy ask for their own protocol before anything is set.
        if name.startswith("__"):
            raise AttributeError(name)
        raise InputError(
            f"The module reads self.trainer.{name}, but raytt trains without lightning's Trainer.",
            "Keep what the loss needs in the module itself.",
        )


class Attach:
    """Gives a module a stand-in for its Trainer and drops what it logs."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def __call__(self, module: nn.Module) -> None:
        """Change the module in place, and Lightning modules within it."""
        for part in module.modules():
            if is_lightning(part):
                vars(part)["_trainer"] = self._stand_in
                for name in _SILENCED:
                    setattr(part, name, _nothing)


def _nothing(*given: Any, **named: Any) -> None:
    """Takes whatever would be logged."""
