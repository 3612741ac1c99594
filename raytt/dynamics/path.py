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
whose noise is its own, lags behind. Outputs run ahead where few samples of many were probed and are soon learned by
heart: AdamW on Fashion-MNIST, 512 of 5,000 samples, is by its outputs past the end of the path after 15 steps, of which
the reference took 124 to get there, and by its weights has not left the second segment; its simulated loss climbs
again, as it is given features and outputs of a place where it is not. By the mean of both it does not.

Source: trajectory piecewise linear model reduction (Rewieński and White 2003), here for training dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from raytt.dynamics.network import Batch, Network
from raytt.dynamics.tangent import Samples, Tangent

GROWS_FOR = 1.0
"""Lengths of the last segment past its end for which features go on changing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """Where M rows are."""

    segment: Tensor
    """s, shape (M,) int64."""
    share: Tensor
    """λ ≥ 0, shape (M,); above 1 only on the last segment."""

    def weights(self, tangents: int) -> Tensor:
        """Share of each tangent's rows in each row's Jacobian, shape (M, tangents); rows sum to 1."""
        ahead = _blend(self.share).unsqueeze(1)
        weights = self.share.new_zeros(len(self.share), tangents)
        weights.scatter_(1, self.segment.unsqueeze(1), 1.0 - ahead)
        return weights.scatter_add_(1, torch.clamp(self.segment + 1, max=tangents - 1).unsqueeze(1), ahead)


def _blend(share: Tensor) -> Tensor:
    """Weight of Z_{s+1} in Z(λ): λ, or 1 + γ(λ − 1) past the end."""
    return torch.clamp(share, max=1.0 + GROWS_FOR)


def _integral(beyond: Tensor) -> Tensor:
    """∫₀ˣ γ for x ≥ 0."""
    inside = torch.clamp(beyond, max=GROWS_FOR)
    return inside * (beyond - 0.5 * inside)


class _Track:
    """The same samples at all tangents, with what the interpolation needs of them."""

    def __init__(self, samples: Sequence[Samples], positions: Sequence[Tensor]) -> None:
        self.samples = samples
        self.at = [s.jacobian @ w for s, w in zip(samples, positions, strict=True)]
        """Z_s w̃_s, shape (N, C) each."""
        moves = [b - a for a, b in pairwise(positions)]
        self.start = [s.jacobian @ move for s, move in zip(samples, moves, strict=False)]
        """Z_s Δ_s."""
        self.stop = [s.jacobian @ move for s, move in zip(samples[1:], moves, strict=True)]
        """Z_{s+1} Δ_s."""

    def base(self, segment: int, share: Tensor, index: Tensor | slice) -> Tensor:
        """h(λ) − Z(λ)(w̃_s + λ Δ_s) of rows on one segment, ``(k,) -> (k, B, C)``."""
        s, x, ahead = segment, share.view(-1, 1, 1), _blend(share).view(-1, 1, 1)
        here, there = self.samples[s].outputs[index], self.samples[s + 1].outputs[index]
        start, stop = self.start[s][index], self.stop[s][index]
        within, beyond = torch.clamp(x, max=1.0), torch.clamp(x - 1.0, min=0.0)
        rise = within * within * (3.0 - 2.0 * within)
        along = here + rise * (there - here) + within * (1.0 - within) * ((1.0 - within) * start - within * stop)
        along += beyond * stop + _integral(beyond) * (stop - start)
        foot = (1.0 - ahead) * (self.at[s][index] + x * start) + ahead * (self.at[s + 1][index] + (x - 1.0) * stop)
        return along - foot


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
        self._positions = positions
        self._train = _Track([t.train for t in tangents], positions)
        others = [t.validation for t in tangents if t.validation is not None]
        self._validation = _Track(others, positions) if len(others) == len(tangents) else None
        gauges = [_gauge(a.train, b.train) for a, b in pairwise(tangents)]
        moves = [b - a for a, b in pairwise(positions)]
        lengths = [gauge @ move for gauge, move in zip(gauges, moves, strict=True)]
        if any(float(length) <= 0.0 for length in lengths):
            raise ValueError("two tangents between which the outputs did not move along the path")
        # λ of each segment is affine in the state: w̃ · gauge − offset.
        self._gauges = [
            0.5 * (gauge / length + move / (move @ move))
            for gauge, length, move in zip(gauges, lengths, moves, strict=True)
        ]
        self._offsets = [float(g @ w) for g, w in zip(self._gauges, positions, strict=False)]
        self._blend = self.train.outputs.new_zeros(0)
        self._gathered: dict[int, Tensor] = {}
        self._buffers: dict[tuple[int, str], Tensor] = {}

    def zeros(self, rows: int) -> Tensor:
        return self.train.jacobian.new_zeros(rows, self.width)

    def batch(self, index: Tensor) -> Batch:
        return self._batch(index)

    def full_batch(self) -> Batch:
        return self._batch(slice(0, self.train.outputs.shape[0]))

    def outputs(self, state: Tensor, alpha: Tensor | None, batch: Batch) -> Tensor:
        place = self.locate(state)
        self._blend = place.weights(len(self._positions))
        self._gathered = {}
        return self._outputs(self._train, state, alpha, place, batch.samples, keep=self._gathered)

    def validation_outputs(self, state: Tensor, alpha: Tensor | None) -> Tensor | None:
        if self._validation is None:
            return None
        count = self._validation.samples[0].outputs.shape[0]
        return self._outputs(self._validation, state, alpha, self.locate(state), slice(0, count))

    def accumulate(self, into: Tensor, residual: Tensor, batch: Batch, scale: float) -> None:
        for s, rows in self._gathered.items():
            chosen, weights = _present(self._blend[:, s])
            pulled = residual if chosen is None else residual.index_select(0, chosen)
            flat = (pulled * weights.view(-1, 1, 1)).reshape(pulled.shape[0], -1)
            if chosen is None:
                into.addmm_(flat, rows, alpha=scale)
            else:
                into.index_add_(0, chosen, flat @ rows, alpha=scale)

    def squared_norm(self, gradient: Tensor, residual: Tensor, batch: Batch, scale: float) -> Tensor:
        return gradient.square().sum(dim=1)

    def progress(self, state: Tensor) -> Tensor:
        """Segment number plus λ of each row, ``(M, width) -> (M,)``: 0 at the start, S at the last tangent."""
        place = self.locate(state)
        return place.segment + place.share

    def locate(self, state: Tensor) -> _Place:
        """Where rows are: on the first segment whose end they have not passed."""
        segment = torch.zeros(state.shape[0], dtype=torch.int64, device=state.device)
        share = state.new_zeros(state.shape[0])
        going = torch.ones_like(segment, dtype=torch.bool)
        for s, (gauge, offset) in enumerate(zip(self._gauges, self._offsets, strict=True)):
            found = state @ gauge - offset
            segment = torch.where(going, s, segment)
            most = 1.0 if s + 1 < len(self._gauges) else math.inf
            share = torch.where(going, found.clamp(0.0, most), share)
            # Rows that diverged hold NaN, which is nowhere past an end.
            going &= found >= 1.0
        return _Place(segment=segment, share=share.nan_to_num(0.0, posinf=0.0))

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
        keep: dict[int, Tensor] | None = None,
    ) -> Tensor:
        blend = place.weights(len(self._positions))
        first = track.samples[0].outputs[index]
        outputs = state.new_empty(state.shape[0], *first.shape)
        if len(self._positions) == 1:
            outputs[:] = first
        for s in range(len(self._positions) - 1):
            chosen = (place.segment == s).nonzero().squeeze(1)
            if len(chosen):
                outputs[chosen] = track.base(s, place.share[chosen], index)
        for s, samples in enumerate(track.samples):
            if not bool((blend[:, s] != 0).any()):
                continue
            moving_rows, shares = _present(blend[:, s])
            rows = self._gather(samples.jacobian, index, (s, "rows"))
            if keep is not None:
                pulls = samples.updates
                keep[s] = rows if pulls is None else self._gather(pulls, index, (s, "updates"))
            moving = state if moving_rows is None else state.index_select(0, moving_rows)
            moved = (moving @ rows.T).view(moving.shape[0], *first.shape)
            if alpha is not None:
                shrunk = alpha if moving_rows is None else alpha[moving_rows]
                moved += samples.radial[index] * shrunk.view(-1, 1, 1)
            moved *= shares.view(-1, 1, 1)
            if moving_rows is None:
                outputs += moved
            else:
                outputs.index_add_(0, moving_rows, moved)
        return outputs

    def _gather(self, table: Tensor, index: Tensor | slice, slot: tuple[int, str]) -> Tensor:
        """Rows of some samples, ``(B·C, width)``; gathered into the same memory each time, which stays in cache."""
        if isinstance(index, slice):
            return table[index].reshape(-1, self.width)
        shape = (len(index), *table.shape[1:])
        if slot not in self._buffers or self._buffers[slot].shape != shape:
            self._buffers[slot] = table.new_empty(shape)
        return torch.index_select(table, 0, index, out=self._buffers[slot]).reshape(-1, self.width)


def _gauge(here: Samples, there: Samples) -> Tensor:
    """m_s = ½ (Z_s + Z_{s+1})ᵀ (f_{s+1} − f_s), shape (R,)."""
    moved = (there.outputs - here.outputs).reshape(-1)
    width = here.jacobian.shape[2]
    return 0.5 * (moved @ here.jacobian.reshape(-1, width) + moved @ there.jacobian.reshape(-1, width))


def _present(weights: Tensor) -> tuple[Tensor | None, Tensor]:
    """Rows with a weight (None: all) and their weights."""
    chosen = weights.nonzero().squeeze(1)
    return (None, weights) if len(chosen) == len(weights) else (chosen, weights[chosen])
