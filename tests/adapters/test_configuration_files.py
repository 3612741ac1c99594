from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import HfArgumentParser, Trainer, TrainingArguments
from typer.testing import CliRunner

import raytt
from raytt.adapters.configuration_files import settings, write
from raytt.cli.main import app
from tests.support.fakes import EXAMPLES, example_ranking
from tests.support.run_directory import write_run


def _trainable() -> raytt.Ranking:
    """An example ranking, its first configuration with AdamW and a cosine."""
    ranking = example_ranking()
    first = ranking.entries[0]
    wanted = raytt.Candidate(
        optimizer="adamw", lr=3e-5, batch_size=16, schedule="cosine", warmup_ratio=0.1, weight_decay=0.1, max_epochs=3
    )
    entries = (replace(first, candidate=wanted), *ranking.entries[1:])
    return replace(ranking, entries=entries)


def test_llama_factory_reads_what_is_written(tmp_path: Path) -> None:
    """Its training arguments are parsed as LLaMA-Factory parses them: those of transformers, from YAML."""
    ranking = _trainable()
    write(ranking, "llama_factory", tmp_path / "best.yaml")
    given = yaml.safe_load((tmp_path / "best.yaml").read_text())
    parser = HfArgumentParser(TrainingArguments)
    (args,) = parser.parse_dict({**given, "output_dir": str(tmp_path), "use_cpu": True})
    assert (args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs) == (3e-5, 16, 3.0)
    assert (args.weight_decay, args.lr_scheduler_type, args.gradient_accumulation_steps) == (0.1, "cosine", 1)
    assert args.warmup_steps == ranking.entries[0].candidate.warmup(ranking.entries[0].budget)
    assert Trainer.get_optimizer_cls_and_kwargs(args)[0].__name__ == "AdamW"


def test_axolotl_has_the_same_values_under_its_own_names(tmp_path: Path) -> None:
    ranking = _trainable()
    write(ranking, "axolotl", tmp_path / "best.yaml")
    found = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert found == {
        "gradient_accumulation_steps": 1,
        "learning_rate": 3e-5,
        "optimizer": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.1,
        "micro_batch_size": 16,
        "max_grad_norm": 0.0,
        "lr_scheduler": "cosine",
        "warmup_steps": ranking.entries[0].candidate.warmup(ranking.entries[0].budget),
        "num_epochs": 3.0,
    }


def test_json_for_transformers_is_read_by_training_arguments(tmp_path: Path) -> None:
    ranking = _trainable()
    write(ranking, "training_arguments", tmp_path / "best.json")
    found = json.loads((tmp_path / "best.json").read_text())
    assert found == settings(ranking, "training_arguments")
    assert TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **found).learning_rate == 3e-5


def test_the_command_writes_a_configuration_of_a_run(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    files = {form: tmp_path / f"{form}.file" for form in ("training-arguments", "axolotl", "llama-factory")}
    given = [str(part) for form, file in files.items() for part in (f"--{form}", file)]
    done = CliRunner().invoke(app, ["export", str(place), *given, "--rank", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    entry = example_ranking().entries[1]
    assert yaml.safe_load(files["axolotl"].read_text())["learning_rate"] == entry.candidate.lr
    assert yaml.safe_load(files["llama-factory"].read_text())["learning_rate"] == entry.candidate.lr
    assert json.loads(files["training-arguments"].read_text())["learning_rate"] == entry.candidate.lr


def test_a_rank_that_is_not_there_is_refused() -> None:
    with pytest.raises(raytt.InputError, match="no rank 99") as refused:
        settings(example_ranking(), "axolotl", rank=99)
    assert f"from 1 to {len(EXAMPLES)}" in str(refused.value)
