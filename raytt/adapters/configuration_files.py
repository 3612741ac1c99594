"""A configuration as the file that a training program reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytt.adapters.axolotl.config import axolotl_config
from raytt.adapters.llama_factory.config import llama_factory_config
from raytt.adapters.transformers.arguments import training_arguments
from raytt.errors import InputError
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking
from raytt.store.text_files import write_json, write_text

Form = Callable[..., dict[str, Any]]

FORMS: Mapping[str, Form] = {
    "training_arguments": training_arguments,
    "axolotl": axolotl_config,
    "llama_factory": llama_factory_config,
}
"""By the program that reads them: settings of a candidate with ``steps``, its budget. The first is written as JSON, the
others as YAML."""


def settings(ranking: Ranking, form: str, *, rank: int = 1) -> dict[str, Any]:
    """A ranked configuration in the form that a program reads.

    Args:
        ranking: Where it stands.
        form: One of `FORMS`.
        rank: Its place, 1 for the first.

    Raises:
        InputError: If there is no such place, or the program has no such hyperparameter.
    """
    entry = _entry(ranking, rank)
    return FORMS[form](entry.candidate, steps=entry.budget)


def write(ranking: Ranking, form: str, path: str | Path, *, rank: int = 1) -> None:
    """Write `settings` to a file.

    Raises:
        InputError: See `settings`.
    """
    found = settings(ranking, form, rank=rank)
    if form == "training_arguments":
        write_json(path, found)
    else:
        write_text(path, _yaml(found))


def _entry(ranking: Ranking, rank: int) -> Entry:
    for entry in ranking.entries:
        if entry.rank == rank:
            return entry
    raise InputError(
        f"The ranking has no rank {rank}.", f"Give a whole number from 1 to {len(ranking.entries)}, the last rank."
    )


def _yaml(values: Mapping[str, Any]) -> str:
    # A dependency of Ray's, and of every program that reads the file.
    import yaml

    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return str(yaml.safe_dump(plain, sort_keys=False))
