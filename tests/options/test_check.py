"""What is none of our business is not refused: BasicSR's own models and data sets, and classes that nobody knows."""
from __future__ import annotations

import importlib
import sys

import pytest

from basicsr_amsr.options.check import check
from basicsr_amsr.options.plain_yaml import parse_value
from basicsr_amsr.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

LOADER = 'io_backend: {type: disk}, batch_size_per_gpu: 4, num_worker_per_gpu: 2, prefetch_mode: ~'
OPTIM = '{type: Adam, lr: 1e-4, weight_decay: 0, betas: [0.9, 0.99]}'
PERCEPTUAL = ('{type: PerceptualLoss, layer_weights: {conv5_4: 1}, vgg_type: vgg19, use_input_norm: true, '
              'range_norm: false, perceptual_weight: 1.0, style_weight: 0, criterion: l1}')
GAN = '{type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: 5e-3}'
STEPS = '{type: MultiStepLR, milestones: [5000], gamma: 0.5}'
RESTART = '{type: CosineAnnealingRestartLR, periods: [1000000], restart_weights: [1], eta_min: 1e-7}'
TRAIN = (f'ema_decay: 0.999, optim_g: {OPTIM}, scheduler: {STEPS}, '
         'total_iter: !!float 1e6, warmup_iter: -1, pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}')
ADVERSARIAL = f'optim_d: {OPTIM}, perceptual_opt: {PERCEPTUAL}, gan_opt: {GAN}, net_d_iters: 1, net_d_init_iters: 0'
REST = ('path: {pretrain_network_g: ~, param_key_g: params, strict_load_g: true, resume_state: ~}, '
        'val: {val_freq: !!float 5e3, save_img: false, pbar: false, '
        'metrics: {psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false, better: higher}}}, '
        'logger: {print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: true, '
        'wandb: {project: ~, resume_id: ~}}, dist_params: {backend: nccl, port: 29500}, manual_seed: 0, num_gpu: 1')
PAIRS = 'type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, use_hflip: true, use_rot: true, gt_size: 128'
CLIPS = ('type: REDSRecurrentDataset, dataroot_gt: gt, dataroot_lq: lq, meta_info_file: list.txt, test_mode: false, '
         'val_partition: REDS4, num_frame: 15, gt_size: 256, interval_list: [1], random_reverse: false, '
         'use_hflip: true, use_rot: true')
DEGRADED = ('type: RealESRGANDataset, dataroot_gt: gt, meta_info: list.txt, blur_kernel_size: 21, kernel_list: [iso], '
            'kernel_prob: [1.0], sinc_prob: 0.1, blur_sigma: [0.2, 3], betag_range: [0.5, 4], betap_range: [1, 2], '
            'blur_kernel_size2: 21, kernel_list2: [iso], kernel_prob2: [1.0], sinc_prob2: 0.1, blur_sigma2: [0.2, 1], '
            'betag_range2: [0.5, 4], betap_range2: [1, 2], final_sinc_prob: 0.8, gt_size: 256, use_hflip: true, '
            'use_rot: false')
DEGRADATIONS = ('l1_gt_usm: true, percep_gt_usm: true, gan_gt_usm: false, resize_prob: [0.2, 0.7, 0.1], resize_range: '
                '[0.1, 1.5], gaussian_noise_prob: 0.5, noise_range: [1, 30], poisson_scale_range: [0.05, 3], '
                'gray_noise_prob: 0.4, jpeg_range: [30, 95], second_blur_prob: 0.8, resize_prob2: [0.3, 0.4, 0.3], '
                'resize_range2: [0.3, 1.2], gaussian_noise_prob2: 0.5, noise_range2: [1, 25], gray_noise_prob2: 0.4, '
                'poisson_scale_range2: [0.05, 2.5], jpeg_range2: [30, 95], gt_size: 256, queue_size: 180')
FACES = ('type: FFHQDataset, dataroot_gt: ffhq.lmdb, use_hflip: true, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], '
         'io_backend: {type: lmdb}, batch_size_per_gpu: 4, num_worker_per_gpu: 2')

