"""All rivals by name."""

from __future__ import annotations

from collections.abc import Callable

from ..contest import Contest
from ..purse import Purse
from .optuna_tpe import tpe_hyperband, tpe_median
from .own import pilots_alone
from .ray_tune import asha, hyperband
from .simple import i_epoch, random, rescaled_time

Rival = Callable[[Contest, Purse, int], None]
"""Buys from a purse until it is empty, and tells it its ranking."""

RIVALS: dict[str, Rival] = {
    "raytt, pilots alone": pilots_alone,
    "i-Epoch": i_epoch,
    "ASHA": asha,
    "Hyperband": hyperband,
    "TPE, median": tpe_median,
    "TPE, Hyperband": tpe_hyperband,
    "rescaled time": rescaled_time,
    "random": random,
}
