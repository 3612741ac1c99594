"""Embedding tables: only the rows that were looked up are touched, the gradient is never made dense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from raytt.probe.layers.linear import Locate
from raytt.probe.layers.use import Budget, Emit, Layout, Segment, Use, parts


class EmbeddingUse(Use):
    """out[t] = W[v_t] with v ``(…)`` token numbers, W ``(V, E)``: ∂f_c/∂W[v] = Σ_{t: v_t = v} γ_c[t].

    Rows of ``padding_idx`` get no gradient, as in torch.

    Args:
        tokens: v, or v of a single sample if the result was repeated for each sample.
        out: The result, ``(…, E)``.
        table: W.
        padding_idx: Token without gradient, negative for none.
    """

    def __init__(self, tokens: Tensor, out: Tensor, table: Segment, padding_idx: int) -> None:
        super().__init__("embedding", table, None)
        self._tokens = tokens.detach()
        self._ndim = out.ndim
        self._padding = padding_idx

    def allows(self, axis: int) -> bool:
        return axis < self._ndim - 1

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(…, E) -> (n, T, E)``."""
        return layout.split(grad, num_samples).reshape(num_samples, -1, grad.shape[-1])

    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        assert self.weight is not None
        n, E = grads[0].shape[0], grads[0].shape[-1]
        tokens = self._split_tokens(layout, n).tolist()
        for outputs, part in parts(grads):
            # Padded positions carry exactly zero gradient once attention masks them: most of the loop is saved there.
            active = (part != 0).any(dim=-1).any(dim=1).tolist()
            for i in range(n):
                for t, (token, used) in enumerate(zip(tokens[i], active[i], strict=True)):
                    if used and token != self._padding:
                        start = self.weight.start + token * E
                        emit(slice(i, i + 1), outputs, self.weight.name, start, part[i : i + 1, :, t])

    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        assert self.weight is not None
        tokens = self._split_tokens(layout, num_samples)
        rows = functional.embedding(tokens, self.weight.of(weights))
        return rows.masked_fill((tokens == self._padding).unsqueeze(-1), 0.0)

    def _split_tokens(self, layout: Layout, num_samples: int) -> Tensor:
        tokens = self._tokens
        if tokens.shape[0] != self.shape[0]:
            tokens = tokens.expand(num_samples, *tokens.shape[1:])
        return layout.split(tokens, num_samples).reshape(num_samples, -1)


def embedding(
    out: Tensor,
    locate: Locate,
    weight: Tensor,
    input: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Use | None:
    """Rule for ``torch.embedding``; none with gradients scaled by token frequency, which mix samples."""
    table = locate(weight)
    if table is None or scale_grad_by_freq:
        return None
    return EmbeddingUse(input, out, table, padding_idx)
