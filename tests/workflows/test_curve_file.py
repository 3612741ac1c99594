from __future__ import annotations

import json
from pathlib import Path

import pytest

from raytt.errors import InputError
from raytt.workflows.curve_file import read_curves

CSV = """run,lr,optimizer,nesterov,epoch,accuracy,loss,seconds
b,0.1,sgd,true,2,0.6,1.0,3
b,0.1,sgd,true,1,0.5,2.0,5
a,0.01,adamw,,1,0.4,3.0,
c,1,sgd,false,,,,
d,10,sgd,false,1,0.3,4.0,1
d,10,sgd,false,2,nan,nan,1
"""


def test_a_row_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(CSV)
    found = read_curves(tmp_path / "runs.csv", "accuracy")
    assert (found.clock, found.grid) == ("epoch", (1.0, 2.0))
    assert found.names == ("b", "a", "c", "d")
    # The loss changes within runs and is no hyperparameter.
    assert found.configs == (
        {"lr": 0.1, "optimizer": "sgd", "nesterov": True},
        {"lr": 0.01, "optimizer": "adamw", "nesterov": None},
        {"lr": 1.0, "optimizer": "sgd", "nesterov": False},
        {"lr": 10.0, "optimizer": "sgd", "nesterov": False},
    )
    assert found.curves == ((0.5, 0.6), (0.4,), (), (0.3,))
    assert found.ended == (False, False, False, True)
    assert found.seconds == (4.0, None, None, 1.0)


def test_json_lines_without_names_of_runs(tmp_path: Path) -> None:
    rows = [
        {"lr": 0.1, "step": 100, "val_loss": 2.0},
        {"lr": 0.2, "step": 100, "val_loss": 1.5},
        {"lr": 0.1, "step": 200, "val_loss": 1.0},
        {"lr": 0.3},
    ]
    (tmp_path / "runs.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    found = read_curves(tmp_path / "runs.jsonl", "val_loss")
    assert (found.clock, found.grid, found.names) == ("step", (100.0, 200.0), (None,) * 3)
    assert found.configs == ({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})
    assert found.curves == ((2.0, 1.0), (1.5,), ())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", CSV.replace("accuracy", "acc"), "no column 'accuracy'.*Use one of: run, lr"),
        ("a.csv", "lr,accuracy\n1,2\n", "no column that says when.*epoch or step"),
        ("a.csv", "lr,epoch,accuracy\n1,1,0.5\n1,1,0.6\n", "run with lr 1.0 has two metrics at epoch 1"),
        ("a.csv", "lr,epoch,accuracy\n1,1,0.5\n1,2,0.6\n2,2,0.6\n", "run with lr 2.0 has none at epoch 1"),
        ("a.csv", "lr,epoch,accuracy\n1,1,high\n", "column 'accuracy' holds 'high'"),
        ("a.jsonl", '{"lr": 1\n', "Line 1 .* is no JSON"),
        ("a.jsonl", '{"lr": [1], "epoch": 1, "accuracy": 1}\n', "Line 1 .* no object of plain values"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_curves(tmp_path / name, "accuracy")
    with pytest.raises(InputError, match="Cannot read"):
        read_curves(tmp_path / "none.csv", "accuracy")
