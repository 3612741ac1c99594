"""Whether this machine, and the Ray cluster it is to use, can run raytt: what is wrong, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from raytt.errors import InputError, RayttError
from raytt.pricing.hardware import accelerator_of_device, accelerators

MEMORY_GIB = 4.0
"""Memory below which a run of the examples may fail: a worker with torch and Ray takes about 1 GiB each."""
SHARED_MEMORY_GIB = 1.0
"""Size of /dev/shm below which Ray falls back to slow files."""
DISK_GIB = 2.0
"""Free space below which a run directory may fill the disk."""

_GIB = float(1 << 30)


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    what: str
    """What was looked at."""
    verdict: Verdict
    """How it is."""
    found: str
    """What is there."""
    remedy: str = ""
    """What to do; empty where all is well."""


def examine(*, address: str | None, storage_path: str) -> Iterator[Finding]:
    """Run all checks, the quick ones first.

    Args:
        address: Of the Ray cluster; None starts one on this machine.
        storage_path: Where run directories are to be kept.
    """
    yield check_python()
    yield from check_packages()
    yield check_torch()
    yield check_memory()
    yield check_shared_memory()
    yield check_storage(storage_path)
    yield check_ray(address)


def check_python(info: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether Python is new enough."""
    text = ".".join(map(str, info[:3]))
    good = info >= (3, 11)
    return Finding(
        what="Python",
        verdict=Verdict.GOOD if good else Verdict.BAD,
        found=f"{text} at {sys.executable}",
        remedy="" if good else "Install Python 3.11 or newer, and raytt into it.",
    )


def check_packages(find: Callable[[str], str] = version) -> Iterator[Finding]:
    """Whether what raytt needs is installed, in versions it accepts; optional packages are named where missing."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in requires("raytt") or ()]
    missing, old, there = [], [], []
    for requirement in (r for r in needed if r.marker is None):
        try:
            found = find(requirement.name)
        except PackageNotFoundError:
            missing.append(requirement.name)
            continue
        there.append(f"{requirement.name} {found}")
        if not requirement.specifier.contains(found, prereleases=True):
            old.append(f"{requirement.name} {found} (needs {requirement.specifier})")
    if missing or old:
        yield Finding(
            what="Packages",
            verdict=Verdict.BAD,
            found="; ".join([*(f"{name} is missing" for name in missing), *old]),
            remedy="Run: pip install --upgrade raytt",
        )
    else:
        yield Finding(what="Packages", verdict=Verdict.GOOD, found=", ".join(there))
    extra = [r for r in needed if r.marker is not None and r.marker.evaluate({"extra": "examples"})]
    absent = []
    for requirement in extra:
        try:
            find(requirement.name)
        except PackageNotFoundError:
            absent.append(requirement.name)
    yield Finding(
        what="Examples",
        verdict=Verdict.WARNING if absent else Verdict.GOOD,
        found=f"missing: {', '.join(absent)}" if absent else "all packages of the examples extra are there",
        remedy="To run the examples: pip install 'raytt[examples]'" if absent else "",
    )


def check_torch() -> Finding:
    """What torch computes on."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        known = {accelerator_of_device(name) for name in names} & set(accelerators())
        note = "" if known else "; not in raytt's table of accelerators, so times do not move to or from it"
        return Finding(
            what="Devices",
            verdict=Verdict.GOOD,
            found=f"torch {torch.__version__} with {len(names)} × {names[0]}{note}; use them with --use-gpu",
        )
    threads = torch.get_num_threads()
    gpu = Path("/proc/driver/nvidia/version").exists()
    return Finding(
        what="Devices",
        verdict=Verdict.WARNING if gpu else Verdict.GOOD,
        found=f"torch {torch.__version__} on the CPU with {threads} threads"
        + ("; this machine has an NVIDIA GPU" if gpu else ""),
        remedy="Install the torch build that fits your driver, then raytt without constraints.txt." if gpu else "",
    )


