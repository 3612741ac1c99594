"""A small network with adapters of a rank that is an argument of its factory, and a head that trains with them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

import raytt

NUM_SAMPLES, FEATURES, WIDTH, CLASSES = 256, 12, 48, 4


def adapted(lora_rank: int = 4, lora_alpha: int = 16) -> nn.Module:
    """Two frozen layers of random features with adapters, and a head; the same on every call."""
    import peft

    settings = peft.LoraConfig(
        r=lora_rank, lora_alpha=lora_alpha, target_modules=["first", "second"], modules_to_save=["head"]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            ("first", nn.Linear(FEATURES, WIDTH)),
            ("bend", nn.Tanh()),
            ("second", nn.Linear(WIDTH, WIDTH)),
            ("bend_again", nn.Tanh()),
            ("head", nn.Linear(WIDTH, CLASSES)),
        ]
        network: nn.Module = peft.get_peft_model(nn.Sequential(OrderedDict(layers)), settings)
    return network


def data() -> tuple[Tensor, Tensor]:
    """Points, and which of four functions of them, linear but for a bend, is the largest."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(NUM_SAMPLES, FEATURES, generator=generator)
    forms = torch.randn(FEATURES, CLASSES, generator=generator)
    return x, (torch.relu(x) @ forms).argmax(dim=1)


TASK = raytt.Task(name="adapted", model=adapted, data=data, mode="train")
