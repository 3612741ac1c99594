"""A Ray cluster with a job server on loopback, a process of its own until its input ends: ``job_server.py PORT``."""

from __future__ import annotations

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

if __name__ == "__main__":
    context = ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=int(sys.argv[1]),
        object_store_memory=200 << 20,
        log_to_driver=False,
    )
    print(context.address_info["session_dir"], flush=True)
    sys.stdin.read()
    ray.shutdown()
