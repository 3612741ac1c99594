"""How long a whole ranking takes, and how much memory its largest process: ``python -m benchmarks.end_to_end``.

Each run is the command a user types, in a fresh run directory with a fresh local Ray. Memory is the proportional share
(PSS) of each process, so that pages shared between workers (libraries, the object store) are not counted once per
worker; the resident size (RSS), which counts them in every process, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import table, write


class MemoryWatch:
    """Largest memory of any single process below this one, sampled twice a second."""

    def __init__(self) -> None:
        self.pss = 0.0
        self.rss = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            for process in me.children(recursive=True):
                try:
                    memory = process.memory_full_info()
                except psutil.Error:
                    continue
                self.pss = max(self.pss, memory.pss / 2**30)
                self.rss = max(self.rss, memory.rss / 2**30)


def run(task: str, candidates: int) -> dict[str, Any]:
    """One ranking from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "ranking.json"
        command = [sys.executable, "-m", "raytt", "rank", task, "--candidates", str(candidates)]
        command += ["--storage-path", folder, "--json", str(output)]
        with MemoryWatch() as watch:
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - begin
        phases = json.loads(output.read_text())["phases"]
    return {
        "task": task,
        "candidates": candidates,
        "seconds": seconds,
        "phases": phases,
        "pss_gib": watch.pss,
        "rss_gib": watch.rss,
    }


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="raytt.examples.digits")
    parser.add_argument("--candidates", default="20,32,200")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for _ in range(arguments.repeats):
        # In turn, so that a machine that gets slower or faster does so for every size.
        for task in arguments.tasks.split(","):
            for count in arguments.candidates.split(","):
                runs.append(run(task, int(count)))
                print(runs[-1], file=sys.stderr, flush=True)
    names = list(runs[0]["phases"])
    groups = sorted({(r["task"], r["candidates"]) for r in runs})
    rows, medians = [], {}
    for task, count in groups:
        same = [r for r in runs if (r["task"], r["candidates"]) == (task, count)]
        medians[task, count] = statistics.median(r["seconds"] for r in same)
        phases = [f"{statistics.median(r['phases'][n] for r in same):.1f}" for n in names]
        memory = [f"{max(r[k] for r in same):.2f}" for k in ("pss_gib", "rss_gib")]
        rows.append([task, count, f"{medians[task, count]:.1f}", *phases, *memory])
    header = ["task", "candidates", "wall s", *(f"{n} s" for n in names), "largest process PSS GiB", "RSS GiB"]
    body = f"Medians of {arguments.repeats} runs (memory: the largest seen).\n\n{table(header, rows)}\n"
    for task in arguments.tasks.split(","):
        if (task, 20) in medians and (task, 200) in medians:
            ratio = medians[task, 200] / medians[task, 20]
            body += (
                f"\n{task}: ranking 200 candidates takes {ratio:.2f} times as long as ranking 20 (aim: less than 2).\n"
            )
    command = f"python -m benchmarks.end_to_end --tasks {arguments.tasks} --candidates {arguments.candidates}"
    write("end-to-end", command, body, figures=runs, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
