"""Trainings that went wrong in public: discriminators, schedules, losses that are no numbers, two runs of one name."""
import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_amsr.errors import UserError
from basicsr_amsr.finite import LossWatch
from tests.cli.conftest import METRICS, options_to_test, options_to_train, pairs, write_images
from tests.faults.lines import mistake

NETWORKS = {'AMSR': {'type': 'AMSR', 'backbone': {'type': 'CARN_M', 'num_feat': 16},
                     'selection': {'keep': 0.5, 'patch_size': 4}},
            'MGA': {'type': 'MGA', 'backbone': {'type': 'FSRCNN'}, 'k': 10}}
DISCRIMINATORS = {'VGG': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4},
                  'UNet': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}}
GAN = {'optim_d': {'type': 'Adam', 'lr': 1e-4}, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}}
MODELS, STATES = Path('experiments/tiny/models'), Path('experiments/tiny/training_states')


def adversarial(model='SRGANModel', generator='AMSR', discriminator='VGG', **train):
    write_images(Path('large/gt'), 'ab', 128)
    write_images(Path('large/lq'), 'ab', 64)
    options = options_to_train(model_type=model, network_g=copy.deepcopy(NETWORKS[generator]),
                               network_d=copy.deepcopy(DISCRIMINATORS[discriminator]))
    options['datasets']['train'].update(dataroot_gt='large/gt', dataroot_lq='large/lq', gt_size=128)
    options['train'].update(**GAN, **train)
    return options


@pytest.mark.parametrize(('model', 'generator', 'discriminator', 'train'), [
    ('SRGANModel', 'AMSR', 'VGG', {}), ('ESRGANModel', 'AMSR', 'VGG', {'ema_decay': 0.9}),
    ('SRGANModel', 'MGA', 'VGG', {}),
    ('SRGANModel', 'AMSR', 'VGG', {'channels_last': True}), ('ESRGANModel', 'AMSR', 'UNet', {})])
def test_accelerated_generators_train_with_discriminators(basicsr, model, generator, discriminator, train):
    options = adversarial(model, generator, discriminator, **train)
    code, _, err = basicsr('train', options)
    assert code == 0, err
    options['train']['total_iter'] = 3
    code, _, err = basicsr('train', options, '--auto_resume')
    assert code == 0, err
    assert {'net_g_2.pth', 'net_d_2.pth', 'net_g_latest.pth'} <= {file.name for file in MODELS.iterdir()}


@pytest.mark.parametrize('model', ['RealESRGANModel', 'RealESRNetModel'])
def test_realesrgan_on_the_cpu(basicsr, model):
    code, _, err = basicsr('train', realesrgan(model))
    assert code == 0, err


def realesrgan(model):
    degradation = {key: value for number in ('', '2') for key, value in {
        f'blur_kernel_size{number}': 7, f'kernel_list{number}': ['iso'], f'kernel_prob{number}': [1.0],
        f'sinc_prob{number}': 0.1, f'blur_sigma{number}': [0.2, 3], f'betag_range{number}': [0.5, 4],
        f'betap_range{number}': [1, 2]}.items()}
    synthesis = {key: value for number in ('', '2') for key, value in {
        f'resize_prob{number}': [0.2, 0.7, 0.1], f'resize_range{number}': [0.5, 1.5],
        f'gaussian_noise_prob{number}': 0.5, f'noise_range{number}': [1, 30], f'poisson_scale_range{number}': [0.05, 3],
        f'gray_noise_prob{number}': 0.4, f'jpeg_range{number}': [30, 95]}.items()}
    Path('list.txt').write_text('a.png\nb.png\nc.png\n')
    options = options_to_train(model_type=model, second_blur_prob=0.8, gt_size=32, queue_size=1, **synthesis)
    options['datasets']['train'] = {
        'type': 'RealESRGANDataset', 'dataroot_gt': 'data/gt', 'meta_info': 'list.txt', 'io_backend': {'type': 'disk'},
        'final_sinc_prob': 0.8, 'gt_size': 32, 'use_hflip': True, 'use_rot': False, 'num_worker_per_gpu': 0,
        'batch_size_per_gpu': 1, **degradation}
    if model == 'RealESRNetModel':
        return {**options, 'gt_usm': True}
    options['train'].update(**GAN)
    sharp = {'l1_gt_usm': True, 'percep_gt_usm': True, 'gan_gt_usm': False}
    return {**options, 'network_d': DISCRIMINATORS['UNet'], **sharp}


