"""What every worker process sets before it computes."""

from __future__ import annotations

import os

import torch


def settle(*, threads: int, gpus: float) -> None:
    """Fix the number of threads, on which results depend in the last bits, and hide GPUs that were not asked for.

    Ray leaves all GPUs visible to workers that asked for none. One that asked for a GPU sees that one alone, since Ray
    sets ``CUDA_VISIBLE_DEVICES`` for its process: torch's "cuda" is another GPU in each worker, without numbers being
    dealt out here.
    """
    if gpus <= 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(threads)
