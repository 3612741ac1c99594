"""Seconds per step on hardware that is not at hand: moved from where they were timed, or from what a step computes.

Notation: F floating-point operations and M bytes of one step, x = F/M its arithmetic intensity; P the peak rate at
which an accelerator does these operations and W its memory bandwidth; R = P/W its ridge point.

Roofline: a step takes at least max(F/P, M/W) (Williams, Waterman, Patterson 2009). Wave scaling: a time t moves from
one accelerator to another as t · (W_src/W_dst)^γ · (P_src/P_dst)^(1−γ), γ from x against the ridge point of the
destination (Yu, Gao, Golikov, Pekhimenko, *Habitat*, USENIX ATC 2021, arXiv 2102.00527, §4; they scale each kernel,
with clock × multiprocessors where P stands here).
"""

from __future__ import annotations

import math

from raytt.pricing.hardware import Accelerator
from raytt.pricing.step_time import Origin, StepTime
from raytt.pricing.work import StepWork

UTILISATION = (0.25, 0.5)
"""Share of the roofline that training reaches: an assumption, after published shares of peak arithmetic in large
training runs, 21 % (GPT-3), 30 % (Megatron-Turing NLG), 33 % (Gopher) and 46 % (PaLM) (Chowdhery et al. 2022, *PaLM*,
arXiv 2204.02311, table 3), and up to 52 % (Narayanan et al. 2021, Megatron-LM, arXiv 2104.04473). Those are large, well
tuned networks; a small one waits for its kernels to be started, which `DISPATCH_SECONDS` is for."""
DISPATCH_SECONDS = (5e-6, 25e-6)
"""Time of the host to launch one operation, seconds (jiahuanglin.xyz, *From PyTorch op to kernel launch*: about 5 to 25
µs in eager mode). It bounds the steps of small networks."""
TRANSFER_ERROR = 0.118
"""Mean relative error that Habitat reports for whole training steps: an interval is never narrower."""


def peak_rate(work: StepWork, accelerator: Accelerator) -> float | None:
    """P: F over the time that all operations take at their peaks, operations per second; None where no peak is known.

    In float32, torch lets convolutions use tensor cores with rounded inputs (TF32) and other products not, unless told
    otherwise.
    """
    peaks = {"float32": (accelerator.tf32, accelerator.fp32)}
    peaks |= dict.fromkeys(("bfloat16", "float16"), (accelerator.bf16, accelerator.bf16))
    if work.dtype not in peaks or work.flops <= 0.0:
        return None
    conv, other = peaks[work.dtype]
    return work.flops / (work.conv_flops / conv + work.other_flops / other)


def memory_share(intensity: float, ridge: float) -> float:
    """γ: 1 − x/(2R) up to the ridge point, R/(2x) beyond it; 1 for pure memory traffic, 0 for pure arithmetic."""
    return 1.0 - 0.5 * intensity / ridge if intensity <= ridge else 0.5 * ridge / intensity


def transfer(timed: StepTime, work: StepWork, source: Accelerator, destination: Accelerator) -> StepTime | None:
    """A timed step moved to another accelerator; None where no peak rate is known for its arithmetic.

    The interval holds both extremes, all memory traffic (γ = 1) and all arithmetic (γ = 0), and `TRANSFER_ERROR`.
    Loading of data moves along with the rest, as if the host were as much faster; starting the operations does not, and
    bounds the time from below.
    """
    from_rate, to_rate = peak_rate(work, source), peak_rate(work, destination)
    if from_rate is None or to_rate is None:
        return None
    by_memory, by_compute = source.bandwidth / destination.bandwidth, from_rate / to_rate
    share = memory_share(work.flops / work.num_bytes, to_rate / destination.bandwidth)
    factor = by_memory**share * by_compute ** (1.0 - share)
    floor = min(timed.low, work.num_operations * DISPATCH_SECONDS[0])
    return StepTime(
        batch_size=timed.batch_size,
        seconds=max(floor, timed.seconds * factor),
        low=max(floor, timed.low * min(by_memory, by_compute, factor / (1.0 + TRANSFER_ERROR))),
        high=max(floor, timed.high * max(by_memory, by_compute, factor * (1.0 + TRANSFER_ERROR))),
        source=f"timed on {source.name} ({timed.source}), moved to {destination.name} by wave scaling with γ = "
        f"{share:.2f}",
        origin=Origin.TRANSFERRED,
    )


def from_work(
    work: StepWork, accelerator: Accelerator, utilisation: tuple[float, float] = UTILISATION
) -> StepTime | None:
    """The roofline over the utilisation, or starting the operations one by one where that takes longer; the middle
    (geometrically) of the interval. None without a known peak.

    Loading of data comes on top and is not in it.
    """
    rate = peak_rate(work, accelerator)
    if rate is None:
        return None
    least, most = utilisation
    best = max(work.flops / rate, work.num_bytes / accelerator.bandwidth)
    low = max(best / most, work.num_operations * DISPATCH_SECONDS[0])
    high = max(best / least, work.num_operations * DISPATCH_SECONDS[1])
    return StepTime(
        batch_size=work.batch_size,
        seconds=math.sqrt(low * high),
        low=low,
        high=high,
        source=f"estimated from {work.flops:.2g} floating-point operations and {work.num_bytes:.2g} bytes at "
        f"{least:.0%}–{most:.0%} of the peak of {accelerator.name}, and {work.num_operations:,} kernels at "
        f"{1e6 * DISPATCH_SECONDS[0]:g}–{1e6 * DISPATCH_SECONDS[1]:g} µs, without loading data",
        origin=Origin.COUNTED,
    )
