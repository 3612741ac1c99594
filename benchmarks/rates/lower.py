"""What a reference run at a lower learning rate is worth: ``python -m benchmarks.rates.lower``.

Real runs are those of `benchmarks.rates.record`. *first*: predictions along the usual reference run of
`benchmarks.rates.quality`; *lower*: along one at 0.3 times its learning rate with at most 1.5 times its steps, both
alone with (η/η_ref)^−0.1; *with*: with the power of slowing measured between the two, as rankings do it where the first
gained less than 0.3 of what its gradients promise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch

from benchmarks.report import table, write

from .quality import Measured, lower, measured, study, training_rows
from .tasks import TASKS, ModeTask

DEFAULT = "lora,multilabel,segmentation,tokens,mobilenet,vit,resnet:sgd,layer_norm:sgd,small:sgd"


def own_rows(name: str, mode_task: ModeTask, optimizer: str, way: str, found: Measured) -> list[list[Any]]:
    """Rows of the table."""
    facts = [name, optimizer, way, len(found.log.losses), f"{found.family().gained():.2f}"]
    training = training_rows(name, mode_task, optimizer, found, False)[:2]
    validation = [row for row in study(name, mode_task, optimizer, found, False) if "loss and lag" in row[2]]
    both = (("training", training), ("validation", validation))
    return [[*facts, curve, row[2].partition(", ")[2] or "all", *row[3:]] for curve, found in both for row in found]


def main() -> None:
    """Measure, predict, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=DEFAULT, help="names, with an optimizer behind a colon for that one alone")
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for spec in arguments.tasks.split(","):
        name, _, only = spec.partition(":")
        mode_task = TASKS[name]()
        for optimizer in [only] if only else mode_task.references:
            first, low = measured(name, mode_task, optimizer), lower(name, mode_task, optimizer)
            ways = {
                "first": first,
                "lower": low,
                "lower, with the first": replace(low, second=first.as_second()),
                "first, with the lower": replace(first, second=low.as_second()),
            }
            for way, found in ways.items():
                for row in own_rows(name, mode_task, optimizer, way, found):
                    rows.append(row)
                    print(row, flush=True)
    header = ["task", "optimizer", "along", "steps", "gained", "curve", "of"]
    header += ["run × ratio", "median", "90th", "bias", "held", "missed", "false"]
    body = __doc__.split("\n\n", 1)[1] + "\n" + table(header, rows) + "\n"
    print(body)
    if arguments.write:
        command = f"python -m benchmarks.rates.lower --tasks {arguments.tasks}"
        write("rates-lower", command, body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
