"""Random projections of parameter-space vectors to R coordinates, generated from a counter-based hash.

Notation: D trainable weights in named parameters, R = ``proj_dim``, S the D × R projection with E[S Sᵀ] = I, so that
inner products of sketched vectors are unbiased: E⟨Sᵀu, Sᵀv⟩ = ⟨u, v⟩.

A sketch is *accumulated*: pieces of a vector, given as ``(parameter name, first coordinate, values)``, are added to a
buffer in any grouping of rows, and `Sketch.finish` turns the buffer into the projection. Uses of one parameter in
several places of a network simply add up under its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.errors import InputError
from raytt.probe import kernels

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


class Sketch(Protocol):
    """A linear map from parameter space to ``proj_dim`` coordinates."""

    @property
    def label(self) -> str:
        """Name and version of the law, for fingerprints: equal labels, seeds and R mean equal projections."""
        ...

    @property
    def proj_dim(self) -> int:
        """R."""
        ...

    @property
    def buffer_dim(self) -> int:
        """Length W of the last axis of an accumulation buffer."""
        ...

    def accumulate(self, buffer: Tensor, name: str, start: int, values: Tensor) -> None:
        """Add the sketch of a piece of parameter ``name``.

        Args:
            buffer: Changed in place, shape ``(..., W)``; zeros at first.
            name: The parameter's name.
            start: Position of ``values[..., 0]`` in the flattened parameter.
            values: Consecutive coordinates, shape ``(..., k)``, on the buffer's device and in its type.
        """
        ...

    def accumulate_outer(self, buffer: Tensor, name: str, start: int, left: Tensor, right: Tensor) -> None:
        """Add the sketch of sums of outer products, ``accumulate`` of Σ_p left[i, c, u, p] · right[i, p, k].

        Args:
            buffer: Changed in place, shape ``(n, C, W)``.
            name: The parameter's name.
            start: Position of (u, k) = (0, 0) in the flattened parameter; k runs fastest.
            left: Shape ``(n, C, U, P)``.
            right: Shape ``(n, P, K)``.
        """
        ...

    def finish(self, buffer: Tensor) -> Tensor:
        """The projection, ``(..., W) -> (..., R)``."""
        ...


def project(sketch: Sketch, vector: Mapping[str, Tensor]) -> Tensor:
    """Sᵀv for one parameter-space vector given by parameter name, in double precision; shape ``(R,)``."""
    buffer = torch.zeros(sketch.buffer_dim, dtype=torch.float64)
    for name, tensor in vector.items():
        sketch.accumulate(buffer, name, 0, tensor.detach().to("cpu", torch.float64).reshape(-1))
    return sketch.finish(buffer)


def outer_values(left: Tensor, right: Tensor) -> Tensor:
    """Σ_p left[i, c, u, p] · right[i, p, k], shape ``(n, C, U·K)``."""
    n, C, U, P = left.shape
    return torch.bmm(left.reshape(n, C * U, P), right).reshape(n, C, -1)


class CountSketch:
    """CountSketch with block shifts: (Sᵀv)_r = Σ σ_j v_j over all j = bR + i with (i + h_b) mod R = r.

    Each parameter is flattened and cut into blocks of R coordinates (the last one shorter). Coordinate j carries a
    random sign σ_j, block b one random cyclic shift h_b, both from a hash of (``proj_seed``, parameter name, position),
    so they are the same on every machine, device and thread count. Coordinates of one block never collide, coordinates
    of different blocks collide with probability 1/R, hence

        E⟨Sᵀu, Sᵀv⟩ = ⟨u, v⟩,    Var⟨Sᵀu, Sᵀv⟩ ≤ (‖u‖²‖v‖² + ⟨u, v⟩²)/R ≤ 2‖u‖²‖v‖²/R.

    There is no scatter and no atomic addition; a row's bits depend on that row alone, however rows are batched.

    Source: Charikar, Chen, Farach-Colton (2002), *Finding frequent items in data streams*; feature hashing of
    Weinberger et al. (2009), lemma 2, for the variance. Here one shift per block replaces the hash of each position.

    Args:
        proj_dim: R ≥ 1.
        proj_seed: Any integer.

    Raises:
        InputError: If ``proj_dim`` is below 1.
    """

    label = "block-shift-countsketch-1"

    def __init__(self, proj_dim: int, proj_seed: int) -> None:
        if proj_dim < 1:
            raise InputError(f"proj_dim is {proj_dim}, below 1.", "Give a positive sketch dimension, e.g. 2048.")
        self.proj_dim = int(proj_dim)
        self.proj_seed = int(proj_seed)
        self._codes: dict[tuple[str, torch.device], _Code] = {}

    @property
    def buffer_dim(self) -> int:
        """2R: a shifted block is added without wrapping around, `finish` folds the two halves."""
        return 2 * self.proj_dim

    def accumulate(self, buffer: Tensor, name: str, start: int, values: Tensor) -> None:
        """See `Sketch.accumulate`."""
        count = values.shape[-1]
        code = self._code(name, start + count, values.device)
        signs = code.signs[start : start + count].to(values.dtype)
        if buffer.device.type == "cpu":
            kernels.add_values(buffer, signs, code.shifts, start, values)
            return
        done = 0
        while done < count:
            block, offset = divmod(start + done, self.proj_dim)
            size = min(self.proj_dim - offset, count - done)
            first = int(code.shifts[block]) + offset
            # ±1 times a value is exact, so fused and unfused multiply-add give the same bits.
            buffer[..., first : first + size].addcmul_(values[..., done : done + size], signs[done : done + size])
            done += size

    def accumulate_outer(
        self, buffer: Tensor, name: str, start: int, left: Tensor, right: Tensor, factor: Tensor | None = None
    ) -> None:
        """See `Sketch.accumulate_outer`; with a factor by which each coordinate is multiplied, shape ``(U·K,)``."""
        if buffer.device.type != "cpu":
            values = outer_values(left, right)
            self.accumulate(buffer, name, start, values if factor is None else values * factor)
            return
        end = start + left.shape[2] * right.shape[2]
        code = self._code(name, end, buffer.device)
        signs = code.signs[start:end].to(buffer.dtype)
        kernels.add_outer(buffer, signs if factor is None else signs * factor, code.shifts, start, left, right)

    def finish(self, buffer: Tensor) -> Tensor:
        """See `Sketch.finish`."""
        return buffer[..., : self.proj_dim] + buffer[..., self.proj_dim :]

    def _code(self, name: str, length: int, device: torch.device) -> _Code:
        code = self._codes.get((name, device))
        if code is None or len(code.signs) < length:
            # Doubling: pieces come in ascending order, and every prefix of the hash is final.
            size = length if code is None else max(length, 2 * len(code.signs))
            code = _generate(self.proj_seed, name, size, self.proj_dim, device)
            self._codes[name, device] = code
        return code


@dataclass(frozen=True, kw_only=True, eq=False)
class _Code:
    signs: Tensor
    """±1 per coordinate, int8 on the wanted device (a float would cost four times the network's memory)."""
    shifts: NDArray[np.int64]
    """One shift in 0…R−1 per block."""


def _generate(seed: int, name: str, size: int, proj_dim: int, device: torch.device) -> _Code:
    digest = hashlib.blake2b(f"{CountSketch.label}\0{seed}\0{name}".encode(), digest_size=16).digest()
    sign_key, shift_key = (int.from_bytes(part, "little") for part in (digest[:8], digest[8:]))
    words = _hash(sign_key, -(-size // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little", count=size)
    signs = torch.from_numpy(bits.astype(np.int8) * np.int8(2) - np.int8(1)).to(device)
    shifts = (_hash(shift_key, -(-size // proj_dim)) % np.uint64(proj_dim)).astype(np.int64)
    return _Code(signs=signs, shifts=shifts)


def _hash(key: int, count: int) -> NDArray[np.uint64]:
    """Splitmix64 (Steele, Lea, Flood 2014) of the counters 1…count under ``key``, shape ``(count,)``."""
    z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


class ScaledSketches:
    """Several projections of one vector at once, each after its own scaling of the coordinates: [S E_1 v, S E_2 v, …].

    With E = diag(e): rows J E Sᵀ of a network whose weights were rescaled, as preconditioned optimizers want them.

    Args:
        sketch: S.
        factors: e by parameter name, flattened, one mapping per projection.
    """

    def __init__(self, sketch: CountSketch, factors: Sequence[Mapping[str, Tensor]]) -> None:
        self._sketch = sketch
        self._factors = factors
        self.label = f"{sketch.label} scaled"
        self.proj_dim = sketch.proj_dim * len(factors)
        self.buffer_dim = sketch.buffer_dim * len(factors)

    def accumulate(self, buffer: Tensor, name: str, start: int, values: Tensor) -> None:
        """See `Sketch.accumulate`."""
        width = self._sketch.buffer_dim
        for i, factors in enumerate(self._factors):
            factor = factors[name][start : start + values.shape[-1]].to(values)
            self._sketch.accumulate(buffer[..., i * width : (i + 1) * width], name, start, values * factor)

    def accumulate_outer(self, buffer: Tensor, name: str, start: int, left: Tensor, right: Tensor) -> None:
        """See `Sketch.accumulate_outer`."""
        width, end = self._sketch.buffer_dim, start + left.shape[2] * right.shape[2]
        for i, factors in enumerate(self._factors):
            part = buffer[..., i * width : (i + 1) * width]
            self._sketch.accumulate_outer(part, name, start, left, right, factors[name][start:end].to(buffer))

    def finish(self, buffer: Tensor) -> Tensor:
        """See `Sketch.finish`: the projections one after the other."""
        width = self._sketch.buffer_dim
        parts = [self._sketch.finish(buffer[..., i * width : (i + 1) * width]) for i in range(len(self._factors))]
        return torch.cat(parts, dim=-1)
