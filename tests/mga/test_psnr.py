"""The table of trained weights: M is put together as the network itself would make it."""
import json

import cv2
import pytest
import torch

from basicsr_amsr.mga.network import MGA
from benchmarks.mga_psnr import ORDERS, dense_images, main, markdown, selected, selecting_images, set_name
from tests.mga.toy import registered


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('amount', [3, 0.25, 240])
@torch.no_grad()
def test_the_images_are_those_of_the_network(order, amount):
    net = MGA(registered(), k=amount, order=order, seed=2).eval()
    x = torch.rand(1, 3, 14, 19)
    feature, coarse = net.base.extract(x), net.base(x)
    refined = net.refine_patches(feature, coarse, net.every_patch(feature))
    image = selected(MGA(registered()).eval(), feature, coarse, refined, amount, order, seed=2)
    assert torch.allclose(image, net(x), atol=1e-6)
    parts = {**dict(dense_images(net, x)), **dict(selecting_images(net, x))}
    assert torch.equal(parts['coarse of A'], coarse) and torch.equal(parts['coarse of D'], coarse)
    for variant in 'DA':
        net.set_variant(variant)
        assert torch.equal(parts[variant], net(x))


def test_a_run(tmp_path, capsys):
    options = {'type': 'FSRCNN', 'upscale': 2}
    torch.save({'params': MGA(options).state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'Set5' / 'HR').mkdir(parents=True)
    for name in 'ab':
        picture = torch.randint(0, 256, (40, 48, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        cv2.imwrite(str(tmp_path / 'Set5' / 'HR' / f'{name}.png'), picture.numpy())
    weights = str(tmp_path / 'net.pth')
    out = tmp_path / 'new' / 'out.json'
    words = ['--backbone', 'FSRCNN', '--scale', '2', '--dense', weights, '--selecting', weights, '--sets',
             str(tmp_path / 'Set5' / 'HR'), '--json', str(out)]
    main([*words, '--patch-size', '8', '--alone', weights])
    larger = json.loads(out.read_text())['Set5']
    capsys.readouterr()
    main(words)
    figures = json.loads(out.read_text())['Set5']
    assert figures['coarse of A'] == figures['coarse of D']
    assert figures['A'] != figures['M 0.25 random'] != figures['M 0.25']
    assert larger['D'] == figures['D'] and larger['A'] != figures['A']
    assert larger['B, trained by itself'] == larger['coarse of A']
    printed = capsys.readouterr().out
    assert printed.count('| M 0.25 |') == printed.count('| M 0.125 |') == 2
    assert printed.count('| M 0.5 oracle |') == 1
    assert f"| D | {figures['D']['y']:.3f} / {figures['D']['rgb']:.3f} |" in printed


def test_a_table_by_hand():
    rows = {'D': {'y': 30.0, 'rgb': 28.5},
            **{f'M {keep}{order}': {'y': 1, 'rgb': 2} for keep in (0.125, 0.25, 0.5)
               for order in ('', ' random', ' smaller', ' oracle')}}
    lines = markdown({'Set5': rows, 'Set14': rows}).splitlines()
    assert lines[:2] == ['| PSNR Y / RGB (dB) | Set5 | Set14 |', '|---|---|---|']
    assert lines[2] == '| D | 30.000 / 28.500 | 30.000 / 28.500 |'
    assert len(lines) == 6 + 1 + 14
    assert [set_name(folder) for folder in ('x/Set5/HR', 'x/BSD100/GTmod12', 'own')] == ['Set5', 'BSD100', 'own']
