"""Steps of the reduction, each a task for one CPU. All give a receipt first, which is small, and then what is large.

Notation: N training samples, C outputs, sketch dimension R, r coordinates; Θ = Z Zᵀ, A = Zᵀ Z = V Λ Vᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.cluster.plumbing.process import settle
from raytt.dynamics.kernel.gram import assemble, flat_rows, gram_tile, second_moment
from raytt.dynamics.kernel.reduction import basis_from_second_moment, coordinates_from_gram
from raytt.dynamics.kernel.spectrum import Spectrum, spectrum_from_principal_coordinates
from raytt.dynamics.kernel.statistics import Statistics, statistics_of
from raytt.dynamics.tangent import Samples
from raytt.errors import InputError
from raytt.store.run import Arrays
from raytt.task.losses import Loss

Floats = NDArray[np.float64]

HEAD = ("index", "outputs", "radial", "targets")
"""Arrays of a shard that are small."""
ROWS = ("rows",)
"""The one that is not."""


def strip(first: Arrays, *others: Arrays) -> tuple[None, list[Floats]]:
    """Tiles of one block against others."""
    settle(threads=1, gpus=0)
    return None, [gram_tile(first["rows"], other["rows"]) for other in others]


def moment(*shards: Arrays) -> tuple[None, Floats]:
    """A of some blocks."""
    settle(threads=1, gpus=0)
    total = second_moment(shards[0]["rows"])
    for shard in shards[1:]:
        total += second_moment(shard["rows"])
    return None, total


def add(first: Floats, second: Floats) -> tuple[None, Floats]:
    """The sum."""
    return None, first + second


def basis(total: Floats) -> tuple[None, Floats]:
    """V from A."""
    settle(threads=1, gpus=0)
    return None, basis_from_second_moment(total)


def rotate(shard: Arrays, axes: Floats) -> tuple[None, Floats]:
    """Coordinates of one block, (nC, r)."""
    settle(threads=1, gpus=0)
    return None, flat_rows(shard["rows"]) @ axes


def finish(
    loss: Loss, counts: tuple[int, int], by_gram: bool, *parts: Any
) -> tuple[tuple[Spectrum, Statistics, int], Arrays, Arrays]:
    """Bring everything together: a receipt, the reduced training samples, the reduced validation samples.

    Args:
        loss: On outputs.
        counts: Blocks of training and of validation samples.
        by_gram: Whether ``parts`` end with strips of tiles; else with coordinates of each block.
        parts: Heads of all blocks, then a strip or the coordinates of each; training first.
    """
    settle(threads=1, gpus=0)
    num_train, total = counts[0], sum(counts)
    heads = [_stack(parts[:num_train]), _stack(parts[num_train:total])]
    train_parts, other_parts = parts[total : total + num_train], parts[total + num_train :]
    if by_gram:
        sizes = [head["radial"].size for head in parts[:num_train]]
        tiles = {(i, i + j): tile for i, strip in enumerate(train_parts) for j, tile in enumerate(strip)}
        others = [np.concatenate(strip, axis=1) for strip in other_parts]
        train, rest = coordinates_from_gram(assemble(tiles, sizes), others)
    else:
        train, rest = np.concatenate(train_parts), list(other_parts)
    shape = heads[0]["radial"].shape
    rows = train.reshape(*shape, -1)
    samples = Samples(
        outputs=torch.tensor(heads[0]["outputs"]).double(),
        jacobian=torch.from_numpy(rows),
        radial=torch.tensor(heads[0]["radial"]).double(),
        targets=torch.tensor(heads[0]["targets"]),
    )
    statistics = statistics_of(samples, loss)
    if not math.isfinite(statistics.mean_loss):
        raise InputError(
            f"The mean training loss is {statistics.mean_loss} at the pre-trained weights.",
            "Check the loss function and the targets.",
        )
    residual = loss.residual(samples.outputs, samples.targets).numpy()
    spectrum = spectrum_from_principal_coordinates(rows, residual)
    validation = heads[1] and heads[1] | {"jacobian": _as_rows(np.concatenate(rest), heads[1])}
    return (spectrum, statistics, rows.shape[-1]), heads[0] | {"jacobian": _as_rows(train, heads[0])}, validation


def _stack(heads: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([head[name] for head in heads]) for name in HEAD} if heads else {}


def _as_rows(coordinates: Floats, head: Arrays) -> NDArray[np.float32]:
    """In the precision in which rows are probed; all sums are done by now."""
    return coordinates.reshape(*head["radial"].shape, -1).astype(np.float32)
