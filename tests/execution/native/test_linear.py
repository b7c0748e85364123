"""Linear layers of rows, beside torch's."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.native.linear import linear


def wanted(rows, weight, bias, norm, gelu, add):
    made = F.linear(rows if norm is None else norm(rows), weight, bias)
    made = F.gelu(made) if gelu else made
    return made if add is None else made + add


@pytest.mark.parametrize(('count', 'inputs', 'outputs'), [(1, 1, 1), (50, 60, 180), (97, 7, 65), (130, 33, 15),
                                                          (49, 16, 130)])
@pytest.mark.parametrize('full', [False, True])
@torch.no_grad()
def test_is_that_of_torch(native, isa, count, inputs, outputs, full):
    torch.manual_seed(0)
    rows = 3 + torch.randn(count, inputs + 5)[:, 2:2 + inputs]  # strided
    weight, bias, norm, add = torch.randn(outputs, inputs), None, None, None
    if full:
        bias, norm, add = torch.randn(outputs), nn.LayerNorm(inputs), torch.randn(count, outputs + 1)[:, :outputs]
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    found = linear(native, rows, weight, bias, norm=norm, gelu=full, add=add)
    truth = wanted(rows, weight, bias, norm, full, add)
    assert torch.allclose(found, truth, atol=2e-5, rtol=1e-5)
    half = linear(native, rows, weight, bias, norm=norm, gelu=full, add=add, bf16=True)
    with torch.autocast('cpu', torch.bfloat16):
        autocast = wanted(rows, weight, bias, norm, full, add)
    assert (half - truth).norm() <= (autocast - truth).norm() + 1e-5 * truth.norm()


@torch.no_grad()
def test_no_rows(native):
    assert linear(native, torch.empty(0, 4), torch.ones(3, 4)).shape == (0, 3)
