"""Mistakes that people have made in public: each ends in a line that says what to do, or is none here."""
from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils import logger

from tests.cli.conftest import METRICS, NETWORK, options_to_test, options_to_train, pairs, write_images
from tests.faults.lines import contents
from tests.faults.test_training import adversarial, realesrgan

BASICSR, ESRGAN = 'https://github.com/XPixelGroup/BasicSR/issues/', 'https://github.com/xinntao/Real-ESRGAN/issues/'
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
OLD_NAMES = [('body.0.rdb', 'RRDB_trunk.0.RDB'), ('conv_body.', 'trunk_conv.'), ('conv_up', 'upconv'),
             ('conv_hr.', 'HRconv.')]


class Case(NamedTuple):
    """A mistake.

    Attributes:
        link: where somebody made it.
        says: what it is.
        command: that it is tried through.
        make: writes the files and returns options, or the text of the option file, and further words.
        parts: of the line that it gets; None where it works.
    """

    link: str
    says: str
    command: str
    make: Callable[[], Any]
    parts: tuple[str, ...] | None


CASES: list[Case] = []


def case(link: str, says: str, command: str, *parts: str, works: bool = False) -> Any:
    """Register what the decorated function makes."""
    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append(Case(link, says, command, make, None if works else parts))
        return make

    return register


def to_train(*place: Any, **more: Any) -> dict[str, Any]:
    """Options to train; `place` leads to a value, the last one."""
    return changed(options_to_train(**more), *place)


def to_test(*place: Any, **more: Any) -> dict[str, Any]:
    """Options to test."""
    return changed(options_to_test(**more), *place)



def changed(options: dict[str, Any], *place: Any) -> dict[str, Any]:
    if place:
        *keys, last, value = place
        held: Any = options
        for key in keys:
            held = held[key]
        held[last] = value
    return options


def weights(network: dict[str, Any] = NETWORK) -> dict[str, torch.Tensor]:
    return build_network(dict(network)).state_dict()


def with_weights(**content: Any) -> dict[str, Any]:
    torch.save(content or {'params': weights()}, 'net.pth')
    return to_test(path={'pretrain_network_g': 'net.pth'})


@case(f'{BASICSR}707', 'no name', 'test', "'name' is missing")
def _() -> Any:
    return {key: value for key, value in to_test().items() if key != 'name'}


@case(f'{BASICSR}534', 'no num_gpu', 'train', works=True)
def _() -> Any:
    return {key: value for key, value in to_train().items() if key != 'num_gpu'}


@case(f'{BASICSR}253', 'weights without `params` around them', 'test', works=True)
def _() -> Any:
    return with_weights(**weights())


@case(f'{ESRGAN}743', 'weights under params_ema alone', 'test', works=True)
def _() -> Any:
    return with_weights(params_ema=weights())


@case(f'{BASICSR}485', 'images without metrics', 'test', works=True)
def _() -> Any:
    return to_test(val={'save_img': True})


@case(f'{ESRGAN}657', "pairs for a model that wants blur kernels: KeyError 'kernel1'", 'train',
      'RealESRGANModel', 'kernel1', 'RealESRGANDataset', 'high_order_degradation: false')
def _() -> Any:
    options = realesrgan('RealESRGANModel')
    options['datasets']['train'] = pairs(**{key: options_to_train()['datasets']['train'][key] for key in (
        'gt_size', 'use_hflip', 'use_rot', 'batch_size_per_gpu', 'num_worker_per_gpu')})
    return options


@case(f'{ESRGAN}588', 'a validation set that is not there', 'train',
      'datasets: val: dataroot_gt: path/to/gt does not exist')
def _() -> Any:
    options = to_train(val={'val_freq': 1, 'metrics': METRICS})
    options['datasets']['val'] = pairs(dataroot_gt='path/to/gt')
    return options


@case(f'{ESRGAN}470', 'a list of images elsewhere: img_bytes referenced before assignment', 'train',
      "meta_info: list.txt names 'DF2K_multiscale/000001_s0016T3.png', which is not in data/gt")
