"""Predicted peak memory of training steps beside measured peaks, each measured in a process of its own.

    python -m benchmarks.peak_memory
    python -m benchmarks.peak_memory --device cuda        # where there is a GPU

Predictions are those of `raytt.training.peak_memory`, computed here for batch sizes 8 and 32, from which all else
follows. On a CPU a step is measured twice, after one that loads what there is to load:

* allocated: what torch's CPU allocator gave out at most during a step, from its profiler, with the weights, the
  optimizer's state and the average that stood before. Kernels' own buffers are in it.
* resident: by how much the process grew at most (VmHWM over VmRSS of the kernel), with what stood before, while glibc
  gives freed blocks back at once (`ALLOCATOR`). It holds small blocks and threads' stacks, too.

On a GPU: ``torch.cuda.max_memory_allocated``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import report
from raytt.examples import digits, docstrings, lora
from raytt.pricing.step_memory import StepMemory
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_as_trained
from raytt.training.objective import Objective, batch_to_device
from raytt.training.peak_memory import measure_step_memory
from raytt.training.steps import Steps

SIZES = (8, 32)
"""Batch sizes that predictions are computed for."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Environment in which glibc gives freed blocks back at once, so that resident memory is what is in use."""


def small_model() -> nn.Module:
    """Three convolutions with batch norm, and a linear head."""
    torch.manual_seed(0)
    widths = (3, 32, 64, 128)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * 16, 10))


def small_data() -> tuple[torch.Tensor, torch.Tensor]:
    """64 random images of 32 × 32."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 3, 32, 32, generator=generator), torch.arange(64) % 10


def checkpointed_encoder() -> nn.Module:
    """MiniLM whose layers are computed again in the backward pass."""
    network = docstrings.build_model()
    network.encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[union-attr, operator]
    return network


def checkpointed_adapters() -> nn.Module:
    """The LoRA network likewise."""
    network = lora.build_model()
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
    return network


NETWORKS: dict[str, tuple[str, Task]] = {
    "lite0": ("EfficientNet-Lite0", replace(digits.task, mode="train")),
    "minilm": ("MiniLM", replace(docstrings.task, mode="train")),
    "minilm-checkpointed": (
        "MiniLM, checkpointing",
        replace(docstrings.task, mode="train", model=checkpointed_encoder),
    ),
    "small": ("small convolutional network", Task(name="small", model=small_model, data=small_data)),
    "lora": ("LoRA GPT", lora.task),
    "lora-checkpointed": ("LoRA GPT, checkpointing", replace(lora.task, model=checkpointed_adapters)),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration whose step is measured."""

    network: str
    batch_size: int
    optimizer: str = "adamw"
    precision: str = "float32"
    accumulation_steps: int = 1
    ema_decay: float | None = None

    @property
    def task(self) -> Task:
        return replace(NETWORKS[self.network][1], precision=self.precision, ema_decay=self.ema_decay)  # type: ignore[arg-type]

    @property
    def candidate(self) -> Candidate:
        more: dict[str, Any] = {"momentum": 0.9} if self.optimizer == "momentum" else {}
        name = "sgd" if self.optimizer == "momentum" else self.optimizer
        return Candidate(
            lr=1e-6,
            optimizer=name,
            batch_size=self.batch_size,
            accumulation_steps=self.accumulation_steps,
            **more,
        )


def cases() -> list[Case]:
    """Batch sizes × optimizers × precision × checkpointing, in which each of them changes at least once."""
    found = []
    for network in NETWORKS:
        found += [
            Case(network=network, batch_size=8),
            Case(network=network, batch_size=32),
            Case(network=network, batch_size=16, precision="bfloat16"),
        ]
        if not network.endswith("checkpointed"):
            found += [
                Case(network=network, batch_size=8, optimizer="sgd"),
                Case(network=network, batch_size=64, optimizer="momentum"),
                Case(network=network, batch_size=16, optimizer="rmsprop", accumulation_steps=2),
                Case(network=network, batch_size=4, optimizer="lion", ema_decay=0.99),
            ]
    return found


class Stepper:
    """Takes steps of a case with real data."""

    def __init__(self, case: Case, device: str) -> None:
        self._task, self._candidate, self._device = case.task, case.candidate, device
        self._dataset = open_dataset(self._task.data, self._task)
        self.model = prepare_as_trained(self._task, device=device)
        self._objective = Objective(self._task)
        self.steps = Steps(self.model, self._objective, self._candidate, ema_decay=self._task.ema_decay)

    def take(self, size: int | None = None) -> None:
        """One step, with minibatches of ``size`` samples or those of the configuration."""
        count = (size or self._candidate.batch_size) * self._candidate.accumulation_steps
        rows = np.arange(count) % len(self._dataset)  # type: ignore[arg-type]
        self.steps.take(
            0.0,
            lambda part: batch_to_device(self._objective.read(self._dataset, part), self._device),
            rows,
        )

    def standing(self) -> int:
        """Bytes that stand between steps: weights, buffers, the optimizer's state, the average."""
        module = self.model.module
        tensors = [*module.parameters(), *module.buffers()]
        average = self.steps.averaged()
        if average is not None:
            tensors += [*average.module.parameters(), *average.module.buffers()]
        for state in self.steps.optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
        storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
        return sum(storages.values())

    def clear(self) -> None:
        """Drop gradients and what else is not needed."""
        self.steps.optimizer.zero_grad(set_to_none=True)
        gc.collect()


