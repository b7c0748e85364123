"""The torch backend against the formula of what it computes, wherever the results go."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.backends.interface import Place, Read
from basicsr_amsr.execution.backends.torch_backend import TorchBackend
from basicsr_amsr.execution.fusion import PLAIN, Activation, Epilogue
from basicsr_amsr.execution.gather import Gather

ROWS = 11
ADDED = torch.linspace(-2, 2, ROWS * 6).view(ROWS, 6)
SLOPES = torch.linspace(-0.5, 1.5, 6)
CASES = {
    'nothing': (PLAIN, lambda y: y),
    'ReLU': (Epilogue(Activation(0.0)), F.relu),
    'LeakyReLU': (Epilogue(Activation(0.2)), lambda y: F.leaky_relu(y, 0.2)),
    'PReLU': (Epilogue(Activation(SLOPES)), lambda y: F.prelu(y, SLOPES)),
    'scaled': (Epilogue(scale=0.3), lambda y: 0.3 * y),
    'sum': (Epilogue(added=Read(ADDED)), lambda y: y + ADDED),
    'ReLU, scaled, sum, PReLU': (Epilogue(Activation(0.0), 0.3, Read(ADDED), Activation(SLOPES)),
                                 lambda y: F.prelu(0.3 * F.relu(y) + ADDED, SLOPES)),
    'scaled, LeakyReLU': (Epilogue(None, -2.0, None, Activation(0.1)), lambda y: F.leaky_relu(-2 * y, 0.1)),
}


@torch.no_grad()
@pytest.mark.parametrize('goes', ['new', 'in turn', 'listed'])
@pytest.mark.parametrize('channels', [(7,), (3, 1, 3)])
@pytest.mark.parametrize('name', CASES)
def test_a_1x1_convolution_and_what_follows(name, channels, goes):
    torch.manual_seed(0)
    epilogue, follow = CASES[name]
    conv, tables = nn.Conv2d(7, 6, 1), [torch.randn(ROWS, each) for each in channels]
    kept, added = [table.clone() for table in tables], ADDED.clone()
    expected = follow(F.linear(torch.cat(tables, 1), conv.weight.flatten(1), conv.bias))
    target, order = torch.full((ROWS + 2, 6), torch.nan), torch.randperm(ROWS)
    place = {'new': None, 'in turn': Place(lambda dtype: target[1:-1]),
             'listed': Place(lambda dtype: target, Gather(order + 1))}[goes]
    result = TorchBackend().convolve(conv, [Read(table) for table in tables], 1, epilogue, place)
    if place is not None:
        assert target[[0, -1]].isnan().all()
        result = target[1:-1] if goes == 'in turn' else target[1:-1][order]
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(ADDED, added) and all(map(torch.equal, tables, kept))


@torch.no_grad()
@pytest.mark.parametrize('name', CASES)
def test_autocast_computes_in_bfloat16(name):
    epilogue, follow = CASES[name]
    conv, parts = nn.Conv2d(7, 6, 1), [torch.randn(ROWS, 3), torch.randn(ROWS, 4)]
    expected = follow(F.linear(torch.cat(parts, 1), conv.weight.flatten(1), conv.bias))
    with torch.autocast('cpu', torch.bfloat16):
        result = TorchBackend().convolve(conv, [Read(part) for part in parts], 1, epilogue)
    torch.testing.assert_close(result.float(), expected, atol=0.05, rtol=0.05)
    assert result.dtype == (torch.bfloat16 if epilogue.added is None else torch.float32)
