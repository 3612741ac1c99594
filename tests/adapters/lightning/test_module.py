from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from ray import cloudpickle
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import raytt
from raytt.rates.reference import train_as_given
from raytt.store.fingerprint import task_facts
from raytt.task.minibatches import minibatches

pytestmark = [
    # Of Lightning's own data loading and of torch under it.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec.*"),
]

SAMPLES, BATCH, STEPS, SEED = 20, 5, 50, 2


class Classifier(lightning.LightningModule):
    """Batch norm, logs, a schedule over the budget."""

    def __init__(self, optimizer: str = "adamw", schedule: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self.net(inputs), labels, label_smoothing=0.1)
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"lr": self.trainer.max_steps, "epoch": self.current_epoch})
        return {"loss": loss}

    def configure_optimizers(self) -> Any:
        built = {
            "adamw": lambda: torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1),
            "sgd": lambda: torch.optim.SGD(self.net[3].parameters(), lr=0.1, momentum=0.9, nesterov=True),
        }[self.hparams["optimizer"]]()
        if self.hparams["schedule"] == "cosine":
            steps = self.trainer.estimated_stepping_batches
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(built, int(steps), eta_min=1e-3)
            return {"optimizer": built, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        if self.hparams["schedule"] == "epochs":
            return [built], [torch.optim.lr_scheduler.StepLR(built, 3, gamma=0.3)]
        return built


class Data(lightning.LightningDataModule):
    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(SAMPLES, 6, generator=generator)
        self.samples = TensorDataset(inputs, inputs[:, :3].argmax(dim=1))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, batch_size=BATCH, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.samples[:8]), batch_size=BATCH)


class InOrder(torch.utils.data.Sampler[int]):
    """Each epoch of samples in the order of raytt's stream."""

    def __init__(self) -> None:
        self._epoch = 0

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Any:
        rows = minibatches(SAMPLES, SAMPLES, 1, SEED, start=self._epoch)[0]
        self._epoch += 1
        return iter(rows.tolist())


def _trainer(folder: Path, **changes: Any) -> lightning.Trainer:
    return lightning.Trainer(
        **{
            "max_steps": STEPS,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            **changes,
        }
    )


def _module(**settings: Any) -> Classifier:
    torch.manual_seed(0)
    return Classifier(**settings)


def _data() -> Data:
    data = Data()
    data.setup("fit")
    return data


