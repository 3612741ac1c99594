"""Which configuration runs as the reference of an optimizer family.

It need not be a candidate: it should follow the path that candidates follow, at a similar rate, and be stable enough
that its weights and its loss curve are representative. What that means for the learning rate and the other
hyperparameters is the optimizer's own (`raytt.task.optimizers.Optimizer.reference`).
"""

from __future__ import annotations

from collections.abc import Sequence

from raytt.task.candidate import Candidate


def reference_candidate(candidates: Sequence[Candidate], *, stability_limit: float) -> Candidate:
    """The reference of candidates that share an optimizer and the arguments of the model.

    Batch size, with its accumulation: the median of theirs. Optimizer and learning rate: as `Optimizer.reference`
    chooses them; the run itself lowers or raises the learning rate where it is too high or too low. No schedule, and
    gradients are not clipped.

    Args:
        candidates: Of one optimizer family.
        stability_limit: Of plain SGD at the pre-trained weights, +inf where unknown.

    Raises:
        ValueError: If they do not share these.
    """
    (kind,) = {type(c.optimizer) for c in candidates}
    sizes = sorted((c.samples_per_step, c.batch_size, c.accumulation_steps) for c in candidates)
    optimizer, lr = kind.reference([(c.optimizer, c.lr) for c in candidates], stability_limit=stability_limit)
    _, batch_size, accumulation_steps = sizes[len(sizes) // 2]
    (arguments,) = {c.model_arguments for c in candidates}
    return Candidate(
        optimizer=optimizer,
        lr=lr,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        model_arguments=arguments,
    )
