"""What people who fine-tune bring, after public examples: each trains as a loop written by hand in plain torch does.

For each case the loop knows nothing of raytt but which samples a step takes. Its losses, five steps long, must be those
of `train_as_given`, which is what reference runs, pilots and validations are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import raytt
from raytt.rates.reference import train_as_given
from raytt.task.candidate import Candidate
from raytt.task.minibatches import minibatches

NUM, BATCH, STEPS, LR = 24, 6, 5, 1e-2
F = nn.functional


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A task, and the loss of some of its samples written by hand."""

    task: Any
    by_hand: Callable[[nn.Module, Sequence[int]], Tensor]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fixed(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A factory of the same weights on every call."""

    def factory() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build()

    return factory


X = torch.randn(NUM, 5, generator=generator(1))
IDS = torch.randint(1, 30, (NUM, 8), generator=generator(2))


class Tagger(nn.Module):
    """Scores per token, (n, tokens, scores)."""

    def __init__(self, scores: int) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, scores)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.mix(self.embed(ids))))
        return found


def causal_language_model() -> Case:
    """5: the loss over all positions; 30 tokens to choose from at each of 7 places."""
    model = fixed(lambda: Tagger(30))

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        logs = torch.log_softmax(net(IDS[rows][:, :-1]), dim=-1)
        return -logs.gather(-1, IDS[rows][:, 1:, None]).mean()

    return Case(task=raytt.Task(name="c5", model=model, data=(IDS[:, :-1], IDS[:, 1:])), by_hand=by_hand)


def tokens_with_padding() -> Case:
    """6: token classification, −100 where there is padding, which minibatches have more or less of."""
    model = fixed(lambda: Tagger(3))
    labels = (IDS % 3).masked_fill(torch.arange(8) >= torch.randint(2, 9, (NUM, 1), generator=generator(3)), -100)

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        own = labels[rows]
        logs = torch.log_softmax(net(IDS[rows]), dim=-1)
        picked = logs.gather(-1, own.clamp(min=0)[..., None])[..., 0]
        return -(picked * (own >= 0)).sum() / (own >= 0).sum()

    return Case(task=raytt.Task(name="c6", model=model, data=(IDS, labels)), by_hand=by_hand)


def labels_are_inputs_too() -> Case:
    """7: T5, whose decoder reads the labels one place later."""
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, is_encoder_decoder=True,
    )  # fmt: skip
    model = fixed(lambda: transformers.T5ForConditionalGeneration(config))
    answers = IDS.flip(1)[:, :5]

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        before = torch.cat([torch.zeros(len(rows), 1, dtype=torch.int64), answers[rows][:, :-1]], dim=1)
        logits = net(input_ids=IDS[rows], decoder_input_ids=before).logits
        return F.cross_entropy(logits.reshape(-1, 30), answers[rows].reshape(-1))

    def batch_loss(net: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        loss: Tensor = net(**batch).loss
        return loss

    data = [{"input_ids": i, "labels": a} for i, a in zip(IDS, answers, strict=True)]
    return Case(task=raytt.Task(name="c7", model=model, data=data, batch_loss=batch_loss), by_hand=by_hand)


def several_labels() -> Case:
    """8: binary cross-entropy on several labels a sample."""
    model = fixed(lambda: nn.Linear(5, 4))
    labels = (torch.rand(NUM, 4, generator=generator(4)) < 0.4).float()

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        chance = torch.sigmoid(net(X[rows]))
        return -(labels[rows] * chance.log() + (1 - labels[rows]) * (1 - chance).log()).mean()

    task = raytt.Task(name="c8", model=model, data=(X, labels), loss=nn.BCEWithLogitsLoss())
    return Case(task=task, by_hand=by_hand)


def weighted_classes() -> Case:
    """9: class weights, of which torch divides by the sum over the batch."""
    model = fixed(lambda: nn.Linear(5, 3))
    labels, weight = torch.arange(NUM) % 3, torch.tensor([0.2, 1.0, 5.0])

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        own = labels[rows]
        each = -torch.log_softmax(net(X[rows]), dim=1)[torch.arange(len(rows)), own]
        return (weight[own] * each).sum() / weight[own].sum()

    # Weights in double precision, as they come out of numpy.
    loss = nn.CrossEntropyLoss(weight=weight.double())
    return Case(task=raytt.Task(name="c9", model=model, data=(X, labels), loss=loss), by_hand=by_hand)


def smaller_outputs() -> Case:
    """11: SegFormer, whose logits have a quarter of the labels' size; 255 is ignored."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 1], mlp_ratios=[2, 2], decoder_hidden_size=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0, drop_path_rate=0.0, num_labels=3,
    )  # fmt: skip
    images = torch.randn(NUM, 3, 16, 16, generator=generator(5))
    labels = images[:, :3].argmax(dim=1)
    labels[:, :3] = 255

    class Norm(nn.Module):
        """SegFormer's logits."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = transformers.SegformerForSemanticSegmentation(config)

        def forward(self, pixels: Tensor) -> Tensor:
            logits: Tensor = self.inner(pixel_values=pixels).logits
            return logits

    def forward(net: nn.Module, pixels: Tensor) -> Tensor:
        logits = net(pixels)
        assert logits.shape[-2:] == (4, 4)
        return F.interpolate(logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False)

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        logs = torch.log_softmax(forward(net, images[rows]), dim=1)
        own, counted = labels[rows], labels[rows] != 255
        picked = logs.gather(1, own.masked_fill(~counted, 0)[:, None])[:, 0]
        return -picked[counted].mean()

    task = raytt.Task(
        name="c11", model=fixed(Norm), data=(images, labels), loss=nn.CrossEntropyLoss(ignore_index=255),
        forward=forward,
    )  # fmt: skip
    return Case(task=task, by_hand=by_hand)


def negatives_in_the_batch() -> Case:
    """12: sentence embeddings, where the other pairs of the minibatch are what a pair is told from."""
    model = fixed(lambda: nn.Linear(5, 8))
    other = X + 0.3 * torch.randn(NUM, 5, generator=generator(6))

    def batch_loss(net: nn.Module, batch: Any) -> Tensor:
        one, two = (F.normalize(net(part), dim=1) for part in batch)
        return F.cross_entropy(20.0 * one @ two.T, torch.arange(len(one)))

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        one, two = net(X[rows]), net(other[rows])
        total = X.new_zeros(())
        for i in range(len(rows)):
            alike = 20.0 * F.cosine_similarity(one[i : i + 1], two)
            total = total + torch.logsumexp(alike, dim=0) - alike[i]
        return total / len(rows)

    task = raytt.Task(name="c12", model=model, data=(X, other), batch_loss=batch_loss)
    return Case(task=task, by_hand=by_hand)


def padded_to_the_longest() -> Case:
    """16: a collator that pads to the longest of the minibatch."""
    lengths = torch.randint(2, 9, (NUM,), generator=generator(7))
    texts = [(IDS[i, : lengths[i]], i % 2) for i in range(NUM)]

    class Pooled(nn.Module):
        """The mean over words."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(30, 8, padding_idx=0), nn.Linear(8, 2)

        def forward(self, ids: Tensor) -> Tensor:
            scores: Tensor = self.head(self.embed(ids).sum(dim=1) / (ids > 0).sum(dim=1, keepdim=True))
            return scores

    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        padded = nn.utils.rnn.pad_sequence([text for text, _ in items], batch_first=True)
        return padded, torch.tensor([label for _, label in items])

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        scores = torch.cat([net(texts[i][0][None]) for i in rows])
        return F.cross_entropy(scores, torch.tensor([texts[i][1] for i in rows]))

    return Case(task=raytt.Task(name="c16", model=fixed(Pooled), data=texts, collate=collate), by_hand=by_hand)


