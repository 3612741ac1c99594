"""What was measured along a reference's path, for several batch sizes, and its values in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Batch = int | tuple[int, int]
"""What the gradient of a step is the mean of: one minibatch of B samples, or (B, A): A minibatches of B."""


def batch_of(candidate: Candidate) -> Batch:
    """The column in which a candidate's rates stand."""
    one = candidate.accumulation_steps == 1
    return candidate.batch_size if one else (candidate.batch_size, candidate.accumulation_steps)


def samples_of(batch: Batch) -> int:
    """Samples of a step."""
    return batch if isinstance(batch, int) else batch[0] * batch[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class RatesHere:
    """At the places of M candidates, each with its batch size; shape (M,) all."""

    factor: Floats
    """v_B/v_{B_ref}."""
    noise: Floats | None
    """n_B; None where none was given."""
    curvature: Floats | None
    """h_B; None where none was given."""
    pull: Floats | None
    """⟨ḡ, w⟩; None where none was given."""
    load: Floats
    """m_B/m_{B_ref}; 1 where none was given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RateTable:
    """Descent rates at P points of the path for several batch sizes.

    Raises:
        InputError: If a rate or noise is not positive, or the reference's batch size is missing.
    """

    times: Floats
    """τ_ref of the points, shape (P,), increasing."""
    batch_sizes: tuple[Batch, ...]
    """Of the columns."""
    reference_batch_size: Batch
    """B_ref, one of them."""
    rates: Floats
    """v_B > 0, in any unit of its own at each point, shape (P, columns): only ratios count."""
    noises: Floats | None = None
    """n_B > 0, loss per learning rate, shape (P, columns); None: no excess loss is taken into account."""
    curvatures: Floats | None = None
    """h_B, one over learning rate, shape (P, columns); None: excess loss to first order, at once."""
    levels: Floats | None = None
    """ln of the loss that a candidate logs over what the reference logs at the same weights
    (`raytt.rates.batch_level`), shape (P, columns); None: 0."""
    norms: Floats | None = None
    """|g_b| of K minibatches, shape (P, columns, K); None: clipping is not taken into account."""
    pulls: Floats | None = None
    """⟨ḡ, w⟩, loss per learning rate and λ, shape (P, columns); None: weight decay is not taken into account."""
    squares: Floats | None = None
    """m_B = v_B + n_B > 0, the mean square of a minibatch's gradient, in any unit of its own at each point, shape (P,
    columns); None: all the same."""

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.batch_sizes))
        for name in ("rates", "noises", "curvatures", "pulls", "levels", "squares"):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} of shape {values.shape} for {shape[0]} points and {shape[1]} batch sizes")
        for name, values in (("rate", self.rates), ("noise", self.noises)):
            if values is not None and not bool((values > 0.0).all()):
                raise InputError(
                    f"A {name} is {float(values.min()):.3g}, not above 0: its minibatches told nothing of it.",
                    "Take more minibatches per rate, or pool rates over batch sizes and points first.",
                )
        if self.reference_batch_size not in self.batch_sizes:
            raise InputError(
                f"No rates for the reference's batch size {self.reference_batch_size}.",
                f"Measure them there as well as at {self.batch_sizes}.",
            )

    def column(self, batch_size: Batch) -> int:
        """Number of a batch size's column."""
        if batch_size not in self.batch_sizes:
            raise InputError(
                f"No descent rates for batch size {batch_size}.", f"Measured: {', '.join(map(str, self.batch_sizes))}."
            )
        return self.batch_sizes.index(batch_size)

    def at(self, places: Floats, columns: Ints) -> RatesHere:
        """Values at ``places`` (M,) for the columns (M,)."""
        lower, share = self._between(places)
        own = self.column(self.reference_batch_size)

        def over_own(values: Floats) -> Floats:
            logs = np.log(values)
            return np.exp(_blend(logs - logs[:, own : own + 1], lower, share, columns))

        return RatesHere(
            factor=over_own(self.rates),
            load=np.ones(len(places)) if self.squares is None else over_own(self.squares),
            noise=None if self.noises is None else np.exp(_blend(np.log(self.noises), lower, share, columns)),
            curvature=None if self.curvatures is None else _blend(self.curvatures, lower, share, columns),
            pull=None if self.pulls is None else _blend(self.pulls, lower, share, columns),
        )

    def blend(self, values: Floats, places: Floats) -> Floats:
        """Values given at the points for each of M candidates, shape ``(P, M)``, at the places of theirs; ``(M,)``."""
        lower, share = self._between(places)
        return _blend(values, lower, share, np.arange(len(places), dtype=np.int64))

    def log_level(self, places: Floats, columns: Ints) -> Floats:
        """`levels` at ``places`` (M, T) for the columns (M,); shape (M, T)."""
        if self.levels is None:
            return np.zeros_like(places)
        return np.stack(
            [np.interp(row, self.times, self.levels[:, column]) for row, column in zip(places, columns, strict=True)]
        )

    def _between(self, places: Floats) -> tuple[Ints, Floats]:
        """Number of the point before each place, and the share of the way to the next, in [0, 1]."""
        if len(self.times) == 1:
            return np.zeros(len(places), dtype=np.int64), np.zeros(len(places))
        lower = np.clip(np.searchsorted(self.times, places, side="right") - 1, 0, len(self.times) - 2)
        share = (places - self.times[lower]) / (self.times[lower + 1] - self.times[lower])
        return lower, np.clip(share, 0.0, 1.0)


def _blend(table: Floats, lower: Ints, share: Floats, columns: Ints) -> Floats:
    upper = np.minimum(lower + 1, len(table) - 1)
    return np.asarray((1.0 - share) * table[lower, columns] + share * table[upper, columns])
