"""A small causal language model, pre-trained on docstrings, fine-tuned with LoRA on Python source code.

Both texts are those of the standard library: nothing is downloaded. The base model (GPT-2's architecture, one token per
byte, 0.6 million weights) is trained once, in two to three minutes on one core, and kept in the user's cache directory:

    pip install 'raytt[examples]'
    python -m raytt.examples.lora         # trains the base model
    raytt rank raytt.examples.lora

Workers read it from there: on a cluster of several machines set RAYTT_CACHE to a directory that all of them share.
The texts are those of the Python that runs, so numbers differ a little between versions of Python.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor, nn
from torch.utils.data import Dataset

from raytt.errors import InputError
from raytt.examples._extras import require
from raytt.examples.docstrings import docstrings_of
from raytt.task.minibatches import minibatches, permutation
from raytt.task.target import Target
from raytt.task.task import Task

VOCABULARY = 128
"""Tokens are bytes of ASCII; others are left out."""
NUM_TOKENS = 96
"""Tokens per window of text."""
WIDTH, LAYERS, HEADS = 128, 3, 4
PRETRAINING_STEPS = 1200
PRETRAINING_BATCH = 12
PRETRAINING_LR = 3e-3
NUM_TRAIN, NUM_VALIDATION = 512, 128
"""Windows of source code."""
CACHE = "RAYTT_CACHE"
"""Environment variable: a directory for the base model in the place of the user's own cache."""
SOURCES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "unittest", "urllib", "xml")
"""Packages whose source is read."""


class Windows(Dataset[dict[str, Tensor]]):
    """Some windows of `NUM_TOKENS` bytes of a text, chosen at random once.

    Args:
        text: Bytes of ASCII.
        start: Number of the first window in the random order.
        count: How many.
    """

    def __init__(self, text: bytes, start: int, count: int) -> None:
        self._text = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        places = len(text) // NUM_TOKENS
        if places < start + count:
            raise InputError(
                f"The standard library has {places} windows of {NUM_TOKENS} bytes, but this example needs "
                f"{start + count}.",
                "Use a Python that has the source of its standard library.",
            )
        self._places = permutation(places, "raytt lora")[start : start + count]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        first = int(self._places[position]) * NUM_TOKENS
        return {"input_ids": self._text[first : first + NUM_TOKENS].to(torch.int64)}


def base_model() -> nn.Module:
    """GPT-2's architecture without dropout and without trained weights; the same on every call."""
    transformers = require("transformers")
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=NUM_TOKENS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        loss_type="ForCausalLMLoss",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = transformers.GPT2LMHeadModel(config)
    return network


def build_model(
    lora_rank: int = 8, lora_alpha: int = 16, lora_targets: Sequence[str] = ("c_attn", "c_fc", "c_proj")
) -> nn.Module:
    """The pre-trained base model with fresh adapters; the same on every call.

    Its arguments may be hyperparameters of the search space: ``"lora_rank": tune.choice([2, 8, 32])``. Candidates of
    each rank then follow a reference run of their own.

    Args:
        lora_rank: Of the adapters.
        lora_alpha: Their outputs are multiplied with ``lora_alpha / lora_rank``.
        lora_targets: Names of the linear layers that get one; as it is, all.

    Raises:
        InputError: If the base model has not been trained yet; names the command.
    """
    peft, safetensors = require("peft"), require("safetensors.torch")
    file = weights_file()
    if not file.is_file():
        raise InputError(
            f"The base model of this example is not there yet ({file}).",
            "Train it once, in about three minutes: python -m raytt.examples.lora",
        )
    network = base_model()
    network.load_state_dict(safetensors.load_file(file), strict=False)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora_rank,
        lora_alpha=lora_alpha,
        lora_dropout=0.05,
        target_modules=list(lora_targets),
        fan_in_fan_out=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapted: nn.Module = peft.get_peft_model(network, settings)
    return adapted