def test_a_discriminator_for_another_size(basicsr):
    options = adversarial()
    options['network_d']['input_size'] = 256
    assert 'network_d: input_size is 256, but gt_size is 128' in mistake(basicsr, 'train', options)


def rates():
    log = max(Path('experiments/tiny').glob('*.log'), key=lambda file: file.stat().st_mtime).read_text()
    return log, [float(line.split('lr:(')[1].split(',')[0]) for line in log.splitlines() if 'lr:(' in line]


def test_a_finished_training_goes_on_with_a_longer_schedule(basicsr):
    options = options_to_train()
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [2]}
    assert basicsr('train', options)[0] == 0
    options['train'].update(total_iter=6, scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [6]})
    assert basicsr('train', options, '--auto_resume')[0] == 0
    log, resumed = rates()
    assert 'Resumed with another schedule: periods was [2] and is [6]: that of the options counts.' in log
    assert basicsr('train', options)[0] == 0
    assert resumed == rates()[1][2:] and len(resumed) == 4


def test_other_milestones_count_as_if_they_had_been_there_from_the_start(basicsr):
    options = options_to_train()
    options['train'].update(total_iter=4, scheduler={'type': 'MultiStepLR', 'milestones': [100]})
    assert basicsr('train', options)[0] == 0
    options['train'].update(total_iter=6, scheduler={'type': 'MultiStepLR', 'milestones': [3, 5]})
    options['train']['optim_g']['lr'] = 2e-3
    assert basicsr('train', options, '--auto_resume')[0] == 0
    log, resumed = rates()
    assert 'milestones was [100] and is [3, 5]' in log and 'base_lrs was [0.001] and is [0.002]' in log
    assert resumed == pytest.approx([2e-4, 2e-5])


def test_a_schedule_that_stays_is_not_mentioned(basicsr):
    options = options_to_train()
    basicsr('train', options)
    options['train']['total_iter'] = 3
    assert basicsr('train', options, '--auto_resume')[0] == 0
    assert 'another schedule' not in rates()[0]


def fail_from(monkeypatch, iteration, value=float('nan')):
    """Losses that are not finite from an iteration on; weights stay as they are."""
    from basicsr.losses.basic_loss import L1Loss
    calls, forward = [], L1Loss.forward

    def failing(self, *args, **kwargs):
        calls.append(1)
        loss = forward(self, *args, **kwargs)
        return loss * 0 + torch.tensor(value) if len(calls) >= iteration else loss * 0

    monkeypatch.setattr(L1Loss, 'forward', failing)
    monkeypatch.setattr(torch.optim.Adam, 'step', lambda self, closure=None: None)
    return calls


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_ten_losses_in_a_row_that_are_not_finite(basicsr, monkeypatch, value):
    calls = fail_from(monkeypatch, 4, value)
    options = options_to_train()
    options['train']['total_iter'] = 40
    code, _, err = basicsr('train', options)
    line = err.splitlines()[-1]
    assert code == 2 and len(calls) == 13
    assert 'l_pix was not finite 10 times in a row, at learning rate 0.0001' in line


def test_nine_in_a_row_are_passed_over():
    watch, model = LossWatch(), type('Model', (), {'optimizers': []})()
    for value in [float('nan')] * 9 + [1.0] + [float('nan')] * 9:
        watch.see(model, ['l_pix'], torch.tensor([value]))
    with pytest.raises(UserError, match='l_pix was not finite 10 times in a row'):
        watch.see(model, ['l_pix'], torch.tensor([float('nan')]))


