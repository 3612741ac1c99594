"""Repeatable randomness of a network in training mode and of its data: every draw is a function of a key.

Dropout, stochastic depth and augmentation take their numbers from the global generators of torch, numpy and Python.
`seeded` sets all three from a key and afterwards puts them back, so that what is computed inside depends on the key
alone: not on what was computed before, in which order, or by which process.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*key: int | str) -> int:
    """A 63-bit seed that is a function of ``key`` alone, on every machine."""
    text = "/".join(map(str, ("raytt rates", *key)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded(*key: int | str, device: str | torch.device = "cpu") -> Iterator[None]:
    """Run a block with the global generators of torch, numpy and Python seeded from ``key``; restores them afterwards.

    Generators that a data set owns itself are out of reach: it has to seed them by the position of the item, or use
    the global ones.

    Args:
        key: What the draws are to depend on, e.g. a seed, the number of a point, a batch size, the number of a
            minibatch.
        device: Whose generator is seeded besides the CPU's.
    """
    seed = seed_of(*key)
    where = torch.device(device)
    devices = [where.index or 0] if where.type == "cuda" else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
