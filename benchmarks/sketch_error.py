"""How far inner products of sketched Jacobian rows are from the exact ones: ``python -m benchmarks.sketch_error``.

Error: root mean square over pairs a ≠ b of (ẑ_a·ẑ_b − j_a·j_b) / (|j_a| |j_b|), with j the exact rows (in memory,
identity sketch) and ẑ the sketched ones. A dense random projection has about 1/√R for nearly orthogonal rows and up to
√2/√R for parallel ones; the aim is 1.2/√R.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.identity_sketch import IdentitySketch
from benchmarks.report import table, write
from raytt.examples import digits, docstrings
from raytt.probe.jacobian import jacobian_rows
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan
from raytt.probe.sketch import CountSketch
from raytt.task.task import Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import prepare_model


def errors(task: Task, samples: int, dims: list[int], seeds: int) -> list[dict[str, Any]]:
    """RMS errors of one network, by sketch dimension; every seed is one row."""
    network = prepare_model(task)
    inputs, _ = load_batch(task, open_dataset(task.data, task), list(range(samples)))
    budget = Budget(max_bytes=256 * 2**20)
    plan = make_plan(network, inputs, samples, budget)
    identity = IdentitySketch({name: tuple(p.shape) for name, p in network.trainable.items()})
    exact = jacobian_rows(network, inputs, plan, identity, budget).rows
    flat = exact.reshape(-1, exact.shape[-1])
    gram = (flat @ flat.T).to(torch.float64).numpy()
    del exact, flat
    norms = np.sqrt(np.diag(gram))
    off = ~np.eye(len(gram), dtype=bool)
    found = []
    for dim in dims:
        for seed in range(seeds):
            rows = jacobian_rows(network, inputs, plan, CountSketch(dim, seed), budget).rows.reshape(-1, dim)
            sketched = (rows.to(torch.float64) @ rows.to(torch.float64).T).numpy()
            relative = (sketched - gram) / np.outer(norms, norms)
            found.append(
                {
                    "task": task.name,
                    "rows": len(gram),
                    "proj_dim": dim,
                    "seed": seed,
                    "rms": float(np.sqrt(np.mean(relative[off] ** 2))),
                    "mean_abs_cosine": float(np.mean(np.abs(gram / np.outer(norms, norms))[off])),
                }
            )
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", dest="json_file")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dims = [1024, 4096, 16384]
    found = errors(digits.task, 12, dims, arguments.seeds) + errors(docstrings.task, 3, dims, arguments.seeds)
    rows = []
    for name in ("digits", "docstrings"):
        for dim in dims:
            same = [f for f in found if f["task"] == name and f["proj_dim"] == dim]
            rms = [f["rms"] * dim**0.5 for f in same]
            rows.append(
                [
                    name,
                    same[0]["rows"],
                    f"{same[0]['mean_abs_cosine']:.2f}",
                    dim,
                    f"{np.median([f['rms'] for f in same]):.4f}",
                    f"{np.median(rms):.2f}",
                    f"{max(rms):.2f}",
                ]
            )
    header = ["network", "rows", "mean |cosine|", "R", "RMS error", "× √R (median seed)", "× √R (worst seed)"]
    body = f"{arguments.seeds} seeds; aim: RMS error × √R ≤ 1.2.\n\n{table(header, rows)}"
    write("sketch-error", "python -m benchmarks.sketch_error", body, figures=found, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
