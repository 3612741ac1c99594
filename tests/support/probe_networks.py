"""Small networks, one for each way in which parameters can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and inputs for it."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    """From the number of samples to a batch."""
    generic: frozenset[str] = frozenset()
    """Parameters that have to take the generic route; all others have to be fast."""


def _normal(*shape: int) -> Callable[[int], Tensor]:
    def draw(n: int) -> Tensor:
        return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    return draw


def _tokens(length: int, vocabulary: int = 11) -> Callable[[int], Tensor]:
    def draw(n: int) -> Tensor:
        return torch.randint(0, vocabulary, (n, length), generator=torch.Generator().manual_seed(1))

    return draw


class _Pooled(nn.Module):
    """A body, a nonlinearity, the mean over everything but samples and the last or second axis, and a head."""

    def __init__(self, body: nn.Module, width: int, axis: int = 1) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 3)
        self._axis = axis

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.body(x)).movedim(self._axis, 1).flatten(2)
        return self.head((x**2).mean(-1) + x[..., 0])


def _conv(dims: int, **options: Any) -> nn.Module:
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return _Pooled(kind(4, 8, **options), 8)


class _SamePadding(nn.Conv2d):
    """Pads by itself before it convolves, as EfficientNet's layers do: the module's input is not the convolution's."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


class _Frames(nn.Module):
    """Samples flattened together with frames, sample-major or frame-major, through linear, convolution and norm."""

    def __init__(self, minor: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.mix = nn.Linear(4, 5)
        self.head = nn.Linear(5, 3)
        self._minor = minor

    def forward(self, x: Tensor) -> Tensor:
        n, frames = x.shape[:2]
        flat = (x.transpose(0, 1) if self._minor else x).reshape(-1, *x.shape[2:])
        y = torch.tanh(self.norm(self.conv(flat))).mean((-1, -2))
        y = torch.tanh(self.mix(y))
        y = y.reshape(frames, n, -1).transpose(0, 1) if self._minor else y.reshape(n, frames, -1)
        return self.head((y**2).sum(1))


class _Transformer(nn.Module):
    """Token and position embeddings (the latter without a batch axis of its own), class token, encoder, head."""

    def __init__(self, batch_first: bool, length: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8, padding_idx=0)
        self.positions = nn.Embedding(length, 8)
        self.first = nn.Parameter(torch.zeros(1, 1, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)
        self.head = nn.Linear(8, 3)
        self._batch_first = batch_first

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]).unsqueeze(0))
        x = torch.cat((self.first.expand(len(ids), -1, -1), x), dim=1)
        if not self._batch_first:
            return self.head(self.encoder(x.transpose(0, 1))[0])
        return self.head(self.encoder(x)[:, 0])


