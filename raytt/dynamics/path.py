"""The network along the path of a reference run: tangents at several points, blended by how far a row has come.

Notation: tangents s = 0…S at weights w_0 (pre-trained), …, w_S, all in one sketch: outputs f_s, rows Z_s, position
w̃_s = Sᵀ(w_s − w_0); segment Δ_s = w̃_{s+1} − w̃_s; M rows of state w̃ (displacements from w_0).

A row lies on segment s at the share λ ∈ [0, 1] of it. Its foot on the path is w̃_s + λ Δ_s, and the network is

    f(w̃) = h(λ) + Z(λ) (w̃ − w̃_s − λ Δ_s),        Z(λ) = (1 − λ) Z_s + λ Z_{s+1}

with h the cubic Hermite interpolation of the outputs between both ends (values f_s, f_{s+1}, slopes Z_s Δ_s and
Z_{s+1} Δ_s): exact for outputs that are quadratic along the segment, where a mere blend of the two tangents is wrong by
twice the curvature. One tangent (S = 0) is the linear method.

Past the last tangent (λ = 1 + x on the last segment) features go on changing as they did on that segment, for as long
again, and then stand still:

    Z(λ) = Z_S + γ(x) (Z_S − Z_{S−1}),    h(λ) = f_S + x Z_S Δ + ∫₀ˣ γ · (Z_S − Z_{S−1}) Δ,    γ(x) = min(x, 1).

How far a row has come is read off by a linear functional of its own weights, the mean of two that are both λ on the
path itself:

    λ = ½ ⟨w̃ − w̃_s, m_s⟩ / ⟨Δ_s, m_s⟩ + ½ ⟨w̃ − w̃_s, Δ_s⟩ / ‖Δ_s‖²,        m_s = ½ (Z_s + Z_{s+1})ᵀ (f_{s+1} − f_s)

The first is the movement of outputs that a row shares with the reference, the second that of its weights. They err to
opposite sides. A third to a half of ‖Δ_s‖² is the reference's own minibatch noise, so that by its weights another run,
whose noise is its own, lags behind. Outputs run ahead where only a small subset was probed, which is soon overfitted:
AdamW on Fashion-MNIST, 512 of 5,000 samples, is by its outputs past the end of the path after 15 steps, of which the
reference took 124 to get there, and by its weights has not left the second segment; its simulated loss climbs again, as
it is given features and outputs of a place where it is not. By the mean of both it does not.

Source: trajectory piecewise linear model reduction (Rewieński and White 2003), here for training dynamics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.tangent import Samples, Tangent

GROWS_FOR = 1.0
"""Lengths of the last segment past its end for which features go on changing. Without it (0) the median errors on
diabetes are 12 (AdamW) and 13 % (SGD) instead of 7 and 8 (``python -m benchmarks.constants --sections growth``,
2026-11-29)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """Where M rows are, and how they are put in the order of segments: the rows of a tangent then lie side by side."""

    segment: Tensor
    """s, shape (M,) int64."""
    share: Tensor
    """λ ≥ 0, shape (M,); above 1 only on the last segment."""
    order: Tensor
    """Rows by segment, shape (M,) int64."""
    bounds: list[int]
    """Where each segment begins among them, and M."""

    def weights(self, tangents: int) -> Tensor:
        """Share of each tangent's rows in each row's Jacobian, shape (M, tangents); rows sum to 1."""
        ahead = _blend(self.share).unsqueeze(1)
        weights = self.share.new_zeros(len(self.share), tangents)
        weights.scatter_(1, self.segment.unsqueeze(1), 1.0 - ahead)
        return weights.scatter_add_(1, torch.clamp(self.segment + 1, max=tangents - 1).unsqueeze(1), ahead)

    def users(self, tangent: int) -> slice:
        """Which rows, in the order of segments, are on a segment that the tangent ends or begins."""
        last = len(self.bounds) - 2
        return slice(self.bounds[min(max(tangent - 1, 0), last)], self.bounds[min(tangent, last) + 1])


def _blend(share: Tensor) -> Tensor:
    """Weight of Z_{s+1} in Z(λ): λ, or 1 + γ(λ − 1) past the end."""
    return torch.clamp(share, max=1.0 + GROWS_FOR)


def _integral(beyond: Tensor) -> Tensor:
    """∫₀ˣ γ for x ≥ 0."""
    inside = torch.clamp(beyond, max=GROWS_FOR)
    return inside * (beyond - 0.5 * inside)


