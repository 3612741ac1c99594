"""Where work runs, and on how much of the cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from raytt.errors import InputError
from raytt.settings.declaration import Rule, Settings


def read_resources(text: str) -> dict[str, float]:
    """Resources from ``CPU=4,GPU=1``.

    Raises:
        InputError: If it is something else.
    """
    found = {}
    for entry in text.split(","):
        name, equals, amount = entry.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            equals = ""
        if not (equals and name.strip()):
            raise InputError(f"Cannot read resources_per_worker from {text!r}.", "Write it as CPU=4,GPU=1.")
    return found


def write_resources(resources: Mapping[str, float]) -> str:
    """The text from which `read_resources` makes them."""
    return ",".join(f"{name}={amount!r}" for name, amount in resources.items())


@dataclass(frozen=True, kw_only=True)
class ClusterSettings(Settings):
    """The Ray cluster, and the workers to use of it. One worker is one process: in the probe it holds a copy of the
    network, in a validation it trains one candidate at a time.

    Raises:
        InputError: If a value cannot be one, or two of them contradict each other.
    """

    address: str | None = None
    """Ray cluster to use (auto, host:port, ray://…). Default: that of this process or of RAY_ADDRESS, else Ray is
    started on this machine."""
    num_workers: Annotated[int | None, Rule(at_least=1)] = None
    """Ray workers, at most. Default: as many as there are CPUs (or GPUs)."""
    min_workers: Annotated[int | None, Rule(at_least=1)] = None
    """Workers without which the run does not begin; others join when there is room. Default: as many as the workers
    asked for."""
    wait_seconds: Annotated[float | None, Rule(above=0.0)] = None
    """Time for an autoscaler to add machines. Default: what the cluster lacks is refused at once, and what is only busy
    is waited for a minute."""
    use_gpu: bool = False
    """Give every worker a GPU."""
    resources_per_worker: Annotated[
        Mapping[str, float] | None, Rule(form="CPU=4,GPU=1", read=read_resources, write=write_resources)
    ] = None
    """What each worker is given, in Ray's names, with custom resources if there are any. Default: one CPU, and with a
    GPU for every worker one GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if None not in (self.min_workers, self.num_workers) and self.min_workers > self.num_workers:  # type: ignore[operator]
            raise InputError(
                f"min_workers is {self.min_workers}, num_workers is {self.num_workers}.",
                "Give a min_workers of at most num_workers.",
            )
        for name, amount in (self.resources_per_worker or {}).items():
            if not (isinstance(amount, int | float) and math.isfinite(amount) and amount >= 0.0):
                raise InputError(f"resources_per_worker has {name}={amount!r}.", "Give amounts of at least 0.")
        if self.cpus < 1 or self.cpus != int(self.cpus):
            raise InputError(f"resources_per_worker has CPU={self.cpus:g}.", "Give a whole number of CPUs, at least 1.")
        if (self.gpus > 0) != self.use_gpu:
            raise InputError(
                f"resources_per_worker has GPU={self.gpus:g}, but use_gpu is {self.use_gpu}.",
                "Set use_gpu with an amount of GPU above 0, or neither.",
            )

    @property
    def cpus(self) -> float:
        """CPUs of a worker, a whole number."""
        return (self.resources_per_worker or {}).get("CPU", 1.0)

    @property
    def gpus(self) -> float:
        """GPUs of a worker."""
        return (self.resources_per_worker or {}).get("GPU", 1.0 if self.use_gpu else 0.0)

    @property
    def custom_resources(self) -> dict[str, float]:
        """Ray's custom resources of a worker."""
        return {k: float(v) for k, v in (self.resources_per_worker or {}).items() if k not in ("CPU", "GPU")}

    @property
    def customizes_workers(self) -> bool:
        """Whether a worker is given something else than the default."""
        return bool(self.resources_per_worker or self.use_gpu)

    @property
    def workers_from_the_start(self) -> int | None:
        """Workers for which the cluster must have resources from the start; None: they may come later."""
        return (self.min_workers or self.num_workers or 1) if self.wait_seconds is None else None