# As BasicSR's own option files have them: model, top level, training images, network, train.
IN_TRAINING = {
    'EDSR': ('SRModel', 'scale: 2', f'{PAIRS}, {LOADER}, meta_info_file: list.txt, filename_tmpl: "{{}}x2"',
             'type: EDSR, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 16, upscale: 2, res_scale: 1, '
             'img_range: 255., rgb_mean: [0.4488, 0.4371, 0.4040]', TRAIN),
    'SwinIR': ('SwinIRModel', 'scale: 2', f'{PAIRS}, {LOADER}, use_shuffle: true',
               'type: SwinIR, upscale: 2, in_chans: 3, img_size: 48, window_size: 8, img_range: 1., depths: [6, 6], '
               "embed_dim: 180, num_heads: [6, 6], mlp_ratio: 2, upsampler: pixelshuffle, resi_connection: 1conv",
               TRAIN),
    'ESRGAN': ('ESRGANModel', 'scale: 4, network_d: {type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 64}',
               f'{PAIRS}, {LOADER}', 'type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23',
               f'{TRAIN}, {ADVERSARIAL}'),
    'RealESRGAN': ('RealESRGANModel', 'scale: 4, network_d: {type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 64, '
                   f'skip_connection: true}}, {DEGRADATIONS}', f'{DEGRADED}, {LOADER}',
                   'type: RRDBNet, num_in_ch: 3, num_out_ch: 3', f'{TRAIN}, {ADVERSARIAL}'),
    'EDVR': ('EDVRModel', 'scale: 4, find_unused_parameters: true',
             f'{CLIPS}, {LOADER}'.replace('REDSRecurrentDataset', 'REDSDataset'),
             'type: EDVR, num_feat: 64, num_frame: 5, deformable_groups: 8, center_frame_idx: ~, with_tsa: true',
             f'{TRAIN}, tsa_iter: 50000, dcn_lr_mul: 1'),
    'BasicVSR': ('VideoRecurrentModel', 'scale: 4', f'{CLIPS}, {LOADER}',
                 'type: BasicVSR, num_feat: 64, num_block: 30, spynet_path: ~',
                 f'{TRAIN}, fix_flow: 5000, flow_lr_mul: 0.125'.replace(STEPS, RESTART)),
    'StyleGAN2': ('StyleGAN2Model', 'network_d: {type: StyleGAN2Discriminator, out_size: 256, channel_multiplier: 2, '
                  'resample_kernel: [1, 3, 3, 1]}', FACES,
                  'type: StyleGAN2Generator, out_size: 256, num_style_feat: 512, num_mlp: 8, channel_multiplier: 2, '
                  'resample_kernel: [1, 3, 3, 1], lr_mlp: 0.01',
                  'optim_g: {type: Adam, lr: 2e-3}, optim_d: {type: Adam, lr: 2e-3}, total_iter: 800000, '
                  'warmup_iter: -1, net_d_iters: 1, net_d_init_iters: 0, scheduler: {type: MultiStepLR, milestones: '
                  '[600000], gamma: 0.5}, gan_opt: {type: GANLoss, gan_type: wgan_softplus, loss_weight: 1.0}, '
                  'r1_reg_weight: 10, path_reg_weight: 2, path_batch_shrink: 2, mixing_prob: 0.9, '
                  'net_g_reg_every: 4, net_d_reg_every: 16'),
}

IN_TESTS = {
    'SRResNet': ('SRModel', 'test_1: {type: PairedImageDataset, name: Set5, dataroot_gt: gt, dataroot_lq: lq, '
                 "filename_tmpl: '{}x4', io_backend: {type: disk}}", 'type: MSRResNet, num_in_ch: 3, upscale: 4'),
    'no HR': ('ESRGANModel', 'test_1: {type: SingleImageDataset, name: Set5, dataroot_lq: lq, '
              'io_backend: {type: disk}}', 'type: RRDBNet, num_in_ch: 3, num_out_ch: 3'),
    'DUF': ('VideoBaseModel', 'test: {type: VideoTestDUFDataset, name: Vid4, dataroot_gt: gt, dataroot_lq: lq, '
            'io_backend: {type: disk}, cache_data: false, num_frame: 7, padding: reflection_circle, '
            'use_duf_downsampling: true}', 'type: DUF, scale: 4, num_layer: 52, adapt_official_weights: true'),
    'Vimeo': ('VideoRecurrentModel', 'test: {type: VideoTestVimeo90KDataset, name: Vimeo, dataroot_gt: gt, '
              'dataroot_lq: lq, meta_info_file: list.txt, io_backend: {type: disk}, cache_data: false, num_frame: 7}',
              'type: IconVSR, num_feat: 64, num_block: 30, keyframe_stride: 5, temporal_padding: 2'),
}


def lines(options, is_train=True):
    return [problem.text for problem in check(options, is_train)]


