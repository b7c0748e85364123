"""Wrong option files, and the lines that `basicsr train` and `basicsr test` answer with.

    python -m tests.cli.wrong_options        runs all of them and prints what each one gets
"""
from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from basicsr_amsr.cli import main

MGA = """\
name: wrong
model_type: MGAModel
scale: 2
num_gpu: 0
datasets:
  train:
    type: BicubicPairedImageDataset
    dataroot_gt: images
    gt_size: 16
    batch_size_per_gpu: 1
    num_worker_per_gpu: 0
network_g:
  type: MGA
  backbone: {type: FSRCNN}
  k: 10
path:
  pretrain_network_g: ~
train:
  total_iter: 30
  steps:
    - {variant: D, iters: 20, warmup: 2}
    - {variant: M, iters: 10, warmup: 2}
  optim_g: {type: Adam, betas: [0.9, 0.99]}
  pixel_opt: {type: L1Loss, loss_weight: 10}
  coarse_opt: {type: L1Loss, loss_weight: 1}
  mask_opt: {type: L1Loss, loss_weight: 10}
logger:
  print_freq: 1
"""
SR = """\
name: wrong
model_type: SRModel
scale: 2
datasets:
  train:
    type: PairedImageDataset
    dataroot_gt: images
    dataroot_lq: small
    io_backend: {type: disk}
    gt_size: 16
    use_hflip: true
    use_rot: true
    batch_size_per_gpu: 1
    num_worker_per_gpu: 0
network_g: {type: MSRResNet, upscale: 2}
train:
  total_iter: 30
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: MultiStepLR, milestones: [10]}
  pixel_opt: {type: L1Loss}
val:
  val_freq: 10
  metrics:
    psnr: {type: calculate_psnr, crop_border: 2}
"""
AMSR = """\
name: wrong
model_type: AMSRModel
scale: 2
num_gpu: 0
datasets:
  train:
    type: BicubicPairedImageDataset
    dataroot_gt: images
    gt_size: 16
    batch_size_per_gpu: 1
    num_worker_per_gpu: 0
network_g:
  type: AMSR
  backbone: {type: CARN_M}
  selection: {keep: 0.5, patch_size: 8}
path:
  pretrain_network_g: CARN_M_x234
train:
  total_iter: 1
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingRestartLR, periods: [1]}
  pixel_opt: {type: L1Loss}
  teacher_opt: {type: L1Loss}
  keep_range: [0.4, 0.8]
"""
TEST = """\
name: wrong
model_type: SRModel
scale: 2
datasets:
  test: {type: BicubicPairedImageDataset, dataroot_gt: images}
network_g: {type: RFDN}
path: {pretrain_network_g: ~}
val: {save_img: true}
"""