def plain(data: Any, **options: Any) -> Case:
    """Three classes, from a form of data that gives the samples in order."""

    def by_hand(net: nn.Module, rows: Sequence[int]) -> Tensor:
        return F.cross_entropy(net(X[rows]), CLASSES[rows])

    return Case(
        task=raytt.Task(name="forms", model=fixed(lambda: nn.Linear(5, 3)), data=data, **options), by_hand=by_hand
    )


class Stream(IterableDataset[tuple[Tensor, int]]):
    """Samples one after the other."""

    def __iter__(self) -> Any:
        return ((X[i], i % 3) for i in range(NUM))


def columns() -> Any:
    """A ``datasets.Dataset``."""
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"x": X.tolist(), "y": [i % 3 for i in range(NUM)]}).with_format("torch")


class Pairs(Dataset[tuple[Tensor, Any]]):
    """Samples with labels as given."""

    def __init__(self, labels: Any) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return X[index], self._labels[index]


CLASSES = torch.arange(NUM) % 3
CASES: dict[str, Callable[[], Case]] = {
    "5 causal language model": causal_language_model,
    "6 tokens with padding": tokens_with_padding,
    "7 labels are inputs too": labels_are_inputs_too,
    "8 several labels": several_labels,
    "9 weighted classes": weighted_classes,
    "11 smaller outputs": smaller_outputs,
    "12 negatives in the batch": negatives_in_the_batch,
    "13 a stream": lambda: plain(lambda: Stream()),
    "14 columns": lambda: plain(columns, input_columns=["x"], target_column="y"),
    "15 a loader": lambda: plain(DataLoader(TensorDataset(X, CLASSES), batch_size=4, shuffle=True)),
    "16 padded to the longest": padded_to_the_longest,
    "28 labels as float64": lambda: plain((X, CLASSES.double())),
    "28 labels as int32": lambda: plain((X, CLASSES.int())),
    "28 labels one-hot": lambda: plain(Pairs(F.one_hot(CLASSES, 3).double())),
    "28 labels of numpy": lambda: plain(Pairs(CLASSES.numpy().astype(np.int16))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_trains_as_a_loop_by_hand(name: str) -> None:
    case = CASES[name]()
    candidate = Candidate(optimizer="adamw", lr=LR, batch_size=BATCH)
    found = train_as_given(case.task, candidate, seed=3, steps=STEPS)
    net = case.task.model().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.0)
    losses = []
    for rows in minibatches(NUM, BATCH, STEPS, 3):
        loss = case.by_hand(net, rows.tolist())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)
    # AdamW's first steps have the size of the learning rate wherever a gradient is more than rounding.
    assert found.losses.tolist() == pytest.approx(losses, rel=2e-4)


def test_a_weighted_sampler_is_followed() -> None:
    """10: the rare class is drawn as often as the other, with replacement, in every epoch."""
    labels = (torch.arange(NUM) % 8 == 0).long()
    weights = torch.where(labels == 1, 7.0, 1.0)
    loader = DataLoader(TensorDataset(X, labels), batch_size=4, sampler=WeightedRandomSampler(weights.tolist(), NUM))
    seen: list[int] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.extend(targets.tolist())
        return F.cross_entropy(outputs, targets)

    task = raytt.Task(name="c10", model=fixed(lambda: nn.Linear(5, 2)), data=loader, loss=loss)
    train_as_given(task, Candidate(optimizer="adamw", lr=LR, batch_size=12), seed=0, steps=60)
    # 720 draws: a standard error of 1.9 %.
    assert np.mean(seen) == pytest.approx(0.5, abs=0.06)
