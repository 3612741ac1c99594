"""A network that exists already, as the factory that a task wants: the same weights on every call, on every machine.

The network is copied when it is captured, so that training the original afterwards changes nothing. When the factory
travels, its weights go beside the pickled structure, as arrays that Ray puts into the object store without a further
copy; tied weights stay tied. A process that receives it holds them once: networks that it builds share the weights that
do not train, and have copies of those that do.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray import cloudpickle
from torch import Tensor, nn

from raytt.errors import InputError


class CapturedModel:
    """Factory of copies of a network.

    Args:
        module: The network; it is copied to the CPU, with each parameter's ``requires_grad``.
        finish: Called in order with each network that is built, to change it in place; they travel with the factory.

    Raises:
        InputError: If the network cannot be copied.
    """

    def __init__(self, module: nn.Module, *, finish: Sequence[Callable[[nn.Module], None]] = ()) -> None:
        try:
            self._module = _copied(module, share_frozen=False)
        except Exception as error:
            # Copying runs the code of whatever the network holds, so that anything may be raised.
            raise InputError(
                f"The network {type(module).__name__} cannot be copied: {error}",
                "Give it as it was built, before hooks, wrappers or cached activations were attached.",
            ) from error
        self._finish = tuple(finish)

    def __call__(self) -> nn.Module:
        """A network of its own, on the CPU."""
        module = _copied(self._module, share_frozen=True)
        for step in self._finish:
            step(module)
        return module

    @property
    def travels_with(self) -> tuple[Any, ...]:
        """The classes of the network's modules, whose code workers need."""
        return (*dict.fromkeys(type(module) for module in self._module.modules()), *self._finish)

    def __getstate__(self) -> dict[str, Any]:
        tensors: list[Tensor] = []
        out = io.BytesIO()
        _StructurePickler(out, tensors).dump((self._module, self._finish))
        return {"structure": out.getvalue(), "tensors": [_packed(tensor) for tensor in tensors]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = [_unpacked(*packed) for packed in state["tensors"]]
        self._module, self._finish = _StructureUnpickler(io.BytesIO(state["structure"]), tensors).load()


Packed = tuple[bool, bool, torch.dtype, tuple[int, ...], NDArray[np.uint8]]
"""Whether it is a parameter, whether it trains, type, shape, bytes."""


class _StructurePickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Writes everything but plain tensors, which it collects: each once, however often it occurs."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors
        self._places: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not _is_plain(value):
            return None
        if id(value) not in self._places:
            self._places[id(value)] = len(self._tensors)
            self._tensors.append(value)
        return self._places[id(value)]


class _StructureUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, place: int) -> Tensor:
        return self._tensors[place]


def _is_plain(value: Any) -> bool:
    """A dense tensor of torch's own classes; quantized weights, say, know best how they travel."""
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _packed(tensor: Tensor) -> Packed:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data: NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return isinstance(tensor, nn.Parameter), tensor.requires_grad, tensor.dtype, tuple(tensor.shape), data


def _unpacked(parameter: bool, trains: bool, dtype: torch.dtype, shape: tuple[int, ...], data: Any) -> Tensor:
    # Memory of the object store must not be written to, and copying a state into a network does.
    tensor = torch.from_numpy(data.copy()).view(dtype).reshape(shape)
    return nn.Parameter(tensor, requires_grad=trains) if parameter else tensor.requires_grad_(trains)


def _copied(module: nn.Module, *, share_frozen: bool) -> nn.Module:
    """A copy on the CPU, without gradients; if asked, with the memory of weights that do not train in common."""
    memo: dict[int, Any] = {}
    for tensor in _plain_tensors(module):
        shares = share_frozen and isinstance(tensor, nn.Parameter) and not tensor.requires_grad
        values = tensor.detach() if shares else tensor.detach().to("cpu", copy=True)
        memo[id(tensor)] = (
            nn.Parameter(values, requires_grad=tensor.requires_grad)
            if isinstance(tensor, nn.Parameter)
            else values.requires_grad_(tensor.requires_grad)
        )
    return copy.deepcopy(module, memo)


def _plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (parameter for parameter in module.parameters() if _is_plain(parameter))
    yield from (buffer for buffer in module.buffers() if _is_plain(buffer))
