"""Peak memory of calls whose allocations are known."""
import os

import pytest
import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling.peak_memory import peak_memory

MIB = 1 << 20


def steps(device='cpu'):
    """8 MiB and 4 MiB together, the first released, then 2 MiB more: 12 MiB at most."""
    first = torch.empty(8 * MIB, dtype=torch.uint8, device=device)
    second = torch.empty(4 * MIB, dtype=torch.uint8, device=device)
    del first
    third = torch.empty(2 * MIB, dtype=torch.uint8, device=device)
    return second, third


def test_peak_is_that_of_known_allocations():
    held = torch.empty(64 * MIB, dtype=torch.uint8)
    assert peak_memory(steps) == 12 * MIB
    assert peak_memory(lambda: steps()[0]) == 12 * MIB
    assert peak_memory(lambda: held.view(-1)) == 0


def test_network_needs_its_two_largest_features_and_more_pixels_more():
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 3, padding=1))
    peaks = []
    for side in (64, 128):
        x = torch.rand(1, 3, side, side)
        with torch.no_grad():
            net(x)
            peaks.append(peak_memory(lambda x=x: net(x)))
        assert peaks[-1] >= 2 * 64 * side * side * 4
    assert peaks[1] == pytest.approx(4 * peaks[0], rel=0.1)


def test_what_a_network_keeps_is_released_without_a_word(capfd):
    kept = []

    def call():
        kept[:] = [torch.empty(MIB, dtype=torch.uint8)]
        os.write(2, b'its own line\n')

    call()
    assert peak_memory(call) == MIB
    out, err = capfd.readouterr()
    assert err == 'its own line\n' * 2 and out == ''


def test_other_devices_are_refused():
    with pytest.raises(UserError, match='not on meta'):
        peak_memory(lambda: None, 'meta')


@pytest.mark.cuda
def test_cuda_peak_is_that_of_known_allocations():
    assert peak_memory(lambda: steps('cuda'), 'cuda') == 12 * MIB
