"""States as bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raytt.training.state import Entry, pack, unpack


def test_a_state_comes_back_bit_for_bit() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(2, 1).to(torch.float64))
    state = network.state_dict() | {"half": torch.arange(3).to(torch.bfloat16), "none": torch.empty(0, 4)}
    data, entries = pack(state)
    data.setflags(write=False)
    back = unpack(data, [Entry.from_json(entry.to_json()) for entry in entries])
    assert list(back) == list(state)
    for name, tensor in state.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(back[name], tensor)


def test_bytes_that_do_not_fit_are_refused() -> None:
    data, entries = pack({"weight": torch.ones(3)})
    with pytest.raises(ValueError, match="16 bytes for a state of 12"):
        unpack(np.concatenate([data, data[:4]]), entries)
