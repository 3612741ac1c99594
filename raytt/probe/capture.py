"""Watches a forward pass and notes where trainable parameters are used.

Functions are watched, not modules: ``torch.nn.functional.linear(x, module.weight)`` inside an attention layer, a
subclass that pads before it convolves, a tied weight or a bare parameter are all seen as what they are. Whatever uses a
parameter in a way that no rule covers makes that parameter *opaque*; it then takes the generic route.
"""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from raytt.probe.layers import RULES
from raytt.probe.layers.use import Segment, Site, Use


class Capture(TorchFunctionMode):
    """Context of one forward pass; afterwards `uses` and `opaque` tell what happened.

    Args:
        trainable: Parameters by name.
        spread: Sites whose result is one sample wide because all samples share it (position embeddings); it is
            repeated to ``num_samples`` so that each sample gets a gradient of its own.
        num_samples: Samples in the micro-batch.
    """

    def __init__(
        self, trainable: Mapping[str, nn.Parameter], *, spread: frozenset[Site] = frozenset(), num_samples: int = 1
    ) -> None:
        super().__init__()
        self.uses: list[Use] = []
        """Uses that a rule covers, in order."""
        self.opaque: dict[str, str] = {}
        """Parameters used in any other way, with the function that did."""
        self._spread = spread
        self._num_samples = num_samples
        self._names = {id(p): name for name, p in trainable.items()}
        self._parameters = trainable
        self._storages: dict[int, list[str]] = {}
        for name, p in trainable.items():
            self._storages.setdefault(p.untyped_storage().data_ptr(), []).append(name)
        self._counts: Counter[Site] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = self._owners(args, kwargs) if torch.is_grad_enabled() else set()
        if not found:
            return func(*args, **kwargs)
        opened = _opened(func)
        if opened is not None:
            with self:
                return opened(*args, **kwargs)
        result = func(*args, **kwargs)
        rule = RULES.get(func)
        if rule is not None and isinstance(result, Tensor) and result.requires_grad:
            use = _apply(rule, result, self._locate, args, kwargs)
            if use is not None and {s.name for s in use.segments} == found:
                return self._record(use, result)
        results = [t for t in _tensors(result) if t.requires_grad]
        if not all(self._aliases(t) & found for t in results):
            for name in found:
                self.opaque.setdefault(name, getattr(func, "__name__", str(func)))
        return result

    def _record(self, use: Use, result: Tensor) -> Tensor:
        key = (use.kind, *(f"{s.name}+{s.start}" for s in use.segments))
        self._counts[key] += 1
        use.site = (*key, str(self._counts[key]))
        if use.site in self._spread:
            result = result.expand(self._num_samples, *result.shape[1:]).clone()
        elif self._aliases(result):
            # Otherwise it would be met again as the parameter itself.
            result = result.clone()
        use.edge = get_gradient_edge(result)
        use.shape = result.shape
        self.uses.append(use)
        return result

    def _owners(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> set[str]:
        """Names of trainable parameters among the arguments, themselves or as views."""
        return {
            name for value in (args, kwargs) for t in _tensors(value) if t.requires_grad for name in self._aliases(t)
        }

    def _aliases(self, tensor: Tensor) -> set[str]:
        name = self._names.get(id(tensor))
        if name is not None:
            return {name}
        if not tensor._is_view():
            return set()
        sharing = self._storages.get(tensor.untyped_storage().data_ptr(), ())
        first, last = _span(tensor)
        spans = {name: _span(self._parameters[name]) for name in sharing}
        return {name for name, (start, stop) in spans.items() if start <= last and first <= stop}

    def _locate(self, value: object) -> Segment | None:
        if not isinstance(value, Tensor) or not value.requires_grad:
            return None
        name = self._names.get(id(value))
        if name is not None:
            return Segment(name=name, start=0, shape=value.shape)
        if not value.is_contiguous():
            return None
        for name in self._aliases(value):
            parameter = self._parameters[name]
            start = int(value.storage_offset()) - int(parameter.storage_offset())
            if parameter.is_contiguous() and start >= 0 and start + value.numel() <= parameter.numel():
                return Segment(name=name, start=start, shape=value.shape)
        return None


def _span(tensor: Tensor) -> tuple[int, int]:
    """First and last element of its storage that a tensor touches."""
    first = int(tensor.storage_offset())
    return first, first + sum((size - 1) * int(step) for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _apply(rule: Any, result: Tensor, locate: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Use | None:
    try:
        use: Use | None = rule(result, locate, *args, **kwargs)
    except TypeError:  # an overload with other arguments than the rule's
        return None
    return use


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


@functools.cache
def _opened(func: Any) -> Any:
    """A copy of a torch function written in Python that does not hand itself over to function modes, or None.

    With it the functions that e.g. ``multi_head_attention_forward`` calls are seen one by one.
    """
    if not isinstance(func, types.FunctionType) or func.__closure__ or not func.__module__.startswith("torch."):
        return None
    checks = [name for name in func.__code__.co_names if name.startswith("has_torch_function")]
    if not checks:
        return None
    namespace = {**func.__globals__, **dict.fromkeys(checks, lambda *_: False)}
    opened = types.FunctionType(func.__code__, namespace, func.__name__, func.__defaults__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened
