"""What one training step computes and moves; `raytt.training.step_work` counts it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """Of one training step at one batch size."""

    batch_size: int
    """B, samples per step."""
    conv_flops: float
    """Floating-point operations of convolutions, forward and backward."""
    other_flops: float
    """Of all other products."""
    num_bytes: float
    """Bytes read and written."""
    num_operations: int
    """Operations that are started one by one, forward and backward, views left out."""
    dtype: str
    """Of the weights that train: "float32", "bfloat16", …"""

    def __post_init__(self) -> None:
        if min(self.conv_flops, self.other_flops) < 0.0 or self.num_bytes <= 0.0:
            raise ValueError(f"work of {self.conv_flops} + {self.other_flops} operations and {self.num_bytes} bytes")

    @property
    def flops(self) -> float:
        """All floating-point operations."""
        return self.conv_flops + self.other_flops