def _() -> Any:
    options = realesrgan('RealESRNetModel')
    Path('list.txt').write_text('DF2K_multiscale/000001_s0016T3.png\n')
    return options


@case(f'{ESRGAN}703', 'an empty list: division by zero', 'train', 'list.txt names no image')
def _() -> Any:
    options = realesrgan('RealESRNetModel')
    Path('list.txt').write_text('')
    return options


@case(f'{BASICSR}618', 'the list of sub-images for whole images', 'train',
      "names '0430_s037.png', which is not in data/gt")
def _() -> Any:
    Path('list.txt').write_text('0430_s037.png (480,480,3)\n')
    return to_train('datasets', 'train', 'meta_info_file', 'list.txt')


@case('https://github.com/XPixelGroup/HAT/issues/25', 'a list of which one image is missing', 'test', 'data/lq/d.png')
def _() -> Any:
    Path('list.txt').write_text('a.png (32,32,3)\nd.png (32,32,3)\n')
    return to_test('datasets', 'test_1', 'meta_info_file', 'list.txt')


@case(f'{BASICSR}672', 'weights of a run that has not been', 'train',
      'path: pretrain_network_g: experiments/psnr/models/net_g_1000000.pth does not exist')
def _() -> Any:
    return to_train(path={'pretrain_network_g': 'experiments/psnr/models/net_g_1000000.pth'})


@case(f'{ESRGAN}74', 'a data set of another package', 'train', "No dataset named 'BSRGANTrainDataset'")
def _() -> Any:
    return to_train('datasets', 'train', 'type', 'BSRGANTrainDataset')


@case(f'{BASICSR}723', 'a model of another package', 'train', "No model named 'RealSRTModel'")
def _() -> Any:
    return to_train('model_type', 'RealSRTModel')


@case('https://github.com/XPixelGroup/HAT/issues/87', 'a network of another package', 'profile', "No arch named 'HAT'")
def _() -> Any:
    return to_test('network_g', 'type', 'HAT')


@case(f'{BASICSR}419', 'a network whose file has another name', 'bench', "No arch named 'R2'")
def _() -> Any:
    return to_test('network_g', 'type', 'R2'), '--size', '16x16', '--rounds', '1'


@case(f'{BASICSR}243', 'other numbers of images in validation', 'train', 'datasets: val: ',
      'different number of images')
def _() -> Any:
    write_images(Path('val/gt'), 'ab', 32)
    options = to_train(val={'val_freq': 1, 'metrics': METRICS})
    options['datasets']['val'] = pairs(dataroot_gt='val/gt')
    return options


@case('https://github.com/icandle/CAMixerSR/issues/13', 'LR files of other names', 'test', 'a.png is not in lq_paths')
def _() -> Any:
    for name in 'abc':
        Path(f'data/lq/{name}.png').rename(f'data/lq/{name}_LR.png')
    return to_test()


@case('https://github.com/zhengchen1999/DAT/issues/54', 'filename_tmpl of another layout', 'train',
      'ax4.png is not in lq_paths')
def _() -> Any:
    return to_train('datasets', 'train', 'filename_tmpl', '{}x4')


@case('https://github.com/icandle/CAMixerSR/issues/29', 'ground truth that is smaller than the result', 'test',
      'data/lq/b.png is 16x16 and data/gt/b.png 30x32')
def _() -> Any:
    cv2.imwrite('data/gt/b.png', np.zeros((30, 32, 3), np.uint8))
    return to_test()


@case(f'{ESRGAN}742', 'LR images as large as HR images', 'train', 'is 32x32 and',
      'with scale 2 the latter has to be 64x64')
def _() -> Any:
    shutil.rmtree('data/lq')
    shutil.copytree('data/gt', 'data/lq')
    return to_train()


@case(f'{ESRGAN}409', 'LR images made with a factor of 0.248', 'train', 'with scale 2 the latter has to be 30x30')
def _() -> Any:
    shutil.rmtree('data/lq')
    write_images(Path('data/lq'), 'abc', 15)
    return to_train()


