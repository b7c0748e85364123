"""Mistakes that people have made in public with `basicsr train`: each ends in its line, or is none here."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.conftest import METRICS, options_to_train, pairs, write_images
from tests.faults.public import BASICSR, ESRGAN, RRDB, Case, assert_said, changed, register, to_train, weights
from tests.faults.test_training import adversarial, realesrgan

CASES: list[Case] = []
case = register(CASES)


@case(f'{BASICSR}534', 'no num_gpu', 'train', works=True)
def _() -> Any:
    return {key: value for key, value in to_train().items() if key != 'num_gpu'}


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


@case(f'{BASICSR}243', 'other numbers of images in validation', 'train', 'datasets: val: ',
      'different number of images')
def _() -> Any:
    write_images(Path('val/gt'), 'ab', 32)
    options = to_train(val={'val_freq': 1, 'metrics': METRICS})
    options['datasets']['val'] = pairs(dataroot_gt='val/gt')
    return options


@case('https://github.com/zhengchen1999/DAT/issues/54', 'filename_tmpl of another layout', 'train',
      'ax4.png is not in lq_paths')
def _() -> Any:
    return to_train('datasets', 'train', 'filename_tmpl', '{}x4')


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


@case(f'{BASICSR}462', 'LMDBs whose keys differ', 'train', 'Keys in lq_folder and gt_folder are different')
def _() -> Any:
    from basicsr_amsr.cli import main
    assert main(['prepare', '--hr', 'data/gt', '--out', 'p', '--scale', '2', '--lmdb']) == 0
    list_ = Path('p/LR_bicubic_X2.lmdb/meta_info.txt')
    list_.write_text(list_.read_text().replace('.png', 'x4.png'))
    options = to_train('datasets', 'train', 'io_backend', {'type': 'lmdb'})
    options['datasets']['train'].update(dataroot_gt='p/HR.lmdb', dataroot_lq='p/LR_bicubic_X2.lmdb')
    return options


@case('https://github.com/JingyunLiang/SwinIR/issues/32', 'images smaller than the crop', 'train', 'data/', '.png',
      'smaller')
def _() -> Any:
    return to_train('datasets', 'train', 'gt_size', 64)


@pytest.mark.parametrize('one', CASES, ids=lambda one: f'{one.command}: {one.says}')
def test_a_mistake_made_in_public(basicsr, one):
    assert_said(basicsr, one)
