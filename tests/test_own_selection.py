"""A selection from outside the package is built by its name, and its options are checked as ours are."""
import json
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_amsr.cli import main
from basicsr_amsr.registry import ARCH_REGISTRY, SELECTION_REGISTRY
from tests.cli.conftest import NETWORK, options_to_test, write_images
from tests.test_plugins import clean  # noqa: F401

MODULE = '''
from dataclasses import dataclass

import torch

from basicsr_amsr.options.section import Positive
from basicsr_amsr.registry import SELECTION_REGISTRY


@SELECTION_REGISTRY.register()
@dataclass(frozen=True)
class Half:
    """One half of every image.

    Args:
        patch_size: side of the patches.
        right: the right one.
    """

    patch_size: Positive = 4
    right: bool = False

    def patches(self, images):
        rows, cols = (-(-side // self.patch_size) for side in images.shape[-2:])
        return ((torch.arange(cols) < cols // 2) ^ self.right).expand(images.shape[0], rows, cols)
'''


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, clean):  # noqa: F811
    """Tests a network with a selection: run(type='Half') returns the exit code and what stands on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SELECTION_REGISTRY, '_obj_map', dict(SELECTION_REGISTRY._obj_map))
    write_images(tmp_path / 'data' / 'gt', ['a'], 32)
    write_images(tmp_path / 'data' / 'lq', ['a'], 16)
    Path('halves.py').write_text(MODULE)

    def tested(**selection):
        network = {'type': 'AMSR', 'backbone': NETWORK, 'mode': 'sparse', 'selection': selection}
        Path('tiny.yml').write_text(yaml.safe_dump(options_to_test(plugins=['halves'], network_g=network)))
        return main(['test', '-opt', 'tiny.yml']), capsys.readouterr().err

    return tested


def test_it_chooses_what_is_computed(run):
    assert run(type='Half', right=True)[0] == 0
    assert json.loads(Path('results/tiny/metrics.json').read_text())
    net = ARCH_REGISTRY.get('AMSR')(NETWORK, {'type': 'Half', 'right': True}, mode='sparse').eval()
    with torch.no_grad():
        net(torch.rand(1, 3, 8, 16))
    assert net.amsr.selection.right and float(net.last_keep) == 0.5


@pytest.mark.parametrize(('selection', 'line'), [
    ({'type': 'Half', 'rihgt': True}, "selection: Half has no option 'rihgt'. Did you mean right?"),
    ({'type': 'Half', 'patch_size': 0}, 'selection: patch_size is 0: it has to be a whole number, 1 or more.'),
    ({'type': 'Haff'}, "No selection named 'Haff'. Did you mean Half?"),
    ({'type': 'topk'}, 'topk makes no mask of an image. There is: Half, HighFrequencyMask.'),
    ({'keep': 2}, 'network_g: selection: keep is 2: it has to be a number from 0 to 1.'),
    ({'keep': 0.5, 'dilation': 1}, 'dilation is 1, but keep decides alone')])
def test_mistakes_are_one_line(run, selection, line):
    code, err = run(**selection)
    assert code == 2 and line in err and len(err.splitlines()) == 1
