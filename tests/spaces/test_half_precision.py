"""Published super-resolution networks in bfloat16, against float32."""

import pytest
import torch
import torch.nn.functional as F

from srnas.model_file import load_model

FILES = ["IMDN_x2.pth", "DLSR_x2.pth", "plainusr/PlainUSRL_Rep_x2.pth"]


@pytest.mark.parametrize("file", FILES)
def test_results_are_closer_to_those_in_float32_than_numbers_of_bfloat16_are(shared, file):
    network = load_model(shared / "checkpoints" / file).network
    noise = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    x = F.interpolate(noise, scale_factor=4, mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        expected = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(x)
    rounding = (expected.bfloat16().float() - expected).abs().mean()
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().mean() < 0.7 * rounding