class Wrong(NamedTuple):
    """An option file with a mistake.

    Attributes:
        says: what is wrong.
        file: the right file, of which `old` is replaced by `new`.
        lines: what stderr says behind 'basicsr: error: '.
        words: of the command line, behind `-opt wrong.yml`.
    """

    says: str
    file: str
    old: str
    new: str
    lines: tuple[str, ...]
    words: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The command that the file is for."""
        return ['test' if self.file is TEST else 'train']


CASES = [
    Wrong('unknown key at the top level', MGA, 'num_gpu: 0', 'num_gpus: 0',
          ("wrong.yml:4: there is no option 'num_gpus'. Did you mean num_gpu?",)),
    Wrong('key in the wrong section', MGA, 'num_gpu: 0', 'total_iter: 5',
          ("wrong.yml:4: there is no option 'total_iter'; it belongs under `train:`.",)),
    Wrong('unknown section', SR, 'val:\n', 'valid:\n',
          ("wrong.yml:21: there is no option 'valid'. Did you mean val?",)),
    Wrong('unknown key of train', MGA, '  optim_g', '  optim',
          ("wrong.yml:23: train: there is no option 'optim' here. Did you mean optim_g?",)),
    Wrong('unknown key of val', SR, 'val_freq', 'validation_freq',
          ("wrong.yml:22: val: there is no option 'validation_freq' here. Did you mean val_freq?",)),
    Wrong('unknown key of the network', MGA, '  k: 10', '  kk: 10',
          ("wrong.yml:15: network_g: MGA has no option 'kk'. Did you mean k?",)),
    Wrong('unknown key of a data set', MGA, 'gt_size: 16', 'gtsize: 16',
          ("wrong.yml:9: datasets: train: BicubicPairedImageDataset has no option 'gtsize'. Did you mean gt_size?",)),
    Wrong('unknown key of a BasicSR data set', SR, 'dataroot_lq: small', 'dataroot_lr: small',
          ("wrong.yml:8: datasets: train: PairedImageDataset has no option 'dataroot_lr'. Did you mean "
           'dataroot_lq, dataroot_gt, dataset_enlarge_ratio?',)),
    Wrong('unknown key of a loss', SR, '{type: L1Loss}', '{type: L1Loss, loss_weigth: 1.0}',
          ("wrong.yml:20: train: pixel_opt: L1Loss has no option 'loss_weigth'. Did you mean loss_weight?",)),
    Wrong('unknown key of a metric, which then lacks the right one', SR, 'crop_border: 2', 'crop_boarder: 2',
          ("wrong.yml:24: val: metrics: psnr: calculate_psnr has no option 'crop_boarder'. Did you mean "
           'crop_border, input_order?',)),
    Wrong('unknown phase', MGA, '  train:\n    type', '  trian:\n    type',
          ('wrong.yml:6: datasets: trian is no phase of training: write train or val, also with _1, _2 ….',)),
    Wrong('number in quotes', SR, 'total_iter: 30', "total_iter: '30'",
          ("wrong.yml:17: train: total_iter is '30': it has to be a whole number, 1 or more (without quotes).",)),
    Wrong('text instead of true or false', TEST, 'save_img: true', 'save_img: maybe',
          ("wrong.yml:8: val: save_img is 'maybe': it has to be true or false.",)),
    Wrong('a name instead of keys', SR, 'network_g: {type: MSRResNet, upscale: 2}', 'network_g: MSRResNet',
          ("wrong.yml:15: network_g has to hold keys, such as {type: RFDN}, not 'MSRResNet'.",)),
    Wrong('a name instead of a loss', SR, 'pixel_opt: {type: L1Loss}', 'pixel_opt: L1Loss',
          ("wrong.yml:20: train: pixel_opt is 'L1Loss': it has to be {type: …}.",)),
    Wrong('negative learning rate', SR, 'lr: 1e-4', 'lr: -1e-4',
          ('wrong.yml:18: train: optim_g: lr is -0.0001: it has to be a number above 0.',)),
    Wrong('betas out of range', MGA, '[0.9, 0.99]', '[0.9, 1.5]',
          ('wrong.yml:23: train: optim_g: betas is [0.9, 1.5]: it has to be a list of 2 numbers from 0 to below 1.',)),
    Wrong('too few betas', MGA, '[0.9, 0.99]', '[0.9]',
          ('wrong.yml:23: train: optim_g: betas is [0.9]: it has to be a list of 2 numbers from 0 to below 1.',)),
    Wrong('scale 0', MGA, 'scale: 2', 'scale: 0',
          ('wrong.yml:3: scale is 0: it has to be a whole number, 1 or more.',)),
    Wrong('two scales', SR, 'scale: 2\nd', 'scale: 4\nd',
          ('wrong.yml:15: network_g: upscale is 2, but scale is 4: make them agree, or leave upscale out.',)),
    Wrong('gt_size that is no multiple of the scale', MGA, 'gt_size: 16', 'gt_size: 15',
          ('wrong.yml:6: datasets: train: gt_size 15 is no multiple of scale 2; 14 is.',)),
    Wrong('negative k', MGA, 'k: 10', 'k: -10',
          ('wrong.yml:15: network_g: k is -10: it has to be a number of patches, a share of them from 0 to 1, '
           '{threshold: error}, or {budget: share of the MACs of D}.',)),
    Wrong('steps that do not add up', MGA, 'total_iter: 30', 'total_iter: 40',
          ('wrong.yml:18: train: total_iter is 40, but the steps add up to 30: make them agree.',)),
    Wrong('unknown variant', MGA, 'variant: M', 'variant: Mask',
          ("wrong.yml:22: train: steps #2: variant is 'Mask': it has to be B, D, A or M.",)),
    Wrong('warm-up longer than the step', MGA, 'warmup: 2}\n    - {variant: M, iters: 10, warmup: 2',
          'warmup: 30}\n    - {variant: M, iters: 10, warmup: 2',
          ('wrong.yml:21: train: steps #1: warmup 30 does not fit into a period of 20 iterations.',)),
    Wrong('step without length', MGA, 'variant: D, iters: 20, ', 'variant: D, ',
          ("wrong.yml:21: train: steps #1: 'iters' is missing: length of the step.",)),
    Wrong('learning rate in the wrong place', MGA, '{type: Adam, betas', '{type: Adam, lr: 1e-4, betas',
          ('wrong.yml:18: train: optim_g: lr has no effect with MGAModel: give lr, warmup_lr, min_lr in the steps.',)),
    Wrong('absent images, with a near name', MGA, 'images', 'image',
          ('wrong.yml:8: datasets: train: dataroot_gt: image does not exist. Did you mean images? Put the images'
           ' there or name their place, e.g. --force_yml datasets:train:dataroot_gt=FOLDER.',)),
    Wrong('absent list of images', MGA, 'dataroot_gt: images', 'dataroot_gt: images\n    meta_info_file: names.txt',
          ('wrong.yml:9: datasets: train: meta_info_file: names.txt does not exist. Put the list there or name '
           'its place, e.g. --force_yml datasets:train:meta_info_file=FILE.',)),
    Wrong('absent weights', MGA, 'pretrain_network_g: ~', 'pretrain_network_g: RFDN_x2.pth',
          ('wrong.yml:17: path: pretrain_network_g: RFDN_x2.pth does not exist. Name the file, or write ~ to '
           'start without it.',)),
    Wrong('absent weights of the plain network', MGA, 'pretrain_network_g: ~',
          'pretrain_network_backbone: FSRCNN_x4.pth',
          ("wrong.yml:17: path: pretrain_network_backbone: No weights 'FSRCNN_x4.pth', neither as a file nor among the"
           " project's own. Did you mean MGA_FSRCNN_x4, MGA_FSRCNN_x3, RFDN_x4?",)),
    Wrong('misspelt teacher', AMSR, '  teacher_opt', '  techer_opt',
          ("wrong.yml:23: train: there is no option 'techer_opt' here. Did you mean teacher_opt, pixel_opt, "
           'perceptual_opt?',)),
    Wrong('loss of the teacher without type', AMSR, 'teacher_opt: {type: L1Loss}', 'teacher_opt: {loss_weight: 1}',
          ("wrong.yml:23: train: teacher_opt: 'type' is missing: the name of one loss of `basicsr list loss`.",)),
    Wrong('misspelt weights of the teacher', AMSR, '  pretrain_network_g', '  pretrain_network_techer',
          ("wrong.yml:17: path: there is no option 'pretrain_network_techer' here. Did you mean "
           'pretrain_network_teacher, pretrain_network_g?',)),
    Wrong('teacher without weights', AMSR, 'pretrain_network_g: CARN_M_x234', 'pretrain_network_g: ~',
          ('wrong.yml:23: train: teacher_opt: the teacher has no weights: name those of the plain network in path: '
           'pretrain_network_g, or write ~ to train without teacher.',)),
    Wrong('keep above 1', AMSR, '[0.4, 0.8]', '[0.4, 8]',
          ('wrong.yml:24: train: keep_range is [0.4, 8]: it has to be a list of 2 numbers from 0 to 1.',)),
    Wrong('shares the wrong way round', AMSR, '[0.4, 0.8]', '[0.8, 0.4]',
          ('wrong.yml:18: train: keep_range is [0.8, 0.4]: give the least share first.',)),
    Wrong('shares for a network that keeps a budget', AMSR, 'selection: {keep: 0.5, patch_size: 8}', 'budget: 0.7',
          ('wrong.yml:24: train: keep_range decides alone what share is computed: leave out network_g: budget.',)),
    Wrong('another network with AMSRModel', AMSR, '  type: AMSR\n  backbone: {type: CARN_M}\n'
          '  selection: {keep: 0.5, patch_size: 8}', '  type: CARN_M',
          ('wrong.yml:13: network_g: type is CARN_M, but AMSRModel trains accelerated networks: write {type: AMSR, '
           'backbone: {type: CARN_M}}.',)),
    Wrong('absent state', MGA, 'pretrain_network_g: ~', 'resume_state: 500.state',
          ('wrong.yml:17: path: resume_state: 500.state does not exist. Name the file, or write ~ to start '
           'without it.',)),
    Wrong('unknown model', SR, 'SRModel', 'SRModell',
          ("wrong.yml:2: model_type: No model named 'SRModell'. Did you mean SRModel, AMSRModel, SRGANModel?",)),
    Wrong('unknown network', TEST, 'RFDN', 'RDFN',
          ("wrong.yml:6: network_g: type: No arch named 'RDFN'. Did you mean RFDN, RIDNet, DFDNet?",)),
    Wrong('unknown backbone', MGA, 'FSRCNN', 'FSRCN',
          ("wrong.yml:14: network_g: backbone: No backbone named 'FSRCN'. Did you mean FSRCNN, RCAN?",)),
    Wrong('unknown data set', MGA, 'BicubicPairedImageDataset', 'BicubicPairedImagesDataset',
          ("wrong.yml:7: datasets: train: type: No dataset named 'BicubicPairedImagesDataset'. Did you mean "
           'BicubicPairedImageDataset, PairedImageDataset, SingleImageDataset?',)),
    Wrong('unknown optimizer', SR, 'type: Adam', 'type: Adamm',
          ("wrong.yml:18: train: optim_g: type: No optimizer named 'Adamm'. Did you mean Adam?",)),
    Wrong('unknown scheduler', SR, 'MultiStepLR', 'StepLR',
          ("wrong.yml:19: train: scheduler: type: No scheduler named 'StepLR'. Did you mean MultiStepLR, "
           'MultiStepRestartLR?',)),
    Wrong('key that stands twice', MGA, 'scale: 2', 'scale: 2\nscale: 4',
          ("wrong.yml, line 4, column 1: the key 'scale' stands in line 3 already; take one out.",)),
    Wrong('required key missing', MGA, '  total_iter: 30\n', '',
          ("wrong.yml:18: train: 'total_iter' is missing: iterations of the whole run.",)),
    Wrong('scheduler missing', SR, '  scheduler: {type: MultiStepLR, milestones: [10]}\n', '',
          ("wrong.yml:16: train: 'scheduler' is missing: {type: MultiStepLR, …} or CosineAnnealingRestartLR.",)),
    Wrong('two mistakes at once', MGA, 'scale: 2\nnum_gpu: 0', 'scale: two\nnum_gpus: 0',
          ("wrong.yml:3: scale is 'two': it has to be a whole number, 1 or more.",
           "wrong.yml:4: there is no option 'num_gpus'. Did you mean num_gpu?")),
    Wrong('absent base file', MGA, 'name: wrong', 'base: othr.yml\nname: wrong',
          ('wrong.yml:1: base: othr.yml does not exist beside wrong.yml. Did you mean other.yml?',)),
    Wrong('base files in a circle', MGA, 'name: wrong', 'base: other.yml\nname: wrong',
          ('wrong.yml: base: the files name one another in a circle, wrong.yml → other.yml → wrong.yml: take one'
           ' `base:` out.',)),
    Wrong('unknown memory', MGA, 'gt_size: 16', 'gt_size: 16\n    memory: gpu',
          ("wrong.yml:10: datasets: train: memory is 'gpu': it has to be host or device.",)),
    Wrong('unknown amp', MGA, 'total_iter: 30', 'total_iter: 30\n  amp: fp16',
          ("wrong.yml:20: train: amp is 'fp16': it has to be bf16.",)),
    Wrong('unknown key of compile', MGA, 'total_iter: 30', 'total_iter: 30\n  compile: {model: x}',
          ("wrong.yml:20: train: compile: there is no option 'model' here. Did you mean mode?",)),
    Wrong('1 instead of true', MGA, 'total_iter: 30', 'total_iter: 30\n  channels_last: 1',
          ('wrong.yml:20: train: channels_last is 1: it has to be true or false.',)),
    Wrong('--force_yml without value', MGA, '', '',
          ("--force_yml 'train:lr': write key:key=value, such as train:ema_decay=0.999.",),
          ('--force_yml', 'train:lr')),
    Wrong('--force_yml with an unknown key', MGA, '', '',
          ("wrong.yml: --force_yml train:ema_dcay=0.9: train: there is no option 'ema_dcay' here. Did you mean "
           'ema_decay?',), ('--force_yml', 'train:ema_dcay=0.9')),
    Wrong('--force_yml below a plain value', MGA, '', '',
          ("--force_yml 'scale:x=1': scale is 2; there are no keys below it.",), ('--force_yml', 'scale:x=1')),
    Wrong('--demo without demo options', MGA, '', '',
          ('wrong.yml: --demo: the file has no `demo:` options.',), ('--demo',)),
    Wrong('test that asks for nothing', TEST, 'save_img: true', 'save_img: false',
          ('wrong.yml: val: asks for nothing; set save_img: true, or metrics: {psnr: {type: calculate_psnr, '
           'crop_border: 4, test_y_channel: true}}.',)),
    Wrong('no test set is there', TEST, 'images', 'Set5',
          ('wrong.yml: no test set is there: test: Set5 does not exist (datasets: test: dataroot_gt).',)),
    Wrong('unknown degradation', TEST, 'BicubicPairedImageDataset,',
          'DegradedPairDataset, degradations: [{type: GausianNoise, sigma: 5}],',
          ("wrong.yml:5: datasets: test: degradations #1: type: No transform named 'GausianNoise'. Did you mean "
           'GaussianNoise, PoissonGaussianNoise, GaussianBlur?',)),
]


def make_project() -> None:
    """In the current folder: images of two sizes, and a file that has the wrong one as its base."""
    for folder, size in (('images', 32), ('small', 16)):
        Path(folder).mkdir()
        cv2.imwrite(f'{folder}/a.png', np.zeros((size, size, 3), np.uint8))
    Path('other.yml').write_text('base: wrong.yml\n')


def run(case: Wrong) -> tuple[int, list[str]]:
    """The exit code, and the lines of stderr, of the command in the current folder."""
    Path('wrong.yml').write_text(case.file.replace(case.old, case.new, 1), encoding='utf-8')
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main([*case.command, '-opt', 'wrong.yml', *case.words])
    return code, stderr.getvalue().splitlines()


def print_all() -> None:
    """Run every case and print what is wrong with it, and the lines that it gets."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_project()
        for number, case in enumerate(CASES, start=1):
            code, lines = run(case)
            print(f'{number}. {case.says} (exit code {code})', *lines, sep='\n   ')
        os.chdir('/')


if __name__ == '__main__':
    print_all()
