"""Mistakes that people have made in public with `basicsr test`: each ends in its line, or is none here."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.cli.conftest import NETWORK, write_images
from tests.faults.public import (
    BASICSR,
    ESRGAN,
    OLD_NAMES,
    RRDB,
    Case,
    assert_said,
    register,
    to_test,
    weights,
    with_weights,
)

CASES: list[Case] = []
case = register(CASES)


@case(f'{BASICSR}707', 'no name', 'test', "'name' is missing")
def _() -> Any:
    return {key: value for key, value in to_test().items() if key != 'name'}


@case(f'{BASICSR}253', 'weights without `params` around them', 'test', works=True)
def _() -> Any:
    return with_weights(**weights())


@case(f'{ESRGAN}743', 'weights under params_ema alone', 'test', works=True)
def _() -> Any:
    return with_weights(params_ema=weights())


@case(f'{BASICSR}485', 'images without metrics', 'test', works=True)
def _() -> Any:
    return to_test(val={'save_img': True})


@case('https://github.com/XPixelGroup/HAT/issues/25', 'a list of which one image is missing', 'test', 'data/lq/d.png')
def _() -> Any:
    Path('list.txt').write_text('a.png (32,32,3)\nd.png (32,32,3)\n')
    return to_test('datasets', 'test_1', 'meta_info_file', 'list.txt')


@case('https://github.com/icandle/CAMixerSR/issues/13', 'LR files of other names', 'test', 'a.png is not in lq_paths')
def _() -> Any:
    for name in 'abc':
        Path(f'data/lq/{name}.png').rename(f'data/lq/{name}_LR.png')
    return to_test()


@case('https://github.com/icandle/CAMixerSR/issues/29', 'ground truth that is smaller than the result', 'test',
      'data/lq/b.png is 16x16 and data/gt/b.png 30x32')
def _() -> Any:
    cv2.imwrite('data/gt/b.png', np.zeros((30, 32, 3), np.uint8))
    return to_test()


@case('https://github.com/xinntao/ESRGAN/issues/69', "ESRGAN's weights under their first names", 'test', works=True)
def _() -> Any:
    state = {}
    for key, value in weights({**RRDB, 'scale': 4}).items():
        for new, old in OLD_NAMES:
            key = key.replace(new, old, 1) if key.startswith(new) else key
        state[key] = value
    shutil.rmtree('data/lq')
    write_images(Path('data/lq'), 'abc', 8)
    return {**with_weights(**state), 'scale': 4, 'network_g': RRDB}


@case(f'{ESRGAN}109', 'weights of the discriminator', 'test', 'net.pth does not fit RRDBNet', 'nothing of it fits')
def _() -> Any:
    discriminator = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
    return {**with_weights(params=weights(discriminator)), 'network_g': RRDB}


@case('https://github.com/xinntao/ESRGAN/issues/6', 'weights of a deeper network', 'test',
      'net.pth holds MSRResNet with num_block 2, but the network has num_block 1')
def _() -> Any:
    return with_weights(params=weights({**NETWORK, 'num_block': 2}))


@case(f'{BASICSR}127', 'a gray image among colour images', 'test', works=True)
def _() -> Any:
    cv2.imwrite('data/lq/b.png', np.zeros((16, 16), np.uint8))
    cv2.imwrite('data/gt/b.png', np.zeros((32, 32), np.uint8))
    return to_test()


@pytest.mark.parametrize('one', CASES, ids=lambda one: f'{one.command}: {one.says}')
def test_a_mistake_made_in_public(basicsr, one):
    assert_said(basicsr, one)
