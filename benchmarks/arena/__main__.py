"""Ways of choosing a configuration at equal cost: ``python -m benchmarks.arena --data FOLDER``.

The folder holds ``curves.parquet`` (a row a run: dataset, run, accuracy and seconds as lists, one entry an epoch) and
``configs.parquet`` (index run, numeric columns, categories one-hot as ``cat:name:value``). Without a folder raytt's own
recorded runs are used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import table, write

from .contest import Contest, from_folder, from_own_record
from .measures import Worth, worth
from .purse import Purse, Spent
from .rivals import RIVALS, Rival

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Of the cost of training all, at which rankings are compared."""
GRID = tuple(sorted({*SHARES, *(float(x) for x in np.round(np.geomspace(0.005, 0.2, 26), 4))}))
"""Where regret is looked at for the cost to come near the best."""
NEAR_SHARE, NEAR_POINTS = 0.01, 1.0
"""Regrets that count as near: of the best metric, in points."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One rival on one contest with one seed."""

    contest: str
    rival: str
    seed: int
    worths: tuple[Worth, ...]
    """At each of `GRID`."""
    computing: float
    """Seconds of the rival's own."""

    def at(self, share: float) -> Worth:
        """At one of the shares."""
        return self.worths[GRID.index(share)]

    def cost_to(self, near: Sequence[bool]) -> float:
        """The first share of `GRID` from which on the regret of the first stays near; infinite where it does not."""
        far = [k for k, one in enumerate(near) if not one]
        first = far[-1] + 1 if far else 0
        return GRID[first] if first < len(GRID) else np.inf


def play(contest: Contest, name: str, rival: Rival, seed: int) -> Result:
    """Let a rival spend the largest share."""
    purse = Purse(contest, GRID)
    with contextlib.suppress(Spent):
        rival(contest, purse, seed)
    return Result(
        contest=contest.name,
        rival=name,
        seed=seed,
        worths=tuple(worth(scores, contest.final) for scores in purse.rankings),
        computing=purse.computing,
    )


def summary(results: Sequence[Result]) -> str:
    """The side-by-side table: means over contests and seeds."""
    rows = []
    for name, own in _by_rival(results).items():
        row: list[Any] = [name]
        for share in SHARES:
            found = [r.at(share) for r in own]
            row.append(
                f"{_mean([w.spearman for w in found]):.2f} · {_mean([w.first for w in found]):.1f} · "
                f"{_mean([w.five for w in found]):.1f}"
            )
        for near in (
            [r.cost_to([w.first_share <= NEAR_SHARE for w in r.worths]) for r in own],
            [r.cost_to([w.first <= NEAR_POINTS for w in r.worths]) for r in own],
        ):
            middle = float(np.median(near))
            row.append("> 20 %" if np.isinf(middle) else f"{100 * middle:.1f} %")
        row.append(f"{_mean([r.computing for r in own]):.1f}")
        rows.append(row)
    header = ["rival", *(f"{100 * s:g} %" for s in SHARES), "to 1 % of the best", "to 1 point", "own s"]
    return table(header, rows)


def firsts(results: Sequence[Result]) -> str:
    """On how many contests raytt's mean over seeds is the best of all, ties included."""
    rivals = _by_rival(results)
    contests = list(dict.fromkeys(r.contest for r in results))
    own = next(iter(RIVALS))
    rows = []
    for label, measure, sign in (
        ("Spearman", _spearman, 1.0),
        ("regret of the first", _first, -1.0),
        ("regret of the best of five", _five, -1.0),
    ):
        row: list[Any] = [label]
        for share in SHARES:
            won = 0
            for contest in contests:
                means = {
                    name: sign * _mean([measure(r.at(share)) for r in found if r.contest == contest])
                    for name, found in rivals.items()
                }
                won += means[own] >= max(means.values()) - 1e-9
            row.append(f"{won} of {len(contests)}")
        rows.append(row)
    return table(["raytt first by", *(f"{100 * s:g} %" for s in SHARES)], rows)


def by_contest(results: Sequence[Result], share: float) -> str:
    """Spearman · regret of the first, of each rival on each contest."""
    rivals = _by_rival(results)
    rows = []
    for contest in dict.fromkeys(r.contest for r in results):
        row: list[Any] = [contest]
        for found in rivals.values():
            own = [r.at(share) for r in found if r.contest == contest]
            row.append(f"{_mean([w.spearman for w in own]):.2f} · {_mean([w.first for w in own]):.1f}")
        rows.append(row)
    return table(["data set", *rivals], rows)


def _spearman(w: Worth) -> float:
    return w.spearman


def _first(w: Worth) -> float:
    return w.first


def _five(w: Worth) -> float:
    return w.five


def _by_rival(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        found[result.rival].append(result)
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def figures(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Plain data, for a file."""
    return [
        {
            "contest": r.contest,
            "rival": r.rival,
            "seed": r.seed,
            "computing": round(r.computing, 2),
            **{
                f"{100 * s:g} %": [round(x, 4) for x in (r.at(s).spearman, r.at(s).first, r.at(s).five)] for s in SHARES
            },
        }
        for r in results
    ]


def main() -> None:
    """Play, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with curves.parquet and configs.parquet")
    parser.add_argument("--whole", action="store_true", help="only runs that took all epochs")
    parser.add_argument("--datasets", help="names, commas between; left out: all")
    parser.add_argument("--rivals", default=";".join(RIVALS), help="names, semicolons between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", help="also write all figures there")
    parser.add_argument("--write", metavar="NAME", help="write the dated report of that name")
    arguments = parser.parse_args()
    logging.getLogger("ray").setLevel(logging.ERROR)
    contests = from_folder(arguments.data, whole=arguments.whole) if arguments.data else from_own_record()
    if arguments.datasets:
        contests = [c for c in contests if c.name in arguments.datasets.split(",")]
    names = arguments.rivals.split(";")
    results = []
    for contest in contests:
        for name in names:
            began = time.perf_counter()
            seeds = range(arguments.seeds)
            results += [play(contest, name, RIVALS[name], seed) for seed in seeds]
            taken = (time.perf_counter() - began) / arguments.seeds
            print(f"{contest.name:10s} {len(contest.final):4d} runs  {name:20s} {taken:.1f} s a seed", flush=True)
    body = report(contests, results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures(results), indent=1))
    if arguments.write:
        where = [" --data FOLDER" if arguments.data else "", " --whole" if arguments.whole else ""]
        where += [f" --datasets {arguments.datasets}" if arguments.datasets else "", f" --seeds {arguments.seeds}"]
        where.append(f" --rivals {arguments.rivals!r}" if len(names) < len(RIVALS) else "")
        write(arguments.write, f"python -m benchmarks.arena{''.join(where)}", body)
    else:
        print(body)


def report(contests: Sequence[Contest], results: Sequence[Result]) -> str:
    """All tables."""
    runs = sum(len(c.final) for c in contests)
    parts = [
        f"{runs} runs of {len(contests)} data sets. Cells: Spearman correlation with the true final metric · regret of "
        "the first in points · regret of the best of the first five, means over data sets and seeds, at shares of the "
        "cost of training all. Then the median cost from which on the first stays within 1 % of the best, and within "
        "1 point; and seconds that a rival itself computes, which are paid as training is.",
        summary(results),
        firsts(results),
        *(
            f"Spearman · regret of the first by data set, at {100 * share:g} %:\n\n{by_contest(results, share)}"
            for share in SHARES[1:4]
        ),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
