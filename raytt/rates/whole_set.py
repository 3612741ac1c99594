"""What a curve on a part of the validation data would be on more of it: the part as a control variate.

A part is evaluated at every step k of a run, the whole only at some. A loss on 512 samples is off from that on all of
them by several per cent, and by nearly the same at all steps: they are the same samples. So

    ln Q(k) = ln Q_part(k) + r(k),        r(k) = ln Q_whole(k) − ln Q_part(k) where both are known,

between such steps linear in ln(1 + k), outside as at the nearest. Accuracies and losses that are not all positive
without logarithms, accuracies kept in [0, 1].

Where a loss falls slowly, a few per cent of it are many per cent of the steps: on 12,000 images and 2,000 validation
images a run met a loss of 0.2 after 342 steps on one part of 512, and a run of the same configuration with another seed
not within 500 on another part (``benchmarks/case``, 2026-11-29; the seed's own share in that was not taken apart).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def on_the_whole(
    steps: Sequence[int], part: Mapping[str, Floats], whole: Mapping[int, Mapping[str, float]]
) -> dict[str, Floats]:
    """The curves on the whole, known or estimated.

    Args:
        steps: Updates done at each evaluation, increasing, R of them.
        part: Curves on the part by name, shape (R,).
        whole: Curves on the whole by steps, some of them, and name.

    Returns:
        Curves by name, shape (R,): exact where the whole is known, the part's own where it nowhere is.
    """
    if not whole:
        return dict(part)
    at, known = np.log1p(np.asarray(steps, dtype=np.float64)), sorted(whole)
    rows = [list(steps).index(step) for step in known]
    found = {}
    for name, curve in part.items():
        exact = np.asarray([whole[step][name] for step in known], dtype=np.float64)
        values = np.concatenate([curve, exact])
        logarithms = not name.endswith("accuracy") and bool(np.all(np.isfinite(values) & (values > 0.0)))
        if logarithms:
            shift = np.interp(at, at[rows], np.log(exact / curve[rows]))
            corrected = curve * np.exp(shift)
        else:
            with np.errstate(invalid="ignore"):
                gap = np.nan_to_num(exact - curve[rows], nan=0.0, posinf=0.0, neginf=0.0)
            corrected = curve + np.interp(at, at[rows], gap)
        if name.endswith("accuracy"):
            corrected = np.clip(corrected, 0.0, 1.0)
        corrected[rows] = exact
        found[name] = corrected
    return found
