"""Seeds and draws of sample paths: functions of (seed, path) alone, the same for all candidates (common random
numbers).

Common random numbers make differences between candidates those of the candidates, not of the draws. Candidates of other
batch sizes share them too: `raytt.task.minibatches` cuts one stream of samples into batches of any size.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from raytt.task.minibatches import permutation


def path_seed(seed: int, path: int, purpose: str = "minibatches") -> int:
    """A 63-bit seed for sample path ``path``; different purposes give independent draws."""
    digest = hashlib.blake2b(f"raytt {purpose}/{seed}/{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def bootstrap_weights(num_samples: int, seed: int, paths: int) -> NDArray[np.float64]:
    """Weights over samples of one bootstrap resample per path: N draws with replacement, shape (P, N), rows sum to 1.

    From raw words of the bit generator, which are the same in every version of numpy.
    """
    weights = np.empty((paths, num_samples))
    for path in range(paths):
        words = np.random.PCG64(path_seed(seed, path, "bootstrap")).random_raw(num_samples)
        drawn = (np.asarray(words) % np.uint64(num_samples)).astype(np.int64)
        weights[path] = np.bincount(drawn, minlength=num_samples) / num_samples
    return weights


def choose_subsets(num_samples: int, size: int, seed: int, paths: int) -> list[NDArray[np.int64]]:
    """Positions of ``size`` of N samples per path, without replacement; those of a smaller size are among them."""
    return [permutation(num_samples, "raytt subset", seed, path)[:size] for path in range(paths)]
