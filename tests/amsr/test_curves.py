"""benchmarks/curves: fitted rivals, means, and going on with a file."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from basicsr_amsr import load_pretrained
from benchmarks.curves.__main__ import main
from benchmarks.curves.fewer import without_units
from benchmarks.curves.means import Mean, load_means, means, save_means
from benchmarks.curves.points import Point, convert, points
from benchmarks.curves.show import times_at


class PAN(nn.Module):
    """Has its units where the network of that name has them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_units_that_are_1x1_convolutions_are_replaced_by_themselves() -> None:
    torch.manual_seed(0)
    net, images = PAN().eval(), [torch.rand(1, 3, 9, 11) for _ in range(2)]
    with torch.no_grad():
        expected = net(images[0])
        replaced = without_units(net, 2, images)
        assert [type(unit).__name__ for unit in replaced.body] == ['Conv2d', 'Fitted', 'Fitted']
        torch.testing.assert_close(replaced(images[0]), expected, atol=1e-2, rtol=0)


def test_points_of_a_form_have_its_patch() -> None:
    assert points(['patches', 'calibrated', 'one level', 'fewer units'], [0.5], [4, 16], 7, [2], [0.3]) == [
        Point('patches', 0.5, 8, 5), Point('calibrated', 0.5, 4, 7), Point('calibrated', 0.5, 16, 7),
        Point('one level', 0.3, 4, 3), Point('one level', 0.3, 16, 3), Point('fewer units', count=2)]


def test_one_level_computes_more_of_a_detailed_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = [torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40) * 0.2]
    net = convert(load_pretrained('CARN_M_x234', upscale=4), Point('one level', 0.5, 4, 3), images, tmp_path)
    keeps = []
    for x in images:
        with torch.no_grad():
            net(x)
        keeps.append(float(net.last_keep))
    assert keeps[0] > 0.6 > 0.4 > keeps[1] and sum(keeps) / 2 == pytest.approx(0.5, abs=0.02)


def test_means_take_macs_where_they_were_counted_and_sum_times() -> None:
    line = {'set': 'Set5', 'point': list(Point('patches', 0.5, 8, 5)), 'psnr': 30.0, 'dense_psnr': 31.0, 'seconds': 1.0,
            'dense_seconds': 1.0, 'macs': 0.5}
    mean = means([line, {**line, 'psnr': 32.0, 'seconds': 4.0, 'macs': None}])['Set5'][Point('patches', 0.5, 8, 5)]
    assert mean == (2, 0.0, 0.5, 2.5)


def test_time_at_equal_loss_lies_on_the_line_between_points() -> None:
    dots = [Mean(1, loss, 0.5, time) for loss, time in ((-0.06, 0.6), (-0.02, 0.8), (-0.2, None))]
    assert times_at(dots, [0.01, 0.02, 0.05, 0.1]) == [pytest.approx(0.9), 0.8, pytest.approx(0.65), None]


def test_a_table_keeps_means_and_later_files_go_before(tmp_path: Path) -> None:
    point, other, file = Point('patches', 0.5, 8, 5), Point('fewer units', count=2), str(tmp_path / 'means.csv')
    old = {'PAN x2': {'Set14': {point: Mean(14, -0.03, 0.5, None), other: Mean(14, -0.3, 0.8, 0.9)}}}
    save_means(old, file)
    assert load_means([file]) == old
    line = {'network': 'PAN x2', 'set': 'Set14', 'image': 'a.png', 'point': list(point), 'psnr': 30.0,
            'dense_psnr': 30.5, 'seconds': 1.0, 'dense_seconds': 2.0, 'macs': 0.4}
    (tmp_path / 'new.jsonl').write_text(json.dumps(line))
    assert load_means([file, str(tmp_path / 'new.jsonl')]) == {
        'PAN x2': {'Set14': {point: Mean(1, -0.5, 0.4, 0.5), other: Mean(14, -0.3, 0.8, 0.9)}}}


def test_a_file_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / 'Small' / 'HR', tmp_path / 'curve.jsonl'
    images.mkdir(parents=True)
    for name in 'ab':
        image = cv2.resize(np.random.default_rng(ord(name)).integers(0, 256, (24, 24, 3), dtype=np.uint8), (96, 96))
        cv2.imwrite(str(images / f'{name}.png'), image)
    words = ['measure', '--weights', 'CARN_M_x234', '--network', 'upscale=4', '--fit', str(images), '--images',
             str(images), '--forms', 'patches', '--out', str(out)]
    main([*words, '--first', '1', '--keeps', '0.5'])
    first = out.read_text()
    main([*words, '--keeps', '0.5', '1'])
    assert out.read_text().startswith(first)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line['image'], line['point'][1]) for line in lines] == [
        (lines[0]['image'], 0.5), (lines[0]['image'], 1), (lines[2]['image'], 0.5), (lines[2]['image'], 1)]
    for line in lines:
        whole = pytest.approx(line['dense_psnr'], abs=1e-3), 1  # of which the native kernels compute one
        assert line['point'][1] < 1 or (line['psnr'], line['macs']) == whole
        assert line['point'][1] == 1 or (line['psnr'] != line['dense_psnr'] and line['macs'] < 1)
    main(['show', str(out), '--plot', str(tmp_path / 'curve.png')])
    printed = capsys.readouterr().out
    assert 'CARN_M x4' in printed and '0.02, 0.05, 0.1 dB' in printed
    assert (tmp_path / 'curve.png').stat().st_size