class _CrossAttention(nn.Module):
    """Queries from elsewhere: the packed projection weight is cut into views inside torch."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(3, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.expand(len(x), -1, -1)
        mixed, _ = self.attention(queries, x, x, need_weights=False)
        return self.head(mixed.square().sum(1))


class _BareParameters(nn.Module):
    """Scale, shift, difference and slices of parameters by plain arithmetic, also in place."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(6))
        self.table = nn.Parameter(torch.zeros(1, 9, 6))
        self.centre = nn.Parameter(torch.zeros(5, 1))
        self.late = nn.Parameter(torch.zeros(5, 6))
        self.matrix = nn.Parameter(torch.zeros(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.scale * x + 0.5 * torch.tanh(x + self.table[:, 2:7])
        y = torch.sub(y, self.centre, alpha=2)
        y = 2 * torch.tanh(self.centre - y)
        y += self.late
        return (y**2 @ self.matrix).sum(1)


class _Tied(nn.Module):
    """The embedding table is the output matrix, and one linear layer is called three times on different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.tanh(self.mix(self.embedding(ids)))
        pooled = torch.tanh(self.mix(self.mix(x).sum(1)))
        return functional.linear(pooled, self.embedding.weight)[:, :4]


class _InPlace(nn.Module):
    """Results of layers are overwritten by the operations that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(5, 6), nn.LeakyReLU(0.3, inplace=True), nn.Linear(6, 6), nn.SiLU(inplace=True)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        out = self.head(y)
        out *= 2.0
        out += y[:, :3]
        return out.sigmoid_()


class _Conv1D(nn.Module):
    """GPT-2's linear layer, weight stored (in, out), through addmm on flattened positions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 7))
        self.bias = nn.Parameter(torch.zeros(7))
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x.reshape(-1, 5), self.weight).view(*x.shape[:-1], 7)
        return self.head(torch.tanh(y).square().sum(1))


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * grad


class _Unseen(nn.Module):
    """A weight that also goes through a custom autograd function: only a numerical check finds out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.body(x))
        return self.head(y) + _Double.apply(self.head.weight).sum() * y[:, :3]


class _Odd(nn.Module):
    """Uses that no rule covers."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU(4, init=0.3)
        self.pair = nn.Bilinear(4, 4, 5)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5))
        self.up = nn.ConvTranspose1d(5, 4, 2)
        self.power = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(x)
        y = torch.tanh(self.normed(self.pair(x, x)))
        y = self.up(y.unsqueeze(-1)).sum(-1)
        return self.head(torch.tanh(y / (2 + self.power.exp())))


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def _body(*layers: nn.Module, width: int, axis: int = 1) -> Callable[[], nn.Module]:
    return lambda: _Pooled(nn.Sequential(*layers), width, axis)


CASES: dict[str, Case] = {
    "linear": Case(
        build=lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False)), inputs=_normal(5)
    ),
    "linear over positions": Case(build=_body(nn.Linear(5, 7), width=7, axis=-1), inputs=_normal(4, 6, 5)),
    # As many positions as samples (4): a layout guessed from sizes would be ambiguous.
    "positions equal samples": Case(
        build=_body(nn.Linear(5, 7), nn.LayerNorm(7), width=7, axis=-1), inputs=_normal(4, 5)
    ),
    "conv1d": Case(build=lambda: _conv(1, kernel_size=3, stride=2, padding=1), inputs=_normal(4, 9)),
    "conv2d": Case(build=lambda: _conv(2, kernel_size=3), inputs=_normal(4, 6, 5)),
    "conv2d strided, padded, dilated": Case(
        build=lambda: _conv(2, kernel_size=(3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        inputs=_normal(4, 7, 6),
    ),
    "conv2d same": Case(build=lambda: _conv(2, kernel_size=(4, 3), padding="same"), inputs=_normal(4, 6, 5)),
    "conv2d reflected": Case(
        build=lambda: _conv(2, kernel_size=3, padding=1, padding_mode="reflect"), inputs=_normal(4, 6, 5)
    ),
    "conv2d 1×1": Case(build=lambda: _conv(2, kernel_size=1, bias=False), inputs=_normal(4, 5, 4)),
    "conv2d grouped": Case(build=lambda: _conv(2, kernel_size=3, groups=2, padding=1), inputs=_normal(4, 5, 4)),
    "conv2d depthwise": Case(build=lambda: _conv(2, kernel_size=3, groups=4, stride=2), inputs=_normal(4, 8, 7)),
    "conv3d": Case(build=lambda: _conv(3, kernel_size=2, stride=(1, 2, 1)), inputs=_normal(4, 3, 4, 3)),
    "conv that pads itself": Case(build=_body(_SamePadding(4, 8, 2), width=8), inputs=_normal(4, 5, 5)),
    "batch norm": Case(
        build=_body(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), width=6), inputs=_normal(4, 6, 5)
    ),
    "batch norm without space": Case(
        build=lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)), inputs=_normal(5)
    ),
    "layer norm": Case(build=_body(nn.Linear(5, 6), nn.LayerNorm(6), width=6, axis=-1), inputs=_normal(3, 5)),
    "layer norm over two axes": Case(
        build=_body(nn.LayerNorm((3, 5)), nn.Linear(5, 6), width=6, axis=-1), inputs=_normal(3, 5)
    ),
    "group norm": Case(build=_body(nn.Conv1d(4, 6, 2), nn.GroupNorm(3, 6), width=6), inputs=_normal(4, 7)),
    "instance norm": Case(
        build=_body(nn.InstanceNorm1d(4, affine=True), nn.Conv1d(4, 6, 2), width=6), inputs=_normal(4, 7)
    ),
    "rms norm": Case(build=_body(nn.Linear(5, 6), nn.RMSNorm(6), width=6, axis=-1), inputs=_normal(3, 5)),
    "embedding": Case(build=_body(nn.Embedding(11, 6, padding_idx=2), width=6, axis=-1), inputs=_tokens(9)),
    "transformer, batch first": Case(build=lambda: _Transformer(True), inputs=_tokens(4)),
    "transformer, sequence first": Case(build=lambda: _Transformer(False), inputs=_tokens(4)),
    "cross attention": Case(build=_CrossAttention, inputs=_normal(4, 8)),
    "frames, sample-major": Case(build=lambda: _Frames(False), inputs=_normal(3, 2, 4, 4)),
    "frames, frame-major": Case(build=lambda: _Frames(True), inputs=_normal(3, 2, 4, 4)),
    "bare parameters": Case(build=_BareParameters, inputs=_normal(5, 6)),
    "tied": Case(build=_Tied, inputs=_tokens(5)),
    "in place": Case(build=_InPlace, inputs=_normal(5)),
    "transposed weight": Case(build=_Conv1D, inputs=_normal(4, 5)),
    "unseen use": Case(build=_Unseen, inputs=_normal(5), generic=frozenset({"head.weight"})),
    "no rule": Case(
        build=_Odd,
        inputs=_normal(4),
        generic=frozenset(
            {
                "slope.weight",
                "pair.weight",
                "pair.bias",
                "normed.parametrizations.weight.original0",
                "normed.parametrizations.weight.original1",
                "up.weight",
                "up.bias",
                "power",
            }
        ),
    ),
    "recurrent": Case(
        build=_Recurrent,
        inputs=_normal(6, 4),
        generic=frozenset({"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"}),
    ),
}
