"""Which samples each training step sees: the convention that real training and simulation share.

Each epoch is a fresh permutation of the N samples. The epochs, one after the other, form a stream, and the stream is
cut into batches of exactly B samples, so that a batch may straddle two epochs and none is short. The permutation of an
epoch depends on N, the seed and the epoch's number alone: any stretch of steps can be had without the earlier ones, and
runs of different batch size walk through the same stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError


def permutation(num_samples: int, *key: int | str) -> NDArray[np.int64]:
    """A uniform permutation of 0…N−1 that is a function of ``key`` alone, shape ``(N,)`` int64.

    The order of N random 64-bit words (ties, of probability < N²/2⁶⁵, in order of position). Raw words of a bit
    generator are the same in every version of numpy, which ``Generator.permutation`` does not promise.
    """
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    words = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(num_samples)
    return np.argsort(words, kind="stable").astype(np.int64)


def check_batch_size(num_samples: int, batch_size: int) -> None:
    """Raise `InputError` unless 1 ≤ B ≤ N."""
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}.", "Give a batch size of at least 1.")
    if batch_size > num_samples:
        raise InputError(
            f"batch_size is {batch_size}, but there are only {num_samples} training samples: a batch would hold a "
            "sample twice.",
            f"Use a batch size of at most {num_samples}, or more training samples.",
        )


def minibatches(num_samples: int, batch_size: int, steps: int, seed: int, *, start: int = 0) -> NDArray[np.int64]:
    """Sample positions of the steps ``start … start + steps − 1``, shape ``(steps, B)``, values in 0…N−1.

    Raises:
        InputError: If B is not in 1…N.
    """
    check_batch_size(num_samples, batch_size)
    first, last = start * batch_size, (start + steps) * batch_size
    epochs = range(first // num_samples, -(-last // num_samples))
    if steps < 1:
        return np.empty((0, batch_size), dtype=np.int64)
    stream = np.concatenate([_epoch(num_samples, seed, epoch) for epoch in epochs])
    offset = first - epochs[0] * num_samples
    return stream[offset : offset + steps * batch_size].reshape(steps, batch_size)


def iterate_minibatches(
    num_samples: int, batch_size: int, seed: int, *, start: int = 0, stop: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """The rows of `minibatches` one by one, shape ``(B,)`` each, from step ``start`` to ``stop`` (None: without end).

    Holds one epoch in memory.
    """
    check_batch_size(num_samples, batch_size)
    step = start
    epoch, offset = divmod(start * batch_size, num_samples)
    order = _epoch(num_samples, seed, epoch)
    while stop is None or step < stop:
        rest = order[offset : offset + batch_size]
        offset += batch_size
        if offset >= num_samples:
            epoch, offset = epoch + 1, offset - num_samples
            order = _epoch(num_samples, seed, epoch)
            rest = np.concatenate([rest, order[:offset]])
        yield rest
        step += 1


def iterate_steps(
    num_samples: int,
    batch_size: int,
    seed: int,
    *,
    accumulation_steps: int = 1,
    last_batch: str = "straddle",
    weights: NDArray[np.float64] | None = None,
    stop: int | None = None,
) -> Iterator[list[NDArray[np.int64]]]:
    """The A minibatches of each step, as a data loader gives them; without end unless ``stop`` is given.

    With the defaults the rows of `minibatches`, cut in A parts.

    Args:
        num_samples: N.
        batch_size: B.
        seed: Of all draws.
        accumulation_steps: A. The minibatches of a step follow one another, over the end of an epoch if need be.
        last_batch: What becomes of the N mod B samples at the end of an epoch: 'straddle' (the next epoch fills the
            minibatch up), 'drop' (left out, as with ``drop_last=True``) or 'keep' (a minibatch of their own, as with
            ``drop_last=False``).
        weights: Of the samples; an epoch is then N draws with replacement (``WeightedRandomSampler``).
        stop: Steps.

    Raises:
        InputError: If A·B is not in 1…N.
    """
    check_batch_size(num_samples, batch_size * accumulation_steps)
    loader = _minibatches_by_epoch(num_samples, batch_size, seed, last_batch, weights)
    step = 0
    while stop is None or step < stop:
        yield [next(loader) for _ in range(accumulation_steps)]
        step += 1


def _minibatches_by_epoch(
    num_samples: int, batch_size: int, seed: int, last_batch: str, weights: NDArray[np.float64] | None
) -> Iterator[NDArray[np.int64]]:
    rest = np.empty(0, dtype=np.int64)
    for epoch in count():
        order = np.concatenate([rest, _epoch(num_samples, seed, epoch, weights)])
        whole = len(order) - len(order) % batch_size
        yield from order[:whole].reshape(-1, batch_size)
        rest = order[whole:]
        if last_batch != "straddle":
            if last_batch == "keep" and len(rest):
                yield rest
            rest = rest[:0]


def weighted_positions(weights: NDArray[np.float64], number: int, *key: int | str) -> NDArray[np.int64]:
    """Positions drawn with replacement in proportion to ``weights``, a function of ``key`` alone; shape ``(number,)``.

    Inverse transform of raw 64-bit words, see `permutation`.
    """
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    words = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(number)
    # 53 bits, so that no uniform number is rounded up to 1.
    uniform = (words >> np.uint64(11)) * 2.0**-53
    ends = np.cumsum(weights)
    return np.asarray(np.searchsorted(ends, uniform * ends[-1], side="right"), dtype=np.int64)


def _epoch(num_samples: int, seed: int, epoch: int, weights: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    key = ("raytt minibatches", seed, epoch)
    return permutation(num_samples, *key) if weights is None else weighted_positions(weights, num_samples, *key)
