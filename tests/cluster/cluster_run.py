"""A ranking on a cluster of several nodes on this machine, run as a process of its own: ``cluster_run.py MODE FOLDER``.

Modes: ``nodes`` (three workers on two nodes, a head without CPUs), ``kill`` (the same, and a node dies during the
probe), ``client`` (from outside, through ray://). Prints the candidates of the ranking as JSON in its last line.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
import torch
from ray.cluster_utils import Cluster
from torch import Tensor, nn

import raytt
from raytt.pricing.step_time import StepTime
from raytt.workflows import step_costs
from tests.support.settings import grouped

SPACE = [{"lr": lr, "batch_size": batch} for lr in (0.01, 0.1) for batch in (4, 8)]


def model() -> nn.Module:
    """A perceptron."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return net


def data() -> tuple[Tensor, Tensor]:
    """Sixty points in three classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(60, 6, generator=generator), torch.randint(0, 3, (60,), generator=generator)


def slow_forward(net: nn.Module, inputs: Tensor) -> Tensor:
    """Slow enough that something can happen meanwhile."""
    time.sleep(0.5)
    outputs: Tensor = net(inputs)
    return outputs


TASK = raytt.Task(mode="eval", name="tiny", model=model, data=data)


def ranking(folder: Path | str, *, on_times: Callable[[], None] = lambda: None, **changes: Any) -> raytt.Ranking:
    """The ranking, with step times that do not depend on the machine; ``on_times`` is called when they are taken."""

    def times(_: Any, sizes: list[int], **__: Any) -> dict[int, StepTime]:
        on_times()
        return {b: StepTime(batch_size=b, seconds=0.1, low=0.1, high=0.1, source="made up") for b in sizes}

    step_costs.measure_step_times = times  # type: ignore[assignment]
    options: dict[str, Any] = {"task": TASK, "storage_path": folder, "num_workers": 3, "progress": False}
    # Few: some tasks here are slow on purpose.
    options["reference_steps"] = 8
    options |= {"search_space": SPACE, "target": 0.6, "proj_dim": 128, "num_paths": 2, "name": "r"}
    return raytt.rank(**grouped(options | changes))


def _kill_when_probing(cluster: Cluster, node: Any, folder: Path) -> None:
    while not list(folder.glob("r/probe/*.arrow")):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)


def main() -> None:
    """Run one mode."""
    mode, folder = sys.argv[1], Path(sys.argv[2])
    common = {"object_store_memory": 100 << 20}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    head = {"num_cpus": 0, "include_dashboard": False, **common}
    if mode == "client":
        head["ray_client_server_port"] = port
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": quick})
    nodes = [cluster.add_node(num_cpus=2, **common) for _ in range(2)]
    try:
        if mode == "kill":
            killer = threading.Thread(target=_kill_when_probing, args=(cluster, nodes[1], folder), daemon=True)
            killer.start()
            result = ranking(
                folder,
                address=cluster.address,
                task=raytt.Task(mode="eval", name="tiny", model=model, data=data, forward=slow_forward),
            )
            killer.join()
        else:
            address = cluster.address if mode == "nodes" else f"ray://127.0.0.1:{port}"
            storage = folder if mode == "nodes" else folder.as_uri()
            result = ranking(storage, address=address)
    finally:
        assert not ray.is_initialized()
        cluster.shutdown()
    print(json.dumps(result.to_json()["candidates"]))


if __name__ == "__main__":
    main()