def test_steps_that_a_grad_scaler_skips_do_not_count():
    class Scaler(torch.amp.GradScaler):
        scale = 1024.0

        def is_enabled(self):
            return True

        def get_scale(self):
            return self.scale

    model = type('Model', (), {'optimizers': []})()
    model.scaler, watch = Scaler('cpu'), LossWatch()
    watch.see(model, ['l_pix'], torch.tensor([1.0]))
    for _ in range(30):
        model.scaler.scale /= 2
        watch.see(model, ['l_pix'], torch.tensor([float('inf')]))
    for _ in range(9):
        watch.see(model, ['l_pix'], torch.tensor([float('inf')]))
    with pytest.raises(UserError):
        watch.see(model, ['l_pix'], torch.tensor([float('inf')]))


@pytest.mark.parametrize('decay', [0, 0.9])
def test_weights_that_are_not_finite_are_never_saved(basicsr, decay):
    options = options_to_train()
    options['train'].update(total_iter=40, ema_decay=decay, optim_g={'type': 'Adam', 'lr': 1e30})
    options['logger']['save_checkpoint_freq'] = 1
    code, _, err = basicsr('train', options)
    assert code == 2 and 'tensors hold values that are not finite' in err.splitlines()[-1]
    files = [*MODELS.iterdir()]
    assert files and all(tensor.isfinite().all() for file in files for key in ('params', 'params_ema')
                         for tensor in torch.load(file, weights_only=True).get(key, {}).values())
    assert {file.stem.removeprefix('net_g_') for file in files} == {file.stem for file in STATES.iterdir()}


def test_a_second_run_of_the_same_name(basicsr):
    options = options_to_train()
    options['train']['total_iter'] = 100_000
    Path('first.yml').write_text(yaml.safe_dump(options))
    process = subprocess.Popen([sys.executable, '-m', 'basicsr_amsr', 'train', '-opt', 'first.yml'],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(MODELS.glob('net_g_*.pth')), process)
        options['train']['total_iter'] = 2
        for words in ((), ('--auto_resume',)):
            code, _, err = basicsr('train', options, *words)
            assert code == 2 and 'another run of this name is at work in' in err.splitlines()[-1]
        assert [folder.name for folder in Path('experiments').iterdir()] == ['tiny']
    finally:
        process.send_signal(signal.SIGKILL if os.name == 'posix' else signal.SIGTERM)
        process.wait()
    code, _, err = basicsr('train', options)  # what a killed process leaves behind is no obstacle
    assert code == 0, err
    assert len(list(Path('experiments').iterdir())) == 2 and not list(Path('experiments/tiny').glob('.lock'))


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


def test_the_last_validation_runs_once(basicsr):
    options = options_to_train(val={'val_freq': 1, 'metrics': METRICS})
    options['datasets']['val'] = pairs(name='V')
    assert basicsr('train', options)[0] == 0
    entries = [json.loads(line) for line in Path('experiments/tiny/validation.jsonl').read_text().splitlines()]
    assert [(one['iter'], one['metric']) for one in entries] == [(1, 'psnr'), (1, 'ssim'), (2, 'psnr'), (2, 'ssim')]
    options['val']['val_freq'] = 5
    assert basicsr('train', options)[0] == 0
    assert len(Path('experiments/tiny/validation.jsonl').read_text().splitlines()) == 2


def test_memory_that_runs_out_in_training(basicsr, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB')

    monkeypatch.setattr('basicsr.archs.srresnet_arch.MSRResNet.forward', full)
    line = mistake(basicsr, 'train', options_to_train())
    assert 'memory ran out in training: lower datasets: train: batch_size_per_gpu or gt_size' in line


@pytest.mark.parametrize('error', [torch.OutOfMemoryError('CUDA out of memory'), MemoryError(), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried …")])
def test_memory_that_runs_out_in_a_test(basicsr, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr('basicsr.archs.srresnet_arch.MSRResNet.forward', full)
    line = mistake(basicsr, 'test', options_to_test())
    assert 'data/lq/a.png and data/gt/a.png (16x16): memory ran out.' in line and 'tile: 256' in line