@pytest.mark.parametrize(
    ("settings", "changes", "schedule"),
    [
        ({}, {}, "constant"),
        ({"schedule": "cosine"}, {"gradient_clip_val": 0.2}, "cosine"),
        ({"schedule": "epochs"}, {}, "step"),
        ({"optimizer": "sgd"}, {"max_steps": -1, "max_epochs": 13}, "constant"),
        ({}, {"precision": "bf16-mixed"}, "constant"),
        ({"schedule": "cosine"}, {"max_steps": -1, "max_epochs": 13, "accumulate_grad_batches": 2}, "cosine"),
    ],
)
def test_weights_after_50_steps_are_those_of_lightnings_trainer(
    settings: dict[str, Any], changes: dict[str, Any], schedule: str, tmp_path: Path
) -> None:
    trainer = _trainer(tmp_path, **changes)
    module = _module(**settings)
    adapted = raytt.from_lightning(module, Data(), trainer=trainer)
    assert (adapted.candidate.schedule.name, adapted.candidate.batch_size) == (schedule, BATCH)
    assert adapted.notes == ()
    task = cloudpickle.loads(cloudpickle.dumps(adapted.task))
    steps = adapted.candidate.budget(num_samples=SAMPLES, default_epochs=1)
    accumulated = changes.get("accumulate_grad_batches", 1)
    assert steps == (STEPS if "max_epochs" not in changes else 13 * SAMPLES // BATCH // accumulated)
    assert adapted.candidate.accumulation_steps == accumulated
    log = train_as_given(task, adapted.candidate, seed=SEED, steps=steps, stop_ratio=1e-9, num_points=1)
    ours = log.points[-1].state
    trainer.fit(module, DataLoader(_data().samples, batch_size=BATCH, sampler=InOrder()))
    assert trainer.global_step == steps
    theirs, first = module.state_dict(), adapted.task.model().state_dict()
    assert list(ours) == list(theirs)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5
    assert float((theirs["net.3.weight"] - first["net.3.weight"]).abs().max()) > 1e-2
    assert bool((theirs["net.0.weight"] == first["net.0.weight"]).all()) is (settings.get("optimizer") == "sgd")


def test_data_and_validation_are_taken(tmp_path: Path) -> None:
    loaders = (_data().train_dataloader(), _data().val_dataloader())
    for data in (Data(), loaders, list(loaders)):
        adapted = raytt.from_lightning(_module(), data, name="named")
        assert adapted.task.name == "named"
        assert (len(adapted.task.data), len(adapted.task.validation)) == (SAMPLES, 8)
    assert raytt.from_lightning(_module(), loaders[0]).task.validation is None
    assert raytt.from_lightning(_module(), loaders[0]).candidate.max_steps is None


def test_what_the_loss_depends_on_is_noticed() -> None:
    found = [
        task_facts(raytt.from_lightning(module, Data()).task)["batch_loss"]
        for module in (_module(), _module(), _module(optimizer="sgd"), Nosy())
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_module_is_left_as_it_was_and_logs_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    module = _module()
    adapted = raytt.from_lightning(module, Data())
    train_as_given(adapted.task, adapted.candidate, seed=0, steps=2)
    assert module._trainer is None
    assert "log" not in vars(module)
    assert not [warning for warning in recwarn if "log" in str(warning.message)]


def test_a_smaller_last_minibatch_and_a_cosine_by_epochs_are_told(tmp_path: Path) -> None:
    class ByEpochs(Classifier):
        def configure_optimizers(self) -> Any:
            built = torch.optim.AdamW(self.parameters(), lr=1e-2)
            return [built], [torch.optim.lr_scheduler.CosineAnnealingLR(built, 40)]

    torch.manual_seed(0)
    trainer = _trainer(tmp_path, max_steps=-1, max_epochs=40)
    loader = DataLoader(_data().samples, batch_size=6)
    adapted = raytt.from_lightning(ByEpochs(), loader, trainer=trainer)
    assert adapted.candidate.schedule.name == "cosine"
    assert ["smaller minibatch" in note or "% of the peak" in note for note in adapted.notes] == [True, True]


class Two(Classifier):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.net[0].parameters()), torch.optim.SGD(self.net[3].parameters())]


class Plateau(Classifier):
    def configure_optimizers(self) -> Any:
        built = torch.optim.SGD(self.parameters())
        return {"optimizer": built, "lr_scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(built)}


class Nosy(Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.trainer.fit_loop.restarting


class Silent(Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"accuracy": 1.0}


def test_refuses_what_is_not_taken_over(tmp_path: Path) -> None:
    def refused(module: Any, match: str, data: Any = None, **changes: Any) -> None:
        trainer = _trainer(tmp_path, **changes) if changes else None
        with pytest.raises(raytt.InputError, match=match):
            raytt.from_lightning(module, data or Data(), trainer=trainer)

    refused(nn.Linear(1, 1), "got a Linear")
    refused(Two(), "gives 2 optimizers")
    refused(Plateau(), "ReduceLROnPlateau")
    refused(_module(schedule="epochs"), "needs the budget")
    refused(_module(schedule="cosine"), "estimated_stepping_batches")
    refused(_module(), "clipping by value", gradient_clip_val=0.1, gradient_clip_algorithm="value")
    refused(_module(), "precision='bf16-true'", precision="bf16-true")
    refused(_module(), "is a list, not a DataLoader", data=[[1, 2]])
    refused(_module(), "no batch_size", data=DataLoader(_data().samples, batch_size=None))
    manual = _module()
    manual.automatic_optimization = False
    refused(manual, "manual optimization")
    for kind, match in ((Nosy, "self.trainer.fit_loop"), (Silent, "without a loss")):
        adapted = raytt.from_lightning(kind(), Data())
        with pytest.raises(raytt.InputError, match=match):
            train_as_given(adapted.task, adapted.candidate, seed=0, steps=1)
