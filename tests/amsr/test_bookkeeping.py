"""benchmarks/bookkeeping and benchmarks/large_images, on small images."""
import json
import subprocess
import sys

import pytest
import torch

from basicsr_amsr.amsr import AMSRConfig, accelerate_
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from benchmarks import bookkeeping, large_images
from tests.backbones.tiny import network


def test_what_is_watched_is_put_back():
    before = {(owner, name): getattr(owner, name) for places in bookkeeping.FUNCTIONS.values()
              for owner, name in places}
    with bookkeeping.watching(bookkeeping.Stopwatch()):
        assert all(getattr(owner, name) is not function for (owner, name), function in before.items())
    assert all(getattr(owner, name) is function for (owner, name), function in before.items())


def test_the_parts_of_bookkeeping_are_its_whole():
    # In a process of its own: PyTorch's profiler, once used, writes to the terminal for as long as the process lives.
    done = subprocess.run([sys.executable, '-m', 'benchmarks.bookkeeping', '--networks', 'CARN_M calibrated', '--sizes',
                           '24x24', '--budget', '0'], capture_output=True, text=True)
    row = next(line for line in done.stdout.splitlines() if '24x24' in line)
    _, _, _, rounds, whole, mask, choosing, lists, decision, *_ = (cell.strip() for cell in row.strip('│').split('│'))
    parts = [float(part) for part in (mask, choosing, lists, decision)]
    assert int(rounds) >= 3 and min(float(mask), float(lists)) > 0 and abs(sum(parts) - float(whole)) < 0.05


def test_a_stopwatch_counts_nothing_twice(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0])

    class Clock:
        perf_counter = staticmethod(lambda: next(now))

    stopwatch = bookkeeping.Stopwatch()
    monkeypatch.setattr(bookkeeping, 'time', Clock)
    inner = stopwatch.timed('lists', lambda: None)
    stopwatch.timed('mask', inner)()
    assert (stopwatch.seconds['mask'], stopwatch.seconds['lists']) == (5.0, 2.0)


@pytest.mark.slow
def test_large_images_in_tiles_make_one_mask(tmp_path):
    out = tmp_path / 'large.json'
    large_images.main(['-opt', 'options/test/amsr_carn_m_x4.yml', '--force_yml', 'network_g:tile=16', '--sizes',
                       '16x16', '24x40', '--seconds', '0', '--threads', '1', '--json', str(out)])
    points = json.loads(out.read_text())
    assert list(points) == ['16x16', '24x40']
    for forms in points.values():
        assert forms['dense']['masks'] == 0 and forms['sparse']['masks'] == 1
        assert 0 < forms['sparse']['keep'] < 1 and forms['sparse']['ms'] > 0


@torch.no_grad()
@pytest.mark.parametrize(('tile', 'size'), [(None, (64, 104)), (32, (48, 64))])
def test_the_rival_of_large_images_computes_their_picture(tile, size):
    pytest.importorskip('openvino')
    net, x = network('EDSR', 4).eval(), torch.rand(1, 3, 64, 104)
    plain = net(x)
    accelerate_(net, AMSRConfig(selection=HighFrequencyMask(patch_size=4), tile=tile, tile_pad=16))
    rival = large_images.Rival(net, 3, (64, 104))
    assert rival.network.size == size  # of the largest tile
    inside = (..., slice(4 * 48), slice(4 * 88))  # tiles continue the image at its lower and right edge
    assert torch.allclose(rival(x)[inside], plain[inside], atol=1e-3)