def batch_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean loss over all tokens but the first, as transformers takes it."""
    loss: Tensor = model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
    return loss


def train_data() -> Windows:
    """`NUM_TRAIN` windows of source code."""
    return Windows(source_text(), 0, NUM_TRAIN)


def validation_data() -> Windows:
    """`NUM_VALIDATION` further windows."""
    return Windows(source_text(), NUM_TRAIN, NUM_VALIDATION)


@functools.cache
def source_text() -> bytes:
    """The source of `SOURCES`, file after file."""
    return b"\n".join(_ascii(file.read_bytes()) for file in _files())


@functools.cache
def docstring_text() -> bytes:
    """All docstrings of `SOURCES` and of the library's own modules, what the base model learns from."""
    own = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    # Without line breaks and indentation, so that source code is another kind of text: the loss then falls by far more
    # than the noise of minibatches.
    found = (" ".join(text.split()) for file in (*_files(), *own) for text in docstrings_of(file))
    return b"\n".join(_ascii(text.encode()) for text in dict.fromkeys(found))


def _files() -> Iterator[Path]:
    for package in SOURCES:
        root = Path(sysconfig.get_path("stdlib")) / package
        yield from (file for file in sorted(root.rglob("*.py")) if not {"test", "tests"} & set(file.parts))


def _ascii(text: bytes) -> bytes:
    return text.decode(errors="ignore").encode("ascii", errors="ignore")


def weights_file() -> Path:
    """Where the base model is kept: its name says what it was made from."""
    facts = [VOCABULARY, NUM_TOKENS, WIDTH, LAYERS, HEADS, PRETRAINING_STEPS, PRETRAINING_BATCH, PRETRAINING_LR]
    digest = hashlib.sha256(repr(facts).encode() + docstring_text()).hexdigest()[:12]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(home) / "raytt") / f"lora-base-{digest}.safetensors"


def pretrain(steps: int, *, said: Any = None) -> tuple[nn.Module, list[float]]:
    """Train the base model on docstrings with AdamW, one cycle of the learning rate.

    Args:
        steps: Optimizer steps.
        said: Called as ``said(step, loss)`` now and then; None: never.

    Returns:
        The network, and the loss of each minibatch, nats per byte.
    """
    text = docstring_text()
    windows = Windows(text, 0, len(text) // NUM_TOKENS)
    network = base_model().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=PRETRAINING_LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PRETRAINING_LR, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for step, rows in enumerate(minibatches(len(windows), PRETRAINING_BATCH, steps, 0)):
        loss = batch_loss(network, {"input_ids": _stack(windows, rows.tolist())})
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if said is not None and (step % 50 == 0 or step + 1 == steps):
            said(step, losses[-1])
    return network, losses


def _stack(windows: Windows, rows: Sequence[int]) -> Tensor:
    return torch.stack([windows[row]["input_ids"] for row in rows])


def main() -> None:
    """Train the base model and keep it, unless it is there."""
    file = weights_file()
    if file.is_file():
        sys.stdout.write(f"The base model is there: {file}\n")
        return
    begin = time.perf_counter()

    def said(step: int, loss: float) -> None:
        sys.stdout.write(f"step {step:4d}  loss {loss:.3f}  {time.perf_counter() - begin:4.0f} s\n")
        sys.stdout.flush()

    network, _ = pretrain(PRETRAINING_STEPS, said=said)
    # The head shares its weights with the embedding.
    state = {name: t.contiguous() for name, t in network.state_dict().items() if name != "lm_head.weight"}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    require("safetensors.torch").save_file(state, partial)
    partial.replace(file)
    sys.stdout.write(f"Kept in {file}\n")


task = Task(
    name="lora",
    model=build_model,
    data=train_data,
    validation=validation_data,
    batch_loss=batch_loss,
    mode="train",
)
# On held-out text, as language models are judged. The loss of single minibatches has a noise of 6 % and falls by 5 %
# while steps double: where it meets a level, one run tells to no better than 15 to 19 % (docs/examples.md).
target = Target(kind="val_loss_ratio", value=0.5)
search_space = {
    "optimizer": "adamw",
    # Adapters want about ten times the learning rate of all weights.
    "lr": tune.loguniform(2e-4, 2e-2),
    "batch_size": tune.choice([8, 16, 32]),
    "schedule": tune.choice(["constant", "cosine", "linear"]),
    "warmup_ratio": tune.choice([None, 0.1]),
    "max_epochs": 8,
}

if __name__ == "__main__":
    main()