@case(f'{BASICSR}222', 'a crop that the scale does not divide', 'train', 'gt_size 16 is no multiple of scale 3; 15 is')
def _() -> Any:
    return changed(to_train('scale', 3), 'network_g', 'upscale', 3)


@case(f'{BASICSR}503', 'scale 2 and a network that is x4 by default', 'train', works=True)
def _() -> Any:
    return to_train(network_g=RRDB)


@case(f'{BASICSR}602', 'a scale that the network does not have', 'train', 'makes', '15x15', 'scale 5')
def _() -> Any:
    shutil.rmtree('data/lq')
    write_images(Path('data/lq'), 'abc', 6)
    shutil.rmtree('data/gt')
    write_images(Path('data/gt'), 'abc', 30)
    return changed(to_train(scale=5, network_g=RRDB), 'datasets', 'train', 'gt_size', 15)


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


@case('https://github.com/ByChelsea/CMOS/issues/2', 'weights that hold more than the network', 'freq',
      'net.pth does not fit MSRResNet', 'unexpected (cmos.conv1.weight)')
def _() -> Any:
    return with_weights(params={**weights(), 'cmos.conv1.weight': torch.zeros(3)}), '--images', 'data/gt'


@case('https://github.com/xinntao/ESRGAN/issues/6', 'weights of a deeper network', 'test',
      'net.pth holds MSRResNet with num_block 2, but the network has num_block 1')
def _() -> Any:
    return with_weights(params=weights({**NETWORK, 'num_block': 2}))


@case(f'{BASICSR}309', 'an option under its old name', 'train', "no option 'use_flip'. Did you mean use_hflip")
def _() -> Any:
    options = to_train()
    options['datasets']['train']['use_flip'] = options['datasets']['train'].pop('use_hflip')
    return options


@case(f'{BASICSR}309', 'a discriminator under its old name', 'train',
      "network_d: type: No arch named 'VGGStyleDiscriminator128'")
def _() -> Any:
    return changed(adversarial(), 'network_d', 'type', 'VGGStyleDiscriminator128')


@case(f'{BASICSR}264', 'an option that is missing, seen in a data worker', 'train',
      "datasets: train: 'gt_size' is missing")
def _() -> Any:
    options = to_train('datasets', 'train', 'num_worker_per_gpu', 1)
    del options['datasets']['train']['gt_size']
    return options


@case(f'{BASICSR}329', 'crops of 32 for the discriminator for 128', 'train', 'input_size is 128, but gt_size is 32')
def _() -> Any:
    return changed(adversarial(), 'datasets', 'train', 'gt_size', 32)


@case(f'{BASICSR}507', 'a discriminator for 384', 'train', 'VGGStyleDiscriminator cannot be built', 'input_size: 384')
def _() -> Any:
    return changed(changed(adversarial(), 'network_d', 'input_size', 384), 'datasets', 'train', 'gt_size', 384)


@case(f'{BASICSR}701', 'a key that is indented otherwise', 'train', 'line 4, column 2: did not find expected key')
def _() -> Any:
    return 'name: x\ndatasets:\n  train:\n gt_size: 3\n  val: 4\n'


@case('https://github.com/RangiLyu/nanodet/issues/219', 'a colon too many', 'train', 'mapping values are not allowed')
def _() -> Any:
    return 'name: x\nscale: 2: 3\n'


@case('https://github.com/hiyouga/LlamaFactory/issues/4014', 'a learning rate of 2e-5', 'train', works=True)
def _() -> Any:
    return yaml.safe_dump(to_train()).replace('lr: 0.001', 'lr: 2e-5')


@case(f'{BASICSR}679', 'weights as state to resume from', 'train', 'net.pth is no training state')
def _() -> Any:
    torch.save({'params': weights()}, 'net.pth')
    return to_train(path={'resume_state': 'net.pth'})