def check_memory(gib: float | None = None) -> Finding:
    """Whether there is room for the workers."""
    if gib is None:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    enough = gib >= max(MEMORY_GIB, float(cpus))
    return Finding(
        what="Memory",
        verdict=Verdict.GOOD if enough else Verdict.WARNING,
        found=f"{gib:.1f} GiB for {cpus} CPUs",
        remedy="" if enough else "A worker takes about 1 GiB: use --num-workers to start fewer.",
    )


def check_shared_memory(place: str = "/dev/shm", gib: float | None = None) -> Finding:
    """Whether Ray's object store finds shared memory, which containers often cut to 64 MiB."""
    if gib is None:
        if not os.path.isdir(place):
            return Finding(what="Shared memory", verdict=Verdict.GOOD, found=f"no {place} on this system")
        gib = shutil.disk_usage(place).total / _GIB
    enough = gib >= SHARED_MEMORY_GIB
    return Finding(
        what="Shared memory",
        verdict=Verdict.GOOD if enough else Verdict.WARNING,
        found=f"{gib:.2f} GiB in {place}",
        remedy="" if enough else "In a container, start it with --shm-size=4g (Kubernetes: an emptyDir in memory).",
    )


def check_storage(storage_path: str) -> Finding:
    """Whether a run directory can be written there, and read again."""
    from raytt.store.run import Run

    local = "://" not in storage_path
    made = local and not Path(storage_path).expanduser().exists()
    free = None
    try:
        run = Run.open(storage_path, f"doctor-{os.getpid()}", task_name="doctor")
        run.storage.write_bytes("probe", b"raytt")
        same = run.storage.read_bytes("probe") == b"raytt"
        run.storage.delete("probe")
        if local:
            root = Path(run.storage.root)
            free = shutil.disk_usage(root).free / _GIB
            root.rmdir()
            if made:
                root.parent.rmdir()
    except (RayttError, OSError) as error:
        return Finding(
            what="Storage",
            verdict=Verdict.BAD,
            found=str(error).splitlines()[0],
            remedy="Give a --storage-path that can be written; for s3:// or gs://, set up its credentials.",
        )
    if not same:
        return Finding(
            what="Storage",
            verdict=Verdict.BAD,
            found=f"{storage_path} gives back something else than was written",
            remedy="Give another --storage-path.",
        )
    enough = free is None or free >= DISK_GIB
    return Finding(
        what="Storage",
        verdict=Verdict.GOOD if enough else Verdict.WARNING,
        found=f"{storage_path} can be written" + ("" if free is None else f", {free:.1f} GiB free"),
        remedy="" if enough else "A run may take a few GiB: free some, or give another --storage-path.",
    )


def check_ray(address: str | None) -> Finding:
    """Whether the cluster can be reached and runs a task."""
    import ray

    from raytt.cluster.plumbing.session import connect

    try:
        with connect(address, shared_storage=True):
            alive = [node for node in ray.nodes() if node["Alive"]]
            total = ray.cluster_resources()
            answer = ray.get(ray.remote(num_cpus=1)(_versions).remote(), timeout=120)
    except InputError as error:
        return Finding(what="Ray", verdict=Verdict.BAD, found=error.problem, remedy=error.remedy)
    except Exception as error:
        # Ray raises its own and the system's errors alike; each is a finding here.
        return Finding(
            what="Ray",
            verdict=Verdict.BAD,
            found=f"{type(error).__name__}: {error}".splitlines()[0],
            remedy="Start a cluster with `ray start --head` and give --address auto, or leave --address out.",
        )
    here = _versions()
    differing = [
        f"{name} {here[name]} here, {there} on a worker" for name, there in answer.items() if here[name] != there
    ]
    where = "the cluster" if address else "this machine"
    return Finding(
        what="Ray",
        verdict=Verdict.BAD if differing else Verdict.GOOD,
        found="; ".join(differing)
        or f"ray {here['ray']} on {where}: {len(alive)} node{'s' if len(alive) > 1 else ''}, "
        f"{total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs",
        remedy="Install the same versions on all machines." if differing else "",
    )


def _versions() -> dict[str, str]:
    """Of what must agree between driver and workers."""
    import platform

    return {"python": platform.python_version(), **{name: version(name) for name in ("ray", "torch", "raytt")}}
