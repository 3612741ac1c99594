"""One forward and one backward pass on a first minibatch: whether they work, and what they leave undone.

What a user's network, collation or loss raises here is turned into one message that names the place and, where the kind
is known, what to write instead.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raytt.errors import InputError
from raytt.training.model import PreparedModel
from raytt.training.objective import Objective

_REMEDIES = (
    (
        ("Double", "Float"),
        "Numbers of double and single precision meet: convert inputs and targets with .float() where the data is read.",
    ),
    (
        ("Long", "Float"),
        "Whole and real numbers meet: labels of classes must be integers (.long()), targets of regression and of "
        "several labels real numbers (.float()).",
    ),
    (("BFloat16",), "Half and single precision meet: convert inputs to the dtype of the weights, or use autocast."),
    (("out of bounds",), "Number labels from 0 to the number of the network's outputs less one."),
    (("index out of range in self",), "Token ids and other indices must lie within the embedding that they look up."),
    (
        ("does not require grad",),
        "The loss does not depend on a trainable parameter: look for torch.no_grad(), "
        ".detach() or .item() on the way, and at Task.trainable.",
    ),
    (
        ("unexpected keyword argument",),
        "Rename or drop inputs in `collate`, or give Task a `forward` (with batch_loss: "
        "pass on what the network takes).",
    ),
    (
        ("required positional argument",),
        "Losses are called with outputs and targets alone: give a function of these two, "
        "or a batch_loss for losses of three and more (triplets, pairs).",
    ),
    (("shape",), "Look at the shapes that `collate` gives and that the network returns."),
    (("size",), "Look at the shapes that `collate` gives and that the network returns."),
)
"""Words of a message, and what to do about it; the first that fit."""
SHOWN = 3
"""Names that a list in a message shows."""


@dataclass(frozen=True, kw_only=True)
class FirstPass:
    """What a forward and a backward pass on a minibatch gave."""

    loss: float
    """Of the minibatch."""
    without_gradient: tuple[str, ...]
    """Trainable parameters that got none."""
    changed: tuple[str, ...]
    """Parameters that the forward pass itself changed, such as weights kept below a norm."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must be told, one sentence each."""
        found = []
        if self.without_gradient:
            found.append(
                f"{_count(self.without_gradient, 'trainable parameter gets', 'trainable parameters get')} no gradient "
                f"({listed(self.without_gradient)}): the loss does not depend on them, and they stay as they are."
            )
        if self.changed:
            found.append(
                f"The forward pass itself changes {_count(self.changed, 'parameter', 'parameters')} "
                f"({listed(self.changed)}), as with weights kept below a norm."
            )
        return tuple(found)


def first_pass(model: PreparedModel, objective: Objective, batch: Any, *, task: str) -> FirstPass:
    """Loss and gradients of a minibatch; gradients are dropped again, buffers stay as the pass left them.

    Args:
        model: In the mode in which it is trained.
        objective: The task's loss.
        batch: On the device of the network.
        task: Its name, for messages.

    Raises:
        InputError: If a pass fails, the loss is not finite, or no parameter gets a gradient.
    """
    before = {name: (p._version, p.data_ptr()) for name, p in model.module.named_parameters()}
    with explained(f"The loss of a first minibatch of task {task!r} cannot be computed"):
        value = objective.value(model, batch)
    after = {name: (p._version, p.data_ptr()) for name, p in model.module.named_parameters()}
    loss = float(value.detach())
    if not math.isfinite(loss):
        raise InputError(
            f"The loss of a first minibatch of task {task!r} is {loss}.",
            "Check inputs, targets and weights for NaN and infinite values, and the loss for a logarithm or a division "
            "by zero.",
        )
    with explained(f"The gradient of a first minibatch of task {task!r} cannot be computed"):
        value.backward()  # type: ignore[no-untyped-call]
    without = tuple(name for name, p in model.trainable.items() if p.grad is None)
    for parameter in model.trainable.values():
        parameter.grad = None
    if len(without) == len(model.trainable):
        raise InputError(
            f"No trainable parameter of task {task!r} gets a gradient (such as {listed(without)}).",
            "Check Task.trainable, and whether the network runs under torch.no_grad() or detaches its outputs.",
        )
    return FirstPass(
        loss=loss,
        without_gradient=without,
        changed=tuple(name for name in before if before[name] != after.get(name)),
    )


@contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn whatever user code raises inside into an `InputError` that says where and, if known, what to do.

    Args:
        problem: What was tried, without a full stop.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise InputError(f"{problem}: {_message(error)} ({_place(error)}).", _remedy(error)) from error


def listed(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _count(names: tuple[str, ...], one: str, several: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else several}"


def _message(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}".rstrip(".: ")


def _place(error: Exception) -> str:
    """The last line of code outside torch and raytt on the way to the error, else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = {Path(torch.__file__).parent, Path(__file__).parents[1]}
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(library) for library in libraries)]
    frame = (own or list(frames))[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"


def _remedy(error: Exception) -> str:
    text = str(error)
    return next(
        (remedy for words, remedy in _REMEDIES if all(word in text for word in words)),
        "Compute the loss of one batch by hand to see the whole traceback.",
    )
