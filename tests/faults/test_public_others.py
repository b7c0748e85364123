"""Mistakes that people have made in public with other commands: each ends in its line, or is none here."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.cli.conftest import write_images
from tests.faults.public import BASICSR, ESRGAN, Case, assert_said, register, to_test, weights, with_weights

CASES: list[Case] = []
case = register(CASES)


@case('https://github.com/XPixelGroup/HAT/issues/87', 'a network of another package', 'profile', "No arch named 'HAT'")
def _() -> Any:
    return to_test('network_g', 'type', 'HAT')


@case(f'{BASICSR}419', 'a network whose file has another name', 'bench', "No arch named 'R2'")
def _() -> Any:
    return to_test('network_g', 'type', 'R2'), '--size', '16x16', '--rounds', '1'


@case('https://github.com/ByChelsea/CMOS/issues/2', 'weights that hold more than the network', 'freq',
      'net.pth does not fit MSRResNet', 'unexpected (cmos.conv1.weight)')
def _() -> Any:
    return with_weights(params={**weights(), 'cmos.conv1.weight': torch.zeros(3)}), '--images', 'data/gt'


@case('https://github.com/sanghyun-son/EDSR-PyTorch/issues/69', 'a gray image among colour images',
      'calibrate', works=True)
def _() -> Any:
    cv2.imwrite('data/gt/b.png', np.zeros((32, 32), np.uint8))
    network = {'type': 'CARN_M', 'num_feat': 8, 'upscale': 2}
    torch.save(weights(network), 'net.pth')
    return to_test(network_g=network, path={'pretrain_network_g': 'net.pth'}), '--images', 'data/gt'


@case(f'{BASICSR}16', 'images of one name in several folders for one LMDB', 'prepare', 'would both become a.png',
      '--prefix')
def _() -> Any:
    write_images(Path('other'), 'ab', 32)
    return None, '--hr', 'data/gt', 'other', '--out', 'p', '--scale', '2', '--lmdb'


@case(f'{BASICSR}120', 'sub-images larger than the images, which stay whole', 'prepare', works=True)
def _() -> Any:
    return None, '--hr', 'data/gt', '--out', 'p', '--scale', '2', '--crop', '480'


@case('https://github.com/xinntao/Real-ESRGAN/pull/913', 'an image that OpenCV does not read', 'calibrate',
      "Image 'data/gt/b.png' is broken")
def _() -> Any:
    Path('data/gt/b.png').write_bytes(b'RIFF no image')
    return with_weights(), '--images', 'data/gt', '-o', 'c.amsr'


@case('https://github.com/mks0601/Hand4Whole_RELEASE/issues/24', 'a file where a folder is wanted', 'freq',
      "'data/gt/a.png' is not a folder")
def _() -> Any:
    return with_weights(), '--images', 'data/gt/a.png'


@case(f'{ESRGAN}705', "a checkpoint's name as that of a network", 'bench', "'net_g_35000'")
def _() -> Any:
    return None, '--network', 'net_g_35000'


@pytest.mark.parametrize('one', CASES, ids=lambda one: f'{one.command}: {one.says}')
def test_a_mistake_made_in_public(basicsr, one):
    assert_said(basicsr, one)
