"""The sections of the report of `benchmarks.scaling`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.report import table
from benchmarks.scaling.paper import WIDTH, Cluster, Rates, Step, Work, largest, needs, steps
from benchmarks.scaling.work import SIMULATION, Size, ratio
from raytt.cluster.stages.subsample import DEFAULT_SAMPLES
from raytt.pricing.hardware import accelerators

SPEED_UP, OVERHEAD, SHARDS = 1.8, 0.10, 500
"""What is aimed for."""


def work_section(found: dict[str, Any], size: Size) -> tuple[str, dict[str, Any]]:
    """The report's section on real work, and its ratios."""
    rows, ratios = [], {}
    for kind in ("probe", "solve"):
        seconds = found[kind]
        ratios[kind] = {
            "speed_up": ratio(seconds, "ray 1", "ray 2"),
            "speed_up_plain": ratio(seconds, "plain 1", "plain 2"),
            "overhead": ratio(seconds, "ray 1", "plain 1") - 1.0,
        }
        times = [f"{np.median(seconds[name]):.2f}" for name in ("plain 1", "plain 2", "ray 1", "ray 2")]
        own = ratios[kind]
        rows.append(
            [kind, *times, f"{own['speed_up_plain']:.2f}", f"{own['speed_up']:.2f}", f"{100 * own['overhead']:+.1f} %"]
        )
    header = ["", "1 process, s", "2 processes, s", "1 worker, s", "2 workers, s"]
    header += ["speed-up without Ray", "speed-up", "Ray's overhead"]
    starts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["start_seconds"].items())
    text = (
        f"Probe: {size.samples} samples, {found['rows']:,} rows, R = {size.proj_dim}, {found['blocks']} blocks. Solve: "
        f"{size.candidates} candidates on {SIMULATION.num_paths} paths, {found['pieces']} pieces of work. "
        f"Aims: speed-up of at least {SPEED_UP}, overhead of at most {100 * OVERHEAD:.0f} %.\n\n"
        f"{table(header, rows)}\n\n"
        f"Not counted above: {starts} (workers: two, with the hashing of weights and data; reduction: all of it)."
    )
    return text, ratios


def dispatch_section(found: dict[str, Any], shards: int) -> str:
    """The report's section on dispatch."""
    rates = [
        [
            int(r["actors"]),
            *(f"{r[name]:,.0f}" for name in ("bare", "dealt", "written")),
            f"{r['dealt'] / r['bare']:.2f}",
            *(f"{r[f'{name}_driver_ms']:.2f}" for name in ("bare", "dealt", "written")),
            f"{r['start_seconds']:.1f}",
        ]
        for r in found["rates"]
    ]
    header = ["actors", "bare Ray calls/s", "dealt out, shards/s", "and written, shards/s", "dealt/bare"]
    header += [*(f"driver, ms: {name}" for name in ("bare", "dealt out", "written")), "start, s"]
    memory = [[what, int(m["shards"]), f"{m['rss']:.0f}", f"{m['pss']:.0f}"] for what, m in _memories(found["memory"])]
    return (
        f"{shards:,} shards of {found['kib']} KiB. Dealt out: `Workers.run`; written: `compute`, with files and "
        f"manifest. Actors, driver and files share this machine's {os.cpu_count()} cores; the driver's own part is its "
        f"processor time per shard. Aim: {SHARDS} shards/s.\n\n"
        f"{table(header, rates)}\n\n"
        f"At the most actors, {int(found['memory'][-1]['shards']):,} shards in one run directory: "
        f"{found['written_long']:,.0f} written a second. Memory of the driver, which holds a record of every file:\n\n"
        f"{table(['after', 'shards', 'RSS, MiB', 'PSS, MiB'], memory)}"
    )


