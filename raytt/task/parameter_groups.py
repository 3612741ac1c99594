"""Groups of parameters that train with another learning rate or weight decay than the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raytt.errors import InputError
from raytt.task.checks import within


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Some parameters of a network, as one of torch's parameter groups.

    Raises:
        InputError: If there is no pattern, or a number is out of its bounds.
    """

    patterns: Sequence[str]
    """Patterns (fnmatch) over parameter names: those that belong to the group."""
    lr_scale: float = 1.0
    """What the candidate's learning rate is multiplied with in every step, > 0."""
    weight_decay: float | None = None
    """λ ≥ 0 of these parameters, in the place of the candidate's own; None: the candidate's."""

    def __post_init__(self) -> None:
        if isinstance(self.patterns, str) or not self.patterns:
            raise InputError(
                f"ParameterGroup.patterns is {self.patterns!r}.",
                "Give a list of patterns over parameter names, such as ['head.*'].",
            )
        within("lr_scale", self.lr_scale, 0.0, math.inf, open_low=True)
        if self.weight_decay is not None:
            within("weight_decay", self.weight_decay, 0.0, math.inf)


def layerwise_decay(layers: Sequence[Sequence[str] | str], decay: float) -> tuple[ParameterGroup, ...]:
    """Groups whose learning rates shrink from the output to the input: lr_scale = decayᴸ⁻¹⁻ˡ for layer l = 0 … L − 1.

    Parameters of no layer keep the whole learning rate, as those of the last layer do. Source: Howard and Ruder 2018
    (*Universal language model fine-tuning*, arXiv 1801.06146, §3.2), who found 1/2.6; vision transformers take 0.65 to
    0.9 (He et al. 2022, arXiv 2111.06377, appendix A).

    Args:
        layers: Patterns over parameter names, from the input to the output; a layer is one pattern or several.
        decay: Factor from a layer to the one before it, in (0, 1].

    Raises:
        InputError: If there is no layer, or the factor is out of its bounds.
    """
    factor = within("decay", decay, 0.0, 1.0, open_low=True)
    if not layers or isinstance(layers, str):
        raise InputError(
            f"layers is {layers!r}.", "Give patterns in order, such as ['stem.*', 'blocks.0.*', 'head.*']."
        )
    return tuple(
        ParameterGroup(
            patterns=(layer,) if isinstance(layer, str) else tuple(layer), lr_scale=factor ** (len(layers) - 1 - number)
        )
        for number, layer in enumerate(layers)
    )
