"""The segmentation example: ink on real photographs, a head of a quarter of the size, soft edges ignored."""

from __future__ import annotations

import pytest
import torch

from raytt.examples import segmentation
from raytt.training.datasets import open_dataset
from raytt.training.model import prepare_for_training, weights_fingerprint
from raytt.training.objective import Objective

pytest.importorskip("sklearn")
pytest.importorskip("efficientnet_lite_pytorch")


def test_pictures_are_photographs_with_ink_where_the_labels_say() -> None:
    images, labels = segmentation._pictures(0, 12)
    size = segmentation.IMAGE_SIZE
    assert images.shape == (12, 3, size, size)
    assert labels.shape == (12, size, size)
    assert set(labels.unique().tolist()) == {segmentation.PAPER, segmentation.INK, segmentation.IGNORED}
    again, _ = segmentation._pictures(3, 1)
    assert torch.equal(again[0], images[3])
    # Ink has one colour in each picture, but for what shines through; a photograph has many.
    spreads = []
    for image, label in zip(images, labels, strict=True):
        ink, paper = (image[:, label == kind] for kind in (segmentation.INK, segmentation.PAPER))
        assert 0.005 < ink.shape[1] / size**2 < 0.3
        spreads.append([float(part.std(dim=1).mean()) for part in (ink, paper)])
    assert sum(ink for ink, _ in spreads) < 0.8 * sum(paper for _, paper in spreads)


def test_logits_of_a_quarter_of_the_size_are_brought_to_that_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "NUM_TRAIN", 3)
    model = prepare_for_training(segmentation.task)
    assert weights_fingerprint(model.module) == weights_fingerprint(segmentation.build_model())
    objective, dataset = Objective(segmentation.task), open_dataset(segmentation.task.data, segmentation.task)
    batch = objective.read(dataset, range(3))
    images, labels = batch
    module = model.module.eval()
    with torch.no_grad():
        small = module(images)
        found = objective.value(model, batch)
        logits = segmentation.forward(module, images)
    assert small.shape == (3, 2, 16, 16)
    assert logits.shape == (3, 2, 64, 64)
    counted = labels != segmentation.IGNORED
    chances = torch.softmax(logits, dim=1).gather(1, torch.where(counted, labels, 0).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(found, -chances[counted].log().mean(), rtol=1e-5, atol=1e-6)


def test_every_part_of_the_network_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "NUM_TRAIN", 3)
    model = prepare_for_training(segmentation.task)
    objective, dataset = Objective(segmentation.task), open_dataset(segmentation.task.data, segmentation.task)
    objective.value(model, objective.read(dataset, range(3))).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.trainable.values())