@pytest.mark.parametrize('name', IN_TRAINING)
def test_training_files_of_basicsr(name):
    model, top, images, network, train = IN_TRAINING[name]
    text = (f'name: x, model_type: {model}, {top}, datasets: {{train: {{name: X, {images}}}}}, '
            f'network_g: {{{network}}}, train: {{{train}}}, {REST}')
    assert lines(parse_value(f'{{{text}}}')) == []


@pytest.mark.parametrize('name', IN_TRAINING)
def test_a_misspelt_key_in_each_of_them_is_noticed(name):
    model, top, images, network, train = IN_TRAINING[name]
    text = (f'name: x, model_type: {model}, {top}, datasets: {{train: {{name: X, {images}}}}}, '
            f'network_g: {{{network}}}, train: {{{train}, warmup_itr: 5}}, {REST}, manual_sed: 1')
    assert [line.split('?')[0].split(',')[0] for line in lines(parse_value(f'{{{text}}}'))] == [
        "there is no option 'manual_sed'. Did you mean manual_seed",
        "train: there is no option 'warmup_itr' here. Did you mean warmup_iter"]


@pytest.mark.parametrize('name', IN_TESTS)
def test_test_files_of_basicsr(name):
    model, datasets, network = IN_TESTS[name]
    text = (f'name: x, model_type: {model}, scale: 4, num_gpu: 1, datasets: {{{datasets}}}, network_g: {{{network}}}, '
            'path: {pretrain_network_g: ~, strict_load_g: true}, val: {save_img: true, suffix: ~, metrics: ~}')
    assert lines(parse_value(f'{{{text}}}'), is_train=False) == []


def test_a_key_that_is_said_where_it_belongs_too_is_no_mistake():
    options = {'name': 'x', 'model_type': 'SRModel', 'save_img': True, 'network_g': {'type': 'MSRResNet'},
               'datasets': {'test': {'type': 'SingleImageDataset', 'dataroot_lq': 'lq'}}, 'val': {'save_img': True}}
    assert lines(options, is_train=False) == []
    options['val']['save_img'] = False
    assert lines(options, is_train=False) == ["there is no option 'save_img'; it belongs under `val:`."]


OWN = """
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

@MODEL_REGISTRY.register()
class OwnModel(SRModel):
    def init_training_settings(self):
        self.weight = self.opt['train']['own_weight']
        self.own = self.opt.get('own_key')

@DATASET_REGISTRY.register()
class OwnDataset(torch.utils.data.Dataset):
    def __init__(self, opt):
        self.folder, self.rate = opt['own_folder'], opt.get('own_rate', 0.5)

@ARCH_REGISTRY.register()
class OpenNetwork(torch.nn.Module):
    def __init__(self, width, **more):
        super().__init__()
        self.options = {'width': width, **more}

@LOSS_REGISTRY.register()
def own_loss(weight=1.0):
    return weight

@METRIC_REGISTRY.register()
def own_metric(img, img2, border, **kwargs):
    return border
"""


@pytest.fixture
def own_classes(tmp_path, monkeypatch):
    """Classes of a user that declare none of their options."""
    registries = (MODEL_REGISTRY, DATASET_REGISTRY, ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY)
    before = [dict(registry._obj_map) for registry in registries]
    (tmp_path / 'own_classes.py').write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module('own_classes')
    yield
    del sys.modules['own_classes']
    for registry, names in zip(registries, before, strict=True):
        registry._obj_map = names


def test_classes_that_declare_nothing(own_classes):
    options = {
        'name': 'x', 'model_type': 'OwnModel', 'own_key': 3,
        'datasets': {'train': {'type': 'OwnDataset', 'own_folder': 'f', 'own_rate': 0.25, 'batch_size_per_gpu': 1,
                               'num_worker_per_gpu': 0}},
        'network_g': {'type': 'OpenNetwork', 'width': 8, 'anything': [1, 2]},
        'train': {'total_iter': 5, 'own_weight': 2.0, 'pixel_opt': {'type': 'own_loss', 'weight': 2.0}},
        'val': {'metrics': {'own': {'type': 'own_metric', 'border': 2}}},
    }
    assert lines(options) == []
    options['train'].update(own_wieght=1.0, pixel_opt={'type': 'own_loss', 'wieght': 2.0})
    del options['network_g']['width']
    assert sorted(lines(options)) == [
        "network_g: 'width' is missing.",
        "train: pixel_opt: own_loss has no option 'wieght'. Did you mean weight?",
        "train: there is no option 'own_wieght' here. Did you mean own_weight?"]