@case('https://github.com/kynthesis/StarSRGAN/issues/7', 'a state that is not there', 'train',
      'path: resume_state: experiments/tiny/training_states/5.state does not exist')
def _() -> Any:
    return to_train(path={'resume_state': 'experiments/tiny/training_states/5.state'})


@case(f'{BASICSR}718', 'resuming where no state was saved', 'train', works=True)
def _() -> Any:
    Path('experiments/tiny/training_states').mkdir(parents=True)
    return to_train(), '--auto_resume'


@case(f'{BASICSR}127', 'a gray image among colour images', 'test', works=True)
def _() -> Any:
    cv2.imwrite('data/lq/b.png', np.zeros((16, 16), np.uint8))
    cv2.imwrite('data/gt/b.png', np.zeros((32, 32), np.uint8))
    return to_test()


@case('https://github.com/sanghyun-son/EDSR-PyTorch/issues/69', 'a gray image among colour images',
      'calibrate', works=True)
def _() -> Any:
    cv2.imwrite('data/gt/b.png', np.zeros((32, 32), np.uint8))
    network = {'type': 'CARN_M', 'num_feat': 8, 'upscale': 2}
    torch.save(weights(network), 'net.pth')
    return to_test(network_g=network, path={'pretrain_network_g': 'net.pth'}), '--images', 'data/gt'


@case(f'{BASICSR}462', 'LMDBs whose keys differ', 'train', 'Keys in lq_folder and gt_folder are different')
def _() -> Any:
    from basicsr_amsr.cli import main
    assert main(['prepare', '--hr', 'data/gt', '--out', 'p', '--scale', '2', '--lmdb']) == 0
    list_ = Path('p/LR_bicubic_X2.lmdb/meta_info.txt')
    list_.write_text(list_.read_text().replace('.png', 'x4.png'))
    options = to_train('datasets', 'train', 'io_backend', {'type': 'lmdb'})
    options['datasets']['train'].update(dataroot_gt='p/HR.lmdb', dataroot_lq='p/LR_bicubic_X2.lmdb')
    return options


@case(f'{BASICSR}16', 'images of one name in several folders for one LMDB', 'prepare', 'would both become a.png',
      '--prefix')
def _() -> Any:
    write_images(Path('other'), 'ab', 32)
    return None, '--hr', 'data/gt', 'other', '--out', 'p', '--scale', '2', '--lmdb'


@case(f'{BASICSR}120', 'sub-images larger than the images, which stay whole', 'prepare', works=True)
def _() -> Any:
    return None, '--hr', 'data/gt', '--out', 'p', '--scale', '2', '--crop', '480'


@case('https://github.com/JingyunLiang/SwinIR/issues/32', 'images smaller than the crop', 'train', 'data/', '.png',
      'smaller')
def _() -> Any:
    return to_train('datasets', 'train', 'gt_size', 64)


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


def test_there_are_forty():
    assert len(CASES) >= 40 and all(one.link.startswith('https://github.com/') for one in CASES)
    assert {one.command for one in CASES} >= {'train', 'test', 'prepare', 'calibrate', 'profile', 'bench', 'freq'}


@pytest.mark.parametrize('one', CASES, ids=lambda one: f'{one.command}: {one.says}')
def test_a_mistake_made_in_public(basicsr, one):
    made = one.make()
    options, *words = made if isinstance(made, tuple) else (made,)
    if isinstance(options, str):
        Path('tiny.yml').write_text(options)
        options, words = None, ['-opt', 'tiny.yml', *words]
    logger.initialized_logger.pop('basicsr', None)
    before = contents()
    code, out, err = basicsr(one.command, options, *words)
    assert 'Traceback' not in err, one.link
    if one.parts is None:
        assert code == 0, (one.link, err)
        return
    lines = [line for line in err.splitlines() if line.startswith('basicsr: error: ')]
    assert code == 2 and lines, (one.link, code, out, err)
    assert any(all(part in line for part in one.parts) for line in lines), lines
    assert [path for path in contents() if path not in before and path not in ('experiments', 'results')] == []
