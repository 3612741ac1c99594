"""A pre-trained ResNet on 12,000 augmented images: the case of ``benchmarks/results/2026-11-29-case.md``.

PYTHONPATH=$PWD raytt rank benchmarks/case/fashion.py --candidates 64 --storage-path runs/case --name fashion
PYTHONPATH=$PWD raytt validate benchmarks/case/fashion.py runs/case/fashion --top 6 --random 6
"""

from __future__ import annotations

from functools import partial
from typing import Any

import optuna

import raytt
from benchmarks.rates.fashion import CLASSES, Fashion, build_model, forward

SAMPLES, VALIDATION = 12_000, 2_000
EPOCHS = 8

task = raytt.Task(
    name="fashion",
    model=partial(build_model, "resnet"),
    data=partial(Fashion, prefix="train", first=CLASSES, count=SAMPLES, train=True),
    validation=partial(Fashion, prefix="t10k", first=CLASSES, count=VALIDATION, train=False),
    forward=forward,
)
target = raytt.Target(kind="val_loss", value=0.2)


def search_space(trial: optuna.Trial) -> dict[str, Any]:
    """AdamW and momentum SGD with learning rates of their own, as Optuna's users write it."""
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    config: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64, 128]),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine"]),
        "warmup_steps": trial.suggest_categorical("warmup_steps", [0, 100]),
        "max_epochs": EPOCHS,
    }
    if optimizer == "adamw":
        config["lr"] = trial.suggest_float("lr_adamw", 5e-5, 5e-3, log=True)
    else:
        config["momentum"] = trial.suggest_categorical("momentum", [0.0, 0.9])
        config["lr"] = trial.suggest_float("lr_sgd", 1e-3, 1e-1, log=True)
    return config
