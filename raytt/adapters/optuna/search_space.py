"""Search spaces of Optuna: candidates drawn from them.

A search space is a dictionary from hyperparameters to Optuna's distributions or constants, or a function of a trial,
as Optuna's define-by-run interface has it::

    {"lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True), "batch_size": 32}

    def space(trial):
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True) if optimizer == "sgd" else trial.suggest_float("lr", ...)
        return {"optimizer": optimizer, "lr": lr}

A value of None means that the hyperparameter is left at its default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from raytt.adapters.tune.search_space import Drawn, candidate_of, distinct
from raytt.errors import InputError
from raytt.task.candidate import Candidate, takes_several


def is_optuna(space: Any) -> bool:
    """Whether a search space is a function, or a dictionary with at least one distribution of Optuna."""
    if isinstance(space, Mapping):
        return any(_is_distribution(value) for value in space.values())
    return callable(space)


def draw(space: Any, *, num_candidates: int, seed: int, model_names: Sequence[str] = ()) -> Drawn:
    """Distinct candidates from a search space of Optuna; a function of the space and the seed alone.

    Hyperparameters are drawn by ``optuna.samplers.RandomSampler(seed)`` in a study in memory, until there are
    ``num_candidates`` distinct candidates, or `PATIENCE` draws in a row bring nothing new. Trials that a function
    prunes (``optuna.TrialPruned``) are left out.

    Args:
        space: A dictionary, or a function of a trial that returns one.
        num_candidates: How many, at least 1.
        seed: Of the sampler.
        model_names: Names that are arguments of the task's model factory, beside hyperparameters.

    Raises:
        InputError: If the space has no candidate, or one of its configurations is not valid.
    """
    if num_candidates < 1:
        raise InputError(f"num_candidates is {num_candidates}.", "Ask for at least 1 candidate.")
    drawn = distinct(_trials(_asker(space), seed, model_names), num_candidates)
    if not drawn:
        raise InputError(
            "The search space gave no configuration: all trials were pruned.", "Prune only what shall not be tried."
        )
    note = f"The search space gave {len(drawn)} distinct configurations; {num_candidates} were asked for."
    return Drawn(
        candidates=tuple(drawn),
        configs=tuple(drawn.values()),
        notes=(note,) if len(drawn) < num_candidates else (),
    )


def _asker(space: Any) -> Callable[[Any], Any]:
    """From a study to the configuration of its next trial."""
    if not isinstance(space, Mapping):
        return lambda study: space(study.ask())
    for name, value in space.items():
        if isinstance(value, Mapping) or (isinstance(value, list | tuple | set) and not takes_several(str(name))):
            raise InputError(
                f"{name!r} is a {type(value).__name__} in the search space: {value!r}.",
                "Write CategoricalDistribution(…), or a function of a trial where one hyperparameter depends on "
                "another.",
            )
        if type(value).__module__.startswith("ray."):
            raise InputError(
                f"{name!r} is a domain of Ray Tune beside distributions of Optuna.", "Use those of one of the two."
            )
    distributions = {name: value for name, value in space.items() if _is_distribution(value)}

    def ask(study: Any) -> dict[str, Any]:
        return {**space, **study.ask(distributions).params}

    return ask


def _trials(
    ask: Callable[[Any], Any], seed: int, model_names: Sequence[str]
) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """Candidates without end, and the configurations that the space writes."""
    import optuna

    with _quiet(optuna):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    pruned = 0
    while True:
        try:
            found = ask(study)
        except optuna.TrialPruned:
            pruned += 1
            if pruned == MOST_PRUNED:
                return
            continue
        except InputError:
            raise
        except Exception as error:
            # A user's function may raise anything.
            raise InputError(
                f"The search space cannot be drawn from: {error} ({type(error).__name__})",
                "Check the function: it takes a trial and returns a dictionary of hyperparameters.",
            ) from error
        pruned = 0
        if not isinstance(found, Mapping):
            raise InputError(
                f"The search space returned a {type(found).__name__}: {found!r}.",
                "Return a dictionary of hyperparameters.",
            )
        yield candidate_of(found, model_names), dict(found)


MOST_PRUNED = 1000
"""Trials that a space prunes in a row, after which it counts as exhausted."""


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without the line that tells of a new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _is_distribution(value: Any) -> bool:
    """Whether it is a distribution of Optuna; asked without importing Optuna, which may not be installed."""
    return any(kind.__module__.startswith("optuna.distributions") for kind in type(value).__mro__)
