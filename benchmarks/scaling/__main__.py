"""How work grows with workers, and what Ray costs: ``OMP_NUM_THREADS=1 python -m benchmarks.scaling``.

* Real work (`benchmarks.scaling.work`): probing EfficientNet-Lite0 and simulating candidates, wall-clock time with one
  worker of one thread and with two, through Ray and by processes without it. What two processes without Ray gain is
  what this machine has to give; what one worker takes longer than one process is Ray's overhead: dispatch, files,
  manifest.
* Dispatch (`benchmarks.scaling.stub`): shards per second dealt out to up to 64 actors with faked GPUs that have nothing
  to do, beside the same calls with nothing but Ray, and the driver's memory.
* On paper (`benchmarks.scaling.paper`): what these figures come to on 64 GPUs.

Ratios are medians over repeats of routes measured in turn. Start-up is reported by itself.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from benchmarks.report import write
from benchmarks.scaling import paper, report, stub, work


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", dest="json_file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=128, help="probed, 64 to 400")
    parser.add_argument("--candidates", type=int, default=64, help="simulated")
    parser.add_argument("--proj-dim", type=int, default=1024)
    parser.add_argument("--actors", default="1,4,16,64", help=f"rising, at most {stub.NUM_GPUS}")
    parser.add_argument("--shards", type=int, default=2000, help="in each measurement of dispatch")
    parser.add_argument("--long", type=int, default=20_000, help="in the last one, which looks at memory")
    parser.add_argument("--kib", type=int, default=1, help="size of a shard's rows there")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1, or NumPy's products take all cores")
    counts, repeats = [int(count) for count in arguments.actors.split(",")], arguments.repeats
    size = work.Size(
        samples=arguments.samples, candidates=arguments.candidates, proj_dim=arguments.proj_dim, repeats=repeats
    )
    worked = work.measure(size)
    dealt = stub.measure(counts, shards=arguments.shards, long=arguments.long, kib=arguments.kib, repeats=repeats)
    # The last, as it hides GPUs, faked ones too, from a Ray that is started after it.
    kernels = paper.kernels()
    rates = paper.Rates(
        rows=worked["rows"] / float(np.median(worked["probe"]["plain 1"])),
        shards=dealt["rates"][-1]["written"],
        **worked["clerk"],
        **kernels,
    )
    work_text, ratios = report.work_section(worked, size)
    paper_text, projected = report.paper_section(rates)
    sections = {
        "Real work, one worker and two": work_text,
        "Dispatch": report.dispatch_section(dealt, arguments.shards),
        "On paper": paper_text,
    }
    body = "\n\n".join(
        [f"{repeats} repeats, wall-clock time.", *(f"## {title}\n\n{text}" for title, text in sections.items())]
    )
    figures = {"work": worked, "ratios": ratios, "dispatch": dealt, "paper": projected}
    command = "OMP_NUM_THREADS=1 python -m benchmarks.scaling"
    write("scaling", command, body, figures=figures, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
