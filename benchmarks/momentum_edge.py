"""Where real training with momentum collapses, for `raytt.forecast.trust`: ``python -m benchmarks.momentum_edge``.

Really trains the digits example with momentum 0.9 and, in Nesterov's form, 0.95 at several multiples of what plain SGD
could stand at the sharpest tangent of its reference run (2/λ_max), and prints how low the loss gets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.accuracy.predict import Setting, run_prediction
from benchmarks.accuracy.tasks import load
from benchmarks.report import table, write
from raytt.task.candidate import Candidate
from raytt.training.loop import train

KINDS = ((0.9, False), (0.95, True))
BATCH_SIZE = 32


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--multiples", default="15,20,25,30,40,60")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record_task = load("digits")
    with tempfile.TemporaryDirectory() as folder:
        first = Candidate(lr=record_task.sgd_lr, momentum=0.9, batch_size=BATCH_SIZE, max_steps=arguments.steps)
        prediction, _ = run_prediction(record_task, [first], Setting(proj_dim=2048, num_paths=4), Path(folder))
    plain = 2.0 / prediction.trust["sgd"].sharpness
    lines: list[list[str | int | float]] = []
    for multiple in map(float, arguments.multiples.split(",")):
        for momentum, nesterov in KINDS:
            lr = multiple * (1.0 - momentum) * plain
            candidate = Candidate(
                lr=lr, momentum=momentum, nesterov=nesterov, batch_size=BATCH_SIZE, max_steps=arguments.steps
            )
            curve = train(
                record_task.task,
                candidate,
                seed=0,
                steps=arguments.steps,
                record_at=range(0, arguments.steps + 1, 20),
                eval_index=None,
                stop_at_loss_ratio=0.1,
            )
            ratios = [float(loss / curve.train_loss[0]) for loss in curve.train_loss]
            edge = prediction.trust["sgd"].edge(candidate)
            outcome = "collapsed" if min(ratios) > 0.1 else "trained"
            kind = f"{momentum:g}{' Nesterov' if nesterov else ''}"
            lines.append(
                [multiple, kind, f"{edge:.1f}", f"{lr:.3g}", outcome, int(curve.steps[-1]), f"{min(ratios):.2f}"]
            )
            print(lines[-1], file=sys.stderr, flush=True)
    header = [
        "lr/(1 − μ) over plain SGD's limit",
        "momentum",
        "over the edge",
        "lr",
        "outcome",
        "steps",
        "lowest ratio",
    ]
    body = (
        f"digits, B = {BATCH_SIZE}, at most {arguments.steps} steps, stopped at 0.1 of the initial loss; the edge is "
        f"that of the momentum itself (`raytt.forecast.trust`).\n\n{table(header, lines)}\n"
    )
    write(
        "momentum-edge",
        f"python -m benchmarks.momentum_edge --multiples {arguments.multiples} --steps {arguments.steps}",
        body,
        figures=[dict(zip(header, line, strict=True)) for line in lines],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
