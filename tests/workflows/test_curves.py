from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.forecast.curves.rank_curves import rank_curves
from raytt.workflows.curves import rank_curve_file

LRS = (0.01, 0.02, 0.04, 0.08)
CURVES = ((2.0, 1.8), (1.9, 1.5), (1.8,), ())


def _file(folder: Path, *more: str, steps: tuple[int, ...] = (10, 20)) -> Path:
    rows = [
        f"{lr},{at},{y}" for lr, curve in zip(LRS, CURVES, strict=True) for at, y in zip(steps, curve, strict=False)
    ]
    file = folder / "runs.csv"
    file.write_text("\n".join(["lr,step,loss", *rows, f"{LRS[3]},,", *more]))
    return file


@pytest.mark.parametrize("maximize", [False, True])
def test_the_ranking_is_that_of_rank_curves(maximize: bool, tmp_path: Path) -> None:
    found = rank_curve_file(_file(tmp_path), metric="loss", maximize=maximize, budget=45)
    progress = np.array([10, 20, 30, 40, 45]) / 45
    expected = rank_curves(
        [{"lr": lr} for lr in LRS], CURVES, evaluations=5, progress=progress, mode="max" if maximize else "min"
    )
    assert (found.evaluations, found.budget, found.clock) == (5, 45.0, "step")
    order = [int(i) for i in expected.order]
    assert [row.config["lr"] for row in found.rows] == [LRS[i] for i in order]
    assert [row.final for row in found.rows] == [expected.final[i] for i in order]
    assert [order[place] for place in found.next] == expected.next.tolist()
    assert [row.last for row in found.rows] == [CURVES[i][-1] if CURVES[i] else None for i in order]


def test_without_a_budget_runs_end_at_the_last_step(tmp_path: Path) -> None:
    found = rank_curve_file(_file(tmp_path), metric="loss")
    assert (found.evaluations, found.budget) == (2, 20.0)
    with pytest.raises(InputError, match=r"--budget is 15, before the last step in the file, 20"):
        rank_curve_file(_file(tmp_path), metric="loss", budget=15)


def test_a_run_that_ended_before_it_had_a_metric_is_last_and_not_gone_on_with(tmp_path: Path) -> None:
    found = rank_curve_file(_file(tmp_path, "0.16,10,nan"), metric="loss", budget=40)
    last = found.rows[-1]
    assert (last.config, last.evaluations, last.last, last.final, last.failing) == ({"lr": 0.16}, 0, None, None, 1.0)
    assert len(found.rows) - 1 not in found.next
    # Its neighbour, not tried yet, may fail, too.
    assert next(row for row in found.rows if row.config == {"lr": 0.08}).failing > 0.05


def test_steps_before_training_and_files_without_a_metric_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The first step is 0"):
        rank_curve_file(_file(tmp_path, steps=(0, 10)), metric="loss")
    (tmp_path / "none.csv").write_text("lr,step,loss\n0.1,,\n")
    with pytest.raises(InputError, match=r"No candidate .* has a loss yet"):
        rank_curve_file(tmp_path / "none.csv", metric="loss")
