"""``TrainingArguments`` of a candidate: the way back from a ranking to transformers."""

from __future__ import annotations

from typing import Any

from raytt.adapters.transformers.schedules import scheduler_arguments
from raytt.errors import InputError
from raytt.task.candidate import Candidate


def training_arguments(candidate: Candidate, *, steps: int) -> dict[str, Any]:
    """Keyword arguments of ``transformers.TrainingArguments`` with which ``Trainer`` trains as the candidate says.

    The batch size is that of one device. Weight decay goes to the parameters to which Trainer applies it, so not to
    biases and norms.

    Args:
        candidate: How to train.
        steps: Its whole budget T, from which shares of it follow.

    Raises:
        InputError: If Trainer cannot be told so by arguments.
    """
    if candidate.max_epochs is not None:
        budget = {"num_train_epochs": candidate.max_epochs, "max_steps": -1}
    else:
        budget = {"max_steps": steps}
    return {
        "learning_rate": candidate.lr,
        **optimizer_arguments(candidate),
        "per_device_train_batch_size": candidate.batch_size,
        "gradient_accumulation_steps": candidate.accumulation_steps,
        "max_grad_norm": candidate.max_grad_norm or 0.0,
        **scheduler_arguments(candidate, steps=steps),
        **budget,
    }


def optimizer_arguments(candidate: Candidate) -> dict[str, Any]:
    """``optim``, ``optim_args``, ``weight_decay`` and Adam's numbers.

    Raises:
        InputError: If there is no such ``optim``.
    """
    own: Any = candidate.optimizer
    name = own.name
    # Without weight decay Adam and AdamW are the same.
    if name == "adamw" or (name == "adam" and own.weight_decay == 0.0):
        return {
            "optim": "adamw_torch",
            "adam_beta1": own.betas[0],
            "adam_beta2": own.betas[1],
            "adam_epsilon": own.eps,
            "weight_decay": own.weight_decay,
        }
    if name == "sgd":
        given = {"momentum": own.momentum, "nesterov": own.nesterov} if own.momentum else {}
        return {"optim": "sgd", **_optim_args(given), "weight_decay": own.weight_decay}
    if name == "rmsprop":
        given = {"alpha": own.alpha, "momentum": own.momentum, "eps": own.eps}
        return {"optim": "rmsprop", **_optim_args(given), "weight_decay": own.weight_decay}
    why = {
        "adam": "TrainingArguments has no `optim` for 'adam' with weight decay coupled to the gradient",
        "adafactor": "`optim='adafactor'` of TrainingArguments is not torch's, which raytt predicts: its steps are not "
        "in proportion to the weights",
    }.get(name, f"TrainingArguments has no `optim` for {name!r}")
    raise InputError(f"{why}.", "Use adamw, or give Trainer the optimizer as `optimizers`.")


def _optim_args(given: dict[str, Any]) -> dict[str, Any]:
    return {"optim_args": ",".join(f"{key}={value}" for key, value in given.items())} if given else {}