def _memories(memory: list[dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    return list(zip(["nothing", "written", "written", "dealt out", "dealt out"], memory, strict=True))


def paper_section(rates: Rates) -> tuple[str, dict[str, Any]]:
    """The report's section, and its figures."""
    cluster, whole = Cluster(), Work()
    cases = [whole, replace(whole, samples=DEFAULT_SAMPLES)]
    found = [steps(work, cluster, rates) for work in cases]
    memory = [needs(work, cluster) for work in cases]
    suffices = [largest(whole, cluster, number) for number in range(len(memory[0]))]
    texts = [_assumptions(whole, cluster, rates)]
    for work, of in zip(cases, found, strict=True):
        rows = [[s.phase, s.name, _time(s.longest), s.bound, _size(s.sent)] for s in of]
        slowest = max(of, key=lambda step: step.longest)
        texts += [
            f"### N = {work.samples:,}: rows of one tangent N·C·R·4 = {_size(work.row_bytes)}",
            table(["phase", "step", "time", "bound by", "between nodes"], rows),
            f"In all {_time(sum(step.longest for step in of))}, of which {_time(slowest.longest)} for "
            f'"{slowest.name}". Probe: {_ordered(of[0])}. Simulations: {_ordered(of[-1])}.',
        ]
    rows = [
        [*(cell for cell in (a.what, _size(a.bytes), _size(b.bytes), _size(a.have))), "any" if n is None else f"{n:,}"]
        for a, b, n in zip(*memory, suffices, strict=True)
    ]
    header = ["memory of one node", *(f"N = {work.samples:,}" for work in cases), "there is", "suffices up to N ="]
    first = min((n, need.what) for n, need in zip(suffices, memory[0], strict=True) if n is not None)
    texts += [
        "### Memory",
        table(header, rows),
        f'As N grows, memory breaks first at "{first[1]}", beyond N = {first[0]:,}. Times above for larger N hold only '
        "if there were enough.",
    ]
    figures = {
        f"N = {work.samples}": {
            "steps": [{**vars(step), "seconds": dict(step.seconds)} for step in of],
            "memory": [vars(need) for need in held],
        }
        for work, of, held in zip(cases, found, memory, strict=True)
    }
    return "\n\n".join(texts), {**figures, "suffices": suffices, "rates": vars(rates)}


def _assumptions(work: Work, cluster: Cluster, rates: Rates) -> str:
    """What the numbers come from."""
    gpu = cluster.gpu_share * accelerators()[cluster.accelerator].fp32 / rates.single * rates.rows
    measured = [
        ("Jacobian rows a second, one thread, EfficientNet-Lite0 at 32 pixels, without Ray", f"{rates.rows:,.1f}"),
        ("shards a second dealt out, written and listed, at the most actors", f"{rates.shards:,.0f}"),
        ("clerk's writing and reading", f"{_size(rates.save)}/s and {_size(rates.load)}/s"),
        ("float32 matrix product, one thread", f"{rates.single / 1e9:,.0f} GFLOP/s"),
        ("Zᵀ Z and Z V in float64, one thread", f"{rates.moment / 1e9:,.0f} and {rates.rotate / 1e9:,.0f} GFLOP/s"),
        ("adding R × R sums, one thread", f"{_size(rates.add)}/s"),
        (f"axes at R = {WIDTH:,}, one thread; grows as R³", f"{rates.axes:.2f} s"),
        ("last task of the reduction, one thread", f"{rates.finish / 1e6:,.0f} million coordinates a second"),
        ("simulation, its matrix products alone, one thread", f"{rates.simulate / 1e9:,.0f} GFLOP/s"),
    ]
    assumed = [
        (
            "cluster",
            f"{cluster.nodes} nodes, each {cluster.gpus_per_node} {cluster.accelerator} and "
            f"{cluster.cpus_per_node} CPUs like this machine's",
        ),
        ("memory of a node", f"{_size(cluster.memory)}, {cluster.store_share:.0%} of it for objects"),
        ("network of a node", f"{_size(cluster.network)}/s each way"),
        ("GPU, probing", f"{cluster.gpu_share} × (its float32 peak over the product above) threads: {gpu:,.0f} rows/s"),
        (
            "work",
            f"C = {work.outputs:,}, R = {work.proj_dim:,}, N_full = {work.samples_full:,}, {work.tangents} tangents, "
            f"blocks of {work.block} samples",
        ),
        (
            "candidates",
            f"{work.candidates} of the digits example's space, {work.epochs:.0f} epochs, {work.paths} paths; none "
            "reaches the target early",
        ),
        ("run directory", "on the driver's disk, as fast as here; elsewhere what is written crosses the network again"),
    ]
    return "\n\n".join(
        [
            f"All samples probed, and {DEFAULT_SAMPLES} of them, as `raytt rank` does by default. Of parts that "
            "overlap the slowest counts. Left out: starting, and training steps (the reference run, step times).",
            table(["measured above or here", ""], measured),
            table(["assumed", ""], assumed),
        ]
    )


def _ordered(step: Step) -> str:
    """What may bound a step, longest first."""
    longest = sorted(step.seconds.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} would take {_time(seconds)}" for name, seconds in longest)


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return "–" if count == 0 else f"{count / 1e3:,.1f} kB"
