from __future__ import annotations

import pytest

from raytt.pricing.hardware import accelerator_of_device, accelerators


def test_every_row_has_a_source_and_sensible_limits() -> None:
    for name, accelerator in accelerators().items():
        assert accelerator.name == name
        assert len(accelerator.source) > 20
        # Tensor cores are faster than the others, and no card moves as many bytes as it computes.
        assert accelerator.bandwidth < accelerator.fp32 < accelerator.tf32 < accelerator.bf16


def test_known_cards() -> None:
    a100, h100 = accelerators()["A100-40GB"], accelerators()["H100"]
    assert (a100.fp32, a100.tf32, a100.bf16, a100.bandwidth) == (19.5e12, 156e12, 312e12, 1555e9)
    # Dense: half of the 1,979 TFLOPS that the data sheet gives with sparsity.
    assert h100.bf16 == pytest.approx(989.5e12)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", None),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIE"),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", None),
        ("cpu with 2 threads", None),
        (None, None),
    ],
)
def test_names_that_devices_give_themselves(device: str | None, name: str | None) -> None:
    assert accelerator_of_device(device) == name
