"""The network ready for probing and training: which parameters train, in which mode, and what the user must be told."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import UninitializedParameter

from raytt.errors import InputError
from raytt.task.losses import Loss
from raytt.task.task import Inputs, Task
from raytt.training.datasets import (
    choose_subsample,
    default_forward,
    forward_as_given,
    load_batch,
    open_dataset,
    to_device,
)
from raytt.training.parameter_groups import TrainedGroup, trained_groups

NORM_SAMPLES = 1024
"""Most samples on which batch-norm statistics are re-estimated."""
NORM_BATCH_SIZE = 64
"""Samples per batch of that re-estimation."""

_DROPOUT_ATTRIBUTES = ("dropout", "dropout_p", "dropout_prob", "attention_dropout")


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedModel:
    """A network with its trainable parameters chosen and its mode set."""

    module: nn.Module
    """The network; ``requires_grad`` is set on the trainable parameters only."""
    forward: Callable[[nn.Module, Inputs], Tensor]
    """How inputs become outputs of shape (samples, outputs)."""
    trainable: dict[str, nn.Parameter]
    """Trainable parameters by name, in the order of ``named_parameters``, tied weights once."""
    groups: tuple[TrainedGroup, ...]
    """Those of the trainable parameters; each is in one."""
    notes: tuple[str, ...]
    """What the user must be told, one sentence each."""

    @property
    def num_trainable(self) -> int:
        """D, the number of trainable weights."""
        return sum(p.numel() for p in self.trainable.values())

    @property
    def num_params(self) -> int:
        """The number of all weights."""
        return sum(p.numel() for p in self.module.parameters())


def prepare_model(
    task: Task, *, device: str | torch.device = "cpu", norm_batches: Iterable[Inputs] | None = None
) -> PreparedModel:
    """Build the network, choose what trains, and put norms and dropout in a mode that has per-sample gradients.

    Parameters that the factory froze (``requires_grad=False``) stay frozen.

    Args:
        task: Its factory, patterns, mode and, for batch norms to be re-estimated, data.
        device: Where the network shall live.
        norm_batches: Inputs on which batch-norm statistics are re-estimated if the task asks for it; None takes up to
            `NORM_SAMPLES` samples of the task's training data.

    Raises:
        InputError: If the factory gives no network, weights are not finite, no parameter trains, a pattern matches
            nothing, ``mode='train'`` would make samples depend on each other or on chance, or the task asks for
            what only training mode has (parameter groups, another precision, sample weights and more).
    """
    _refuse_training_settings(task)
    module = _build(task)
    _check_weights(module)
    trainable, groups, notes = _choose_trainable(module, task)
    notes += _set_mode(module, task)
    module.to(device)
    if task.reestimate_norms:
        batches = norm_batches if norm_batches is not None else _own_batches(task)
        notes += _reestimate_norms(module, task.forward or default_forward, batches, device)
    return PreparedModel(
        module=module,
        forward=task.forward or default_forward,
        trainable=trainable,
        groups=groups,
        notes=tuple(notes),
    )


def prepare_for_training(task: Task, *, device: str | torch.device = "cpu") -> PreparedModel:
    """Build the network and choose what trains, with every module in the mode into which ``module.train()`` puts it.

    This is the network as a training loop has it: batch norms use the statistics of the minibatch and update their
    running ones, dropout and stochastic depth are active, and a network that overrides ``train`` (to keep norms in eval
    mode, say) does so here. `prepare_model` in contrast needs outputs that do not depend on the rest of the batch.

    Raises:
        InputError: If the factory gives no network, weights are not finite, no parameter trains, a pattern matches
            nothing, or a parameter belongs to two groups.
    """
    module = _build(task)
    _check_weights(module)
    trainable, groups, notes = _choose_trainable(module, task)
    module.train()
    module.to(device)
    # A function of the user's may take outputs of any form; what is known of losses holds for tensors.
    function = callable(task.loss) and not isinstance(task.loss, nn.Module | Loss)
    return PreparedModel(
        module=module,
        forward=task.forward or (forward_as_given if function else default_forward),
        trainable=trainable,
        groups=groups,
        notes=tuple(notes),
    )


def prepare_as_trained(task: Task, *, device: str | torch.device = "cpu") -> PreparedModel:
    """The network in the mode in which the task is trained: `prepare_for_training` or `prepare_model`."""
    return prepare_for_training(task, device=device) if task.mode == "train" else prepare_model(task, device=device)


def weights_fingerprint(module: nn.Module) -> str:
    """A hash of names, dtypes, shapes and values of all parameters and buffers, 32 hexadecimal digits.

    Two calls of a task's factory must give the same fingerprint, on every machine.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _build(task: Task) -> nn.Module:
    if isinstance(task.model, nn.Module):
        raise InputError(
            f"Task {task.name!r} has a network ({type(task.model).__name__}) as `model`, not its factory.",
            "Give a function without arguments that builds the network and loads its weights.",
        )
    module = task.model()
    if not isinstance(module, nn.Module):
        raise InputError(
            f"The model factory of task {task.name!r} returned {type(module).__name__}, not a torch.nn.Module.",
            "Return the network from the factory.",
        )
    return module


