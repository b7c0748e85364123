"""The calibrations in pretrained/: their cards, and that the option files that name them run."""
import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import calibrated_selection
from basicsr_amsr.options.option_file import OptionFile
from basicsr_amsr.options.scale import give_scale
from tests.backbones.tiny import image

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / 'pretrained').glob('*.amsr'))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_card(file):
    head, text = (ROOT / 'pretrained' / f'{file.name}.md').read_text(encoding='utf-8').split('---')[1:3]
    entries = yaml.safe_load(head)
    assert entries['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (ROOT / 'pretrained' / entries['weights']).is_file() and entries['licence'] and entries['origin']
    calibration = Calibration.load(file)
    assert f'{calibration.fit.images} images' in text
    keep = float(re.search(r'([\d.]+)% of the\s+patches', text)[1]) / 100
    assert calibration.selection() == dataclasses.replace(calibrated_selection(), keep=None,
                                                          level=calibration.selection(keep).level)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_an_option_file_tests_it(file):
    named = [path for path in sorted((ROOT / 'options' / 'test').glob('*.yml'))
             if f'pretrained/{file.name}' in path.read_text(encoding='utf-8')]
    assert len(named) == 1
    options = OptionFile.read(str(named[0])).options
    give_scale(options)
    net = build_network(options['network_g']).eval()
    x = image(1, 3, 33, 56)
    x[..., 28:] = 0.5
    with torch.no_grad():
        result = net(x)
    assert result.shape[-2:] == (33 * options['scale'], 56 * options['scale']) and 0.4 < net.last_keep < 0.7


def test_there_are_some():
    assert len(FILES) >= 4
