"""Search spaces of Ray Tune: candidates drawn from them.

A search space is a dictionary from hyperparameters (the fields of `Candidate`) to constants or Tune's domains, or a
plain list of configurations. Dictionaries may be nested one level under any key, which serves conditional spaces::

    {
        "lr": tune.loguniform(1e-4, 1e-1),
        "batch_size": tune.grid_search([16, 32]),
        "momentum": tune.choice([0.0, 0.9]),
        "nesterov": tune.sample_from(lambda spec: spec.config.momentum > 0),
        "schedule": tune.choice([
            {"schedule": "constant"},
            {"schedule": "step", "step_size": tune.choice([50, 100])},
        ]),
    }

A value of None means that the hyperparameter is left at its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.sample import Domain
from ray.tune.search.variant_generator import generate_variants

from raytt.errors import InputError
from raytt.task.candidate import Candidate, check_known, takes_several

PATIENCE = 1000
"""Draws in a row that bring nothing new, after which a search space counts as exhausted."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Candidates of a search space."""

    candidates: tuple[Candidate, ...]
    """Distinct, in the order in which they were drawn or listed."""
    configs: tuple[dict[str, Any], ...]
    """The same as the search space writes them, nested where it is."""
    notes: tuple[str, ...]
    """What the user should know about the draw."""


def draw(space: Any, *, num_candidates: int, seed: int, model_names: Sequence[str] = ()) -> Drawn:
    """Distinct candidates from a search space; a function of the space and the seed alone.

    * A list of configurations (dictionaries or candidates) is used as it is, whatever ``num_candidates`` says.
    * Random domains are drawn until there are ``num_candidates`` distinct candidates, or `PATIENCE` draws in a row
      bring nothing new. (``sample_from`` functions with random numbers of their own are outside the seed's reach.)
    * A grid (``grid_search``) is run through entirely where it holds no more than ``num_candidates`` candidates, and
      as often as random domains beside it bring new ones; from a larger one ``num_candidates`` are drawn at random.

    Names are those of hyperparameters, and ``model_names``, the arguments of the task's model factory.

    Raises:
        InputError: If the space has no candidate, or one of its configurations is not valid.
    """
    if isinstance(space, Mapping):
        if num_candidates < 1:
            raise InputError(f"num_candidates is {num_candidates}.", "Ask for at least 1 candidate.")
        return _draw_from_domains(dict(space), num_candidates, seed, model_names)
    if isinstance(space, Iterable) and not isinstance(space, str | bytes):
        return _listed(list(space), model_names)
    raise InputError(
        f"The search space is a {type(space).__name__}.",
        "Give a dictionary of Ray Tune domains, or a list of configurations.",
    )


def _listed(items: list[Any], model_names: Sequence[str]) -> Drawn:
    if not items:
        raise InputError("The search space is an empty list.", "List at least one configuration.")
    found: dict[Candidate, dict[str, Any]] = {}
    for number, item in enumerate(items):
        if isinstance(item, Candidate):
            found.setdefault(item, item.config())
        elif isinstance(item, Mapping):
            if any(_holds_domain(value) for value in item.values()):
                raise InputError(
                    f"Configuration {number} of the search space holds a Ray Tune domain: {dict(item)!r}.",
                    "A list holds complete configurations; give domains in one dictionary.",
                )
            found.setdefault(candidate_of(item, model_names), dict(item))
        else:
            raise InputError(
                f"Item {number} of the search space is a {type(item).__name__}: {item!r}.",
                "List dictionaries of hyperparameters, or candidates.",
            )
    repeated = len(items) - len(found)
    note = f"{repeated} of the {len(items)} listed configurations repeat others and were left out."
    return _drawn(found, (note,) if repeated else ())


def _draw_from_domains(space: dict[Any, Any], num_candidates: int, seed: int, model_names: Sequence[str]) -> Drawn:
    if not space:
        raise InputError("The search space is empty.", "Give at least a learning rate: {'lr': tune.loguniform(…)}.")
    _check_lists(space)
    # A generator, not a number: with a number Tune seeds every hyperparameter alike, and all are perfectly correlated.
    one_pass = distinct(_variants(space, np.random.default_rng(seed), model_names), num_candidates + 1)
    if len(one_pass) > num_candidates:
        drawn = distinct(_endless(_without_grids(space), np.random.default_rng(seed), model_names), num_candidates)
        note = (
            f"The grid holds more than {num_candidates} configurations; {len(drawn)} of them were drawn at random. "
            "Ask for more candidates to have them all."
        )
        return _drawn(drawn, (note,))
    drawn = distinct(_endless(space, np.random.default_rng(seed), model_names), num_candidates)
    note = f"The search space gave {len(drawn)} distinct configurations; {num_candidates} were asked for."
    return _drawn(drawn, (note,) if len(drawn) < num_candidates else ())