def measure(case: Case, device: str) -> dict[str, int]:
    """Peaks of a step, bytes; meant for a process of its own."""
    stepper = Stepper(case, device)
    stepper.take()
    stepper.clear()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        stepper.take()
        torch.cuda.synchronize()
        return {"allocated": torch.cuda.max_memory_allocated()}
    standing = stepper.standing()
    grown = _grown(stepper.take)
    stepper.clear()
    return {"allocated": standing + _allocated(stepper.take), "resident": standing + grown}


def _grown(run: Callable[[], None]) -> int:
    """By how much the process grows at most, bytes."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def _allocated(run: Callable[[], None]) -> int:
    """What torch's CPU allocator gives out at most, bytes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler.kineto_results
    events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    return int(np.cumsum([e.nbytes() for e in events]).max())


def in_own_process(case: Case, device: str) -> dict[str, int]:
    """`measure` in a fresh process."""
    argument = json.dumps(asdict(case))
    command = [sys.executable, "-m", "benchmarks.peak_memory", "--device", device, "--child", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **ALLOCATOR})
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(case: Case, memories: dict[str, StepMemory], device: str) -> dict[str, Any]:
    """Predicted and measured peaks of a case, bytes, and the seconds that a new prediction took.

    Args:
        case: What is compared.
        memories: Predictions so far, by network, precision and average; a missing one is added.
        device: Where steps are taken.
    """
    key = f"{case.network} {case.precision}{'' if case.ema_decay is None else ' average'}"
    start = time.perf_counter()
    if key not in memories:
        memories[key] = measure_step_memory(case.task, SIZES, device=device)
    seconds = time.perf_counter() - start
    peak = memories[key].peak(case.candidate, processor=torch.device(device).type)
    return {**asdict(case), "predicted": peak, "seconds": round(seconds, 1), **in_own_process(case, device)}


def body(rows: Sequence[dict[str, Any]], device: str) -> str:
    """The report."""
    kinds = [kind for kind in ("allocated", "resident") if any(kind in row for row in rows)]
    header = ["network", "batch", "accumulated", "optimizer", "precision", "average", "predicted, MiB"]
    header += [cell for kind in kinds for cell in (f"{kind}, MiB", "error")]
    summary = []
    for kind in kinds:
        errors = [abs(_error(row, kind)) for row in rows]
        summary.append(
            f"Error against {kind}: median {100 * float(np.median(errors)):.1f} %, largest {100 * max(errors):.1f} %, "
            f"of {len(errors)} configurations; {sum(error <= 0.1 for error in errors)} within 10 %."
        )
    lines = [
        (
            NETWORKS[row["network"]][0],
            row["batch_size"],
            row["accumulation_steps"],
            row["optimizer"],
            row["precision"],
            "" if row["ema_decay"] is None else "yes",
            _mib(row["predicted"]),
            *(cell for kind in kinds for cell in (_mib(row[kind]), f"{100 * _error(row, kind):+.1f} %")),
        )
        for row in rows
    ]
    spent = [row["seconds"] for row in rows if row["seconds"] > 0.0]
    took = f"; a prediction took {min(spent)} to {max(spent)} s, data and weights read" if spent else ""
    return "\n\n".join(
        [
            f"Predictions for batch sizes {SIZES[0]} and {SIZES[1]} (others follow from those), on {device} with one "
            f"thread; what is measured: docstring of the script{took}. Measured here: {len(rows)} of {len(cases())} "
            "configurations.",
            *summary,
            report.table(header, lines),
        ]
    )


def _error(row: dict[str, Any], kind: str) -> float:
    return float(row["predicted"] / row[kind] - 1.0)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


def main() -> None:
    """Predict, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="Of: " + ", ".join(NETWORKS))
    parser.add_argument("--keep", type=Path, help="File that keeps comparisons; those in it are not repeated.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.child is not None:
        print(json.dumps(measure(Case(**json.loads(given.child)), given.device)))
        return
    kept: list[dict[str, Any]] = []
    if given.keep is not None and given.keep.exists():
        kept = [json.loads(line) for line in given.keep.read_text().splitlines()]
    memories: dict[str, StepMemory] = {}
    for case in (case for case in cases() if case.network in given.networks.split(",")):
        if any(asdict(case).items() <= row.items() for row in kept):
            continue
        kept.append(compare(case, memories, given.device))
        print(*kept[-1].values(), sep="  ", flush=True)
        if given.keep is not None:
            with given.keep.open("a") as file:
                file.write(json.dumps(kept[-1]) + "\n")
    order = {json.dumps(asdict(case)): place for place, case in enumerate(cases())}
    names = list(asdict(cases()[0]))
    kept.sort(key=lambda row: order[json.dumps({name: row[name] for name in names})])
    report.write("peak-memory", "python -m benchmarks.peak_memory", body(kept, given.device))


if __name__ == "__main__":
    main()