class _Track:
    """The same samples at all tangents.

    Outputs without the part that follows a row's own weights, h(λ) − Z(λ)(w̃_s + λ Δ_s) + α Σ_s (share of s) radial_s,
    are linear in what is known of the samples: f_s, Z_s w̃_s, Z_s Δ_s, Z_{s+1} Δ_s and radial_s, side by side in a table
    of 5 S + 3 columns. What multiplies them depends on s and λ alone, so that one product serves all rows.
    """

    def __init__(self, samples: Sequence[Samples], positions: Sequence[Tensor]) -> None:
        self.samples = samples
        moves = [b - a for a, b in pairwise(positions)]
        columns = [s.outputs for s in samples]
        columns += [s.jacobian @ w for s, w in zip(samples, positions, strict=True)]
        columns += [s.radial for s in samples]
        columns += [s.jacobian @ move for s, move in zip(samples, moves, strict=False)]
        columns += [s.jacobian @ move for s, move in zip(samples[1:], moves, strict=True)]
        self._table = torch.stack(columns, dim=2)
        """Shape (N, C, 5 S + 3)."""

    def base(self, place: _Place, alpha: Tensor | None, index: Tensor | slice) -> Tensor:
        """That part of the outputs, shape (M, B · C)."""
        table = self._table[index] if isinstance(index, slice) else self._table.index_select(0, index)
        return self._factors(place, alpha) @ table.reshape(-1, table.shape[2]).T

    def _factors(self, place: _Place, alpha: Tensor | None) -> Tensor:
        tangents, x, s = len(self.samples), place.share, place.segment
        factors = x.new_zeros(len(x), self._table.shape[2])
        weights = place.weights(tangents)
        factors[:, tangents : 2 * tangents] = -weights
        if alpha is not None:
            factors[:, 2 * tangents : 3 * tangents] = weights * alpha.unsqueeze(1)
        if tangents == 1:
            factors[:, 0] = 1.0
            return factors
        ahead, within, beyond = _blend(x), torch.clamp(x, max=1.0), torch.clamp(x - 1.0, min=0.0)
        rise, grown = within * within * (3.0 - 2.0 * within), _integral(beyond)
        start = within * (1.0 - within) * (1.0 - within) - grown - (1.0 - ahead) * x
        stop = beyond + grown - within * within * (1.0 - within) - ahead * (x - 1.0)
        places = torch.stack([s, s + 1, s + 3 * tangents, s + 4 * tangents - 1], dim=1)
        return factors.scatter_(1, places, torch.stack([1.0 - rise, rise, start, stop], dim=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pull:
    """A tangent's part in the gradients of some rows."""

    users: slice
    """Of which rows, in the order of segments."""
    weights: Tensor
    """Its share in their Jacobians, shape (k, 1)."""
    rows: Tensor
    """What residuals are multiplied by, shape (B · C, width)."""


class PathNetwork(Network):
    """Several tangents under a block of rows. States are sketched displacements from the pre-trained weights.

    Args:
        tangents: At the points of the path, in its order, in the same sketch and with the same samples; the first at
            the pre-trained weights.
    """

    def __init__(self, tangents: Sequence[Tangent]) -> None:
        positions = [t.position for t in tangents]
        self.train, self.validation = tangents[0].train, tangents[0].validation
        self.width = self.train.jacobian.shape[2]
        self._train = _Track([t.train for t in tangents], positions)
        others = [t.validation for t in tangents if t.validation is not None]
        self._validation = _Track(others, positions) if len(others) == len(tangents) else None
        gauges = [_gauge(a.train, b.train) for a, b in pairwise(tangents)]
        moves = [b - a for a, b in pairwise(positions)]
        lengths = [gauge @ move for gauge, move in zip(gauges, moves, strict=True)]
        if any(float(length) <= 0.0 for length in lengths):
            raise ValueError("two tangents between which the outputs did not move along the path")
        # λ of each segment is affine in the state: w̃ · gauge − offset.
        scaled = [
            0.5 * (gauge / length + move / (move @ move))
            for gauge, length, move in zip(gauges, lengths, moves, strict=True)
        ]
        self._gauges = torch.stack(scaled, dim=1) if scaled else positions[0].new_zeros(self.width, 0)
        self._offsets = torch.stack([g @ w for g, w in zip(scaled, positions, strict=False)]) if scaled else None
        self._place: _Place | None = None
        self._pulls: list[_Pull] = []
        self._buffers: dict[str, Tensor] = {}

    def zeros(self, rows: int) -> Tensor:
        return self.train.jacobian.new_zeros(rows, self.width)

    def batch(self, index: Tensor) -> Batch:
        return self._batch(index)

    def full_batch(self) -> Batch:
        return self._batch(slice(0, self.train.outputs.shape[0]))

    def outputs(self, state: Tensor, alpha: Tensor | None, batch: Batch) -> Tensor:
        self._place, self._pulls = self.locate(state), []
        return self._outputs(self._train, state, alpha, self._place, batch.samples, keep=self._pulls)

    def validation_outputs(self, state: Tensor, alpha: Tensor | None) -> Tensor | None:
        if self._validation is None:
            return None
        count = self._validation.samples[0].outputs.shape[0]
        return self._outputs(self._validation, state, alpha, self.locate(state), slice(0, count))

    def accumulate(self, into: Tensor, residual: Tensor, batch: Batch, scale: float) -> None:
        assert self._place is not None
        residual = residual.reshape(len(residual), -1).index_select(0, self._place.order)
        pulled = self._buffer("pulled", into.shape).zero_()
        for pull in self._pulls:
            pulled[pull.users].addmm_(residual[pull.users] * pull.weights, pull.rows, alpha=scale)
        into.index_add_(0, self._place.order, pulled)

    def squared_norm(self, gradient: Tensor, residual: Tensor, batch: Batch, scale: float) -> Tensor:
        return gradient.square().sum(dim=1)

    def progress(self, state: Tensor) -> Tensor:
        """Segment number plus λ of each row, ``(M, width) -> (M,)``: 0 at the start, S at the last tangent."""
        place = self.locate(state)
        return place.segment + place.share

    def locate(self, state: Tensor) -> _Place:
        """Where rows are: on the first segment whose end they have not passed."""
        last = self._gauges.shape[1] - 1
        if self._offsets is None:
            segment, share = (
                torch.zeros(len(state), dtype=torch.int64, device=state.device),
                state.new_zeros(len(state)),
            )
        else:
            found = state @ self._gauges - self._offsets
            # Rows that diverged hold NaN, which is nowhere past an end.
            passed = (found >= 1.0).to(torch.int64).cumprod(dim=1).sum(dim=1)
            segment = passed.clamp(max=last)
            share = found.gather(1, segment.unsqueeze(1)).squeeze(1).clamp(min=0.0).nan_to_num(0.0, posinf=0.0)
        counts = torch.bincount(segment, minlength=max(last, 0) + 1).cumsum(0)
        return _Place(
            segment=segment,
            share=share,
            order=torch.argsort(segment, stable=True),
            bounds=[0, *counts.tolist()],
        )

    def _batch(self, samples: Tensor | slice) -> Batch:
        # Rows are gathered when it is known which tangents are in use.
        return Batch(
            samples=samples,
            rows=self.train.jacobian.new_empty(0),
            outputs=self.train.outputs[samples],
            radial=self.train.radial[samples],
            targets=self.train.targets[samples],
        )

    def _outputs(
        self,
        track: _Track,
        state: Tensor,
        alpha: Tensor | None,
        place: _Place,
        index: Tensor | slice,
        keep: list[_Pull] | None = None,
    ) -> Tensor:
        outputs = track.base(place, alpha, index)
        weights = place.weights(len(track.samples)).index_select(0, place.order)
        arranged = torch.index_select(state, 0, place.order, out=self._buffer("arranged", state.shape))
        moved = outputs.new_zeros(outputs.shape)
        # Of rows that are at the start, the tangent at its end has no part in anything.
        used = (weights != 0.0).any(dim=0).tolist()
        for s, samples in enumerate(track.samples):
            if not used[s]:
                continue
            users = place.users(s)
            rows, shares = self._gather(samples.jacobian, index, f"rows {s}"), weights[users, s : s + 1]
            if keep is not None:
                pulls = samples.updates
                updates = rows if pulls is None else self._gather(pulls, index, f"updates {s}")
                keep.append(_Pull(users=users, weights=shares, rows=updates))
            moved[users].addcmul_(arranged[users] @ rows.T, shares)
        outputs.index_add_(0, place.order, moved)
        return outputs.view(len(state), -1, track.samples[0].outputs.shape[1])

    def _gather(self, table: Tensor, index: Tensor | slice, slot: str) -> Tensor:
        """Rows of some samples, ``(B·C, width)``."""
        if isinstance(index, slice):
            return table[index].reshape(-1, self.width)
        out = self._buffer(slot, (len(index), *table.shape[1:]))
        return torch.index_select(table, 0, index, out=out).reshape(-1, self.width)

    def _buffer(self, slot: str, shape: Sequence[int]) -> Tensor:
        """Memory that is used again each time and stays in cache; a fresh tensor costs several times as much."""
        if slot not in self._buffers or self._buffers[slot].shape != tuple(shape):
            self._buffers[slot] = self.train.jacobian.new_empty(shape)
        return self._buffers[slot]


def _gauge(here: Samples, there: Samples) -> Tensor:
    """m_s = ½ (Z_s + Z_{s+1})ᵀ (f_{s+1} − f_s), shape (R,)."""
    moved = (there.outputs - here.outputs).reshape(-1)
    width = here.jacobian.shape[2]
    return 0.5 * (moved @ here.jacobian.reshape(-1, width) + moved @ there.jacobian.reshape(-1, width))