def _drawn(found: Mapping[Candidate, dict[str, Any]], notes: tuple[str, ...]) -> Drawn:
    return Drawn(candidates=tuple(found), configs=tuple(found.values()), notes=notes)


def _variants(
    space: dict[Any, Any], rng: np.random.Generator, model_names: Sequence[str]
) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """One pass over the grid of a space, with fresh draws at every point of it.

    This is the core of Tune's ``BasicVariantGenerator``, which itself wants an ``Experiment``, and that makes a result
    directory in the user's home.
    """
    try:
        for _, spec in generate_variants({"config": space}, random_state=rng):
            yield candidate_of(spec["config"], model_names), spec["config"]
    except InputError:
        raise
    except Exception as error:
        # Functions given to sample_from may raise anything; Tune wraps it without its text.
        cause = error.__cause__ or error.__context__ or error
        raise InputError(
            f"The search space cannot be drawn from: {error} ({type(cause).__name__}: {cause})",
            "Check its functions: those given to sample_from read other hyperparameters at `spec.config`.",
        ) from error


def _endless(
    space: dict[Any, Any], rng: np.random.Generator, model_names: Sequence[str]
) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    while True:
        yield from _variants(space, rng, model_names)


def distinct(candidates: Iterator[tuple[Candidate, dict[str, Any]]], count: int) -> dict[Candidate, dict[str, Any]]:
    """The first ``count`` distinct ones; fewer if the iterator ends or brings nothing new `PATIENCE` times in a row."""
    found: dict[Candidate, dict[str, Any]] = {}
    stale = 0
    for candidate, config in candidates:
        stale = stale + 1 if candidate in found else 0
        found.setdefault(candidate, config)
        if len(found) == count or stale == PATIENCE:
            break
    return found


def candidate_of(config: Mapping[Any, Any], model_names: Sequence[str] = ()) -> Candidate:
    """A candidate from a configuration with at most one level of nesting.

    Args:
        config: As the search space gives it.
        model_names: Names that are arguments of the task's model factory, beside hyperparameters.

    Raises:
        InputError: If it gives something that is no hyperparameter, or gives one twice or out of its bounds.
    """
    flat: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for key, value in config.items():
        if key == "model_arguments":
            arguments |= value
            continue
        inner = value if isinstance(value, Mapping) else {key: value}
        for name, setting in inner.items():
            if name in flat:
                raise InputError(
                    f"The configuration {dict(config)!r} gives {name!r} twice.", "Give each hyperparameter once."
                )
            if inner is value:
                check_known({name: setting}, f"under {key!r} in {dict(config)!r}", model_names)
            flat[name] = setting
    # Before what is None is left out: a name that nothing knows is a mistake whatever its value.
    check_known(flat, model_names=model_names)
    given = {name: setting for name, setting in flat.items() if setting is not None}
    return Candidate.from_config(given | ({"model_arguments": arguments} if arguments else {}), model_names)


def _is_grid(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"grid_search"}


def _holds_domain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_grid(value) or any(_holds_domain(inner) for inner in value.values())
    return isinstance(value, Domain)


def _check_lists(space: Mapping[Any, Any]) -> None:
    """Refuse empty choices and plain lists of values, which Tune would take for one constant."""
    for key, value in space.items():
        if isinstance(value, list | tuple | set | np.ndarray) and not takes_several(str(key)):
            raise InputError(
                f"{key!r} is a plain {type(value).__name__} in the search space: {value!r}.",
                "Write tune.choice(…) or tune.grid_search(…) around it.",
            )
        options = value["grid_search"] if _is_grid(value) else getattr(value, "categories", None)
        if options is not None and len(list(options)) == 0:
            raise InputError(f"{key!r} has nothing to choose from.", "Give at least one value.")
        if isinstance(value, Mapping) and not _is_grid(value):
            _check_lists(value)


def _without_grids(space: Any) -> Any:
    """The same space with a random choice in place of every grid."""
    if _is_grid(space):
        return tune.choice([_without_grids(value) for value in space["grid_search"]])
    return {key: _without_grids(value) for key, value in space.items()} if isinstance(space, Mapping) else space