def _check_weights(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise InputError(
                f"Parameter {name} has no values yet (a lazy module).", "Run one forward pass in the model factory."
            )
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise InputError(
                f"Parameter {name} holds NaN or infinite values.", "Load other weights, or repair them in the factory."
            )
    for name, norm in _batch_norms(module):
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None and not bool(torch.isfinite(statistic).all()):
                raise InputError(
                    f"The running statistics of batch norm {name} hold NaN or infinite values.",
                    "Load other weights, or repair them in the factory.",
                )


def _refuse_training_settings(task: Task) -> None:
    """Per-sample gradients, and the simulation on them, know one learning rate and one weight decay for all weights, in
    the precision of the weights; and their targets are on the weights themselves.
    """
    given = {
        "parameter_groups": bool(task.parameter_groups),
        "decay_norms_and_biases=False": not task.decay_norms_and_biases,
        f"precision={task.precision!r}": task.precision != "float32",
        f"ema_decay={task.ema_decay!r}": task.ema_decay is not None,
        "sample_weights": task.sample_weights is not None,
        f"last_batch={task.last_batch!r}": task.last_batch != "straddle",
        "mix": task.mix is not None,
    }
    for name, is_set in given.items():
        if is_set:
            raise InputError(
                f"Task {task.name!r} has {name} with mode='eval'.", "Use mode='train', which knows it, or leave it out."
            )


def _choose_trainable(
    module: nn.Module, task: Task
) -> tuple[dict[str, nn.Parameter], tuple[TrainedGroup, ...], list[str]]:
    aliases: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    every = [name for names in aliases.values() for name in names]
    if not every:
        raise InputError(f"The network of task {task.name!r} has no parameters.", "Check the model factory.")
    for pattern in task.trainable:
        if not any(fnmatchcase(name, pattern.removeprefix("!")) for name in every):
            near = difflib.get_close_matches(pattern.removeprefix("!"), every, n=3, cutoff=0.3) or every[:3]
            raise InputError(
                f"The pattern {pattern!r} in Task.trainable matches no parameter.",
                f"Parameter names look like: {', '.join(near)}.",
            )
    excluded = [p[1:] for p in task.trainable if p.startswith("!")]
    included = [p for p in task.trainable if not p.startswith("!")] or (["*"] if excluded else [])

    def selected(parameter: nn.Parameter) -> bool:
        names = aliases[id(parameter)]
        return any(fnmatchcase(n, p) for n in names for p in included) and not any(
            fnmatchcase(n, p) for n in names for p in excluded
        )

    _refuse_complex({n: p for n, p in module.named_parameters() if p.requires_grad and selected(p)})
    chosen = {n: p for n, p in module.named_parameters() if p.is_floating_point() and selected(p)}
    trainable = {n: p for n, p in chosen.items() if p.requires_grad}
    if not trainable:
        reason = "the model factory froze those that match" if chosen else "none matches"
        raise InputError(
            f"No parameter trains: Task.trainable is {tuple(task.trainable)!r} and {reason}.",
            f"Parameter names look like: {', '.join(every[:3] + every[-2:])}.",
        )
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    frozen = len(chosen) - len(trainable)
    groups, notes = trained_groups(task, trainable, {n: aliases[id(p)] for n, p in module.named_parameters()})
    if frozen:
        notes.append(f"{frozen} parameters that the model factory froze stay frozen.")
    return trainable, groups, notes


def _refuse_complex(chosen: Mapping[str, nn.Parameter]) -> None:
    name = next((name for name, parameter in chosen.items() if parameter.is_complex()), None)
    if name is not None:
        raise InputError(
            f"Parameter {name} would train and is complex; raytt trains real weights only.",
            "Keep it as pairs of real numbers and use torch.view_as_complex in forward, or exclude "
            f"it with '!{name}' in Task.trainable.",
        )


def _set_mode(module: nn.Module, task: Task) -> list[str]:
    norms = _batch_norms(module)
    dropouts = _active_dropouts(module)
    for name, norm in norms:
        if norm.running_mean is None:
            raise InputError(
                f"Batch norm {name} keeps no running statistics, so it mixes the samples of a batch even in eval mode.",
                "Build it with track_running_stats=True, or use group norm.",
            )
    if task.mode == "train":
        _refuse_train_mode(task, norms, dropouts)
        module.train()
        return []
    if task.mode != "eval":
        raise InputError(f"Task.mode is {task.mode!r}.", "Use 'eval' or 'train'.")
    module.eval()
    notes = []
    if norms and not task.reestimate_norms:
        runs = "layer runs with its" if len(norms) == 1 else "layers run with their"
        notes.append(f"{len(norms)} batch-norm {runs} stored statistics (eval mode).")
    if dropouts:
        notes.append(
            f"{len(dropouts)} dropout {'layer is' if len(dropouts) == 1 else 'layers are'} inactive (eval mode)."
        )
    return notes


def _refuse_train_mode(task: Task, norms: list[tuple[str, _BatchNorm]], dropouts: list[str]) -> None:
    if norms:
        raise InputError(
            f"Task {task.name!r} asks for mode='train', but batch norm {norms[0][0]} (and {len(norms) - 1} more) would "
            "then mix the samples of a batch, which leaves no per-sample gradient.",
            "Use mode='eval', if need be with reestimate_norms=True, or group norm.",
        )
    if dropouts:
        raise InputError(
            f"Task {task.name!r} asks for mode='train', but dropout {dropouts[0]} (and {len(dropouts) - 1} more) would "
            "then be active, which makes the network random.",
            "Use mode='eval', or set the dropout rate to 0.",
        )


def _batch_norms(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    return [(name, m) for name, m in module.named_modules() if isinstance(m, _BatchNorm)]


def _active_dropouts(module: nn.Module) -> list[str]:
    """Names of modules that would drop values in train mode: dropout layers, and layers that call it as a function."""
    found = []
    for name, part in module.named_modules():
        rates = [part.p] if isinstance(part, _DropoutNd) else [getattr(part, a, None) for a in _DROPOUT_ATTRIBUTES]
        if any(isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0 for rate in rates):
            found.append(name or type(part).__name__)
    return found


def _own_batches(task: Task) -> Iterator[Inputs]:
    dataset = open_dataset(task.data, task)
    total = len(dataset)  # type: ignore[arg-type]
    index = choose_subsample(total, min(total, NORM_SAMPLES), 0)
    for start in range(0, len(index), NORM_BATCH_SIZE):
        part = index[start : start + NORM_BATCH_SIZE]
        # A trailing batch of one sample has no variance of its own where a layer sees one value per channel.
        if len(part) > 1:
            yield load_batch(task, dataset, part)[0]


def _reestimate_norms(
    module: nn.Module,
    forward: Callable[[nn.Module, Inputs], Tensor],
    batches: Iterable[Inputs],
    device: str | torch.device,
) -> list[str]:
    """Replace running statistics by the plain average over the given batches (Izmailov et al. 2018, §3.3).

    Only the batch norms leave eval mode meanwhile, so dropout stays off and the result is deterministic.
    """
    norms = [norm for _, norm in _batch_norms(module)]
    if not norms:
        return []
    momenta = [norm.momentum for norm in norms]
    was_training = module.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    empty = True
    with torch.no_grad():
        for inputs in batches:
            forward(module, to_device(inputs, device))
            empty = False
    if empty:
        raise InputError(
            "Batch-norm statistics cannot be re-estimated from fewer than two samples.",
            "Give more samples, or leave reestimate_norms off.",
        )
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.train(was_training)
    return [f"Batch-norm statistics were re-estimated on the task's data (layers: {len(norms)}; eval mode)."]
