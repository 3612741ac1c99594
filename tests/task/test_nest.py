"""Nests of tensors are rebuilt with their classes; names of leaves do not depend on the order of keys."""

from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from raytt.task.nest import leaves, map_tensors, tensors

Pair = namedtuple("Pair", ["left", "right"])
ONE, TWO = torch.ones(2), torch.zeros(3)


@dataclass(frozen=True)
class Sample:
    ids: Tensor
    text: str


class Encoding(UserDict[str, Any]):
    """Like transformers' BatchEncoding: a mapping that is no dict, with its fields as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            raise AttributeError(name)
        return self.data[name]


@pytest.mark.parametrize(
    "nest",
    [ONE, (ONE, TWO), [ONE, [TWO, "text"]], {"a": ONE, "b": {"c": TWO}}, Pair(ONE, 3), Sample(ONE, "text"), None],
    ids=lambda nest: type(nest).__name__,
)
def test_the_form_stays(nest: Any) -> None:
    found = map_tensors(lambda tensor: tensor + 1, nest)
    assert type(found) is type(nest)
    assert [name for name, _ in leaves(found)] == [name for name, _ in leaves(nest)]
    for (_, before), (_, after) in zip(leaves(nest), leaves(found), strict=True):
        assert torch.equal(after, before + 1) if isinstance(before, Tensor) else after == before
    assert ONE.tolist() == [1.0, 1.0]


def test_mappings_that_are_no_dictionaries() -> None:
    batch = Encoding({"ids": ONE})
    found = map_tensors(lambda tensor: 2 * tensor, batch)
    assert isinstance(found, Encoding)
    assert found.ids.tolist() == [2.0, 2.0]
    assert batch.ids.tolist() == [1.0, 1.0]
    assert map_tensors(lambda tensor: 2 * tensor, MappingProxyType({"ids": ONE}))["ids"].tolist() == [2.0, 2.0]


def test_names_are_paths_in_alphabetical_order() -> None:
    nest = {"b": [ONE, "text"], "a": Sample(TWO, "more")}
    assert [name for name, _ in leaves(nest)] == ["a.ids", "a.text", "b.0", "b.1"]
    assert [name for name, _ in tensors(nest, "batch")] == ["batch.a.ids", "batch.b.0"]
