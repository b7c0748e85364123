"""A tiny plain network, its weights, a calibration, and options that fine-tune it as AMSR."""
import copy

import torch

from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.models.amsr_model import AMSRModel
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.models.iterating import iterate, run_options

PLAIN = {'type': 'MSRResNet', 'upscale': 2, 'num_feat': 8, 'num_block': 2}
SELECTION = {'keep': 0.5, 'patch_size': 4}


def options(tmp_path, network=None, path=None, **train):
    opt = run_options(
        tmp_path, {'type': 'AMSR', 'backbone': PLAIN, 'selection': SELECTION, **(network or {})},
        **{'total_iter': 9, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
           'scheduler': {'type': 'MultiStepLR', 'milestones': [100]},
           'pixel_opt': {'type': 'L1Loss', 'loss_weight': 0.75},
           'teacher_opt': {'type': 'MSELoss', 'loss_weight': 20.0}, **train})
    opt['path'].update({'pretrain_network_g': plain_weights(tmp_path), **(path or {})})
    return opt


def plain_network(seed=0):
    """The plain network with weights at which no unit is nearly the identity."""
    torch.manual_seed(seed)
    net = get_backbone('MSRResNet').create(**{key: value for key, value in PLAIN.items() if key != 'type'})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.15)
    return net


def plain_weights(tmp_path, seed=0):
    file = tmp_path / f'plain{seed}.pth'
    torch.save({'params': plain_network(seed).state_dict()}, file)
    return str(file)


def calibration(tmp_path):
    """Options of a network with predictions for `plain_network`."""
    images = [torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    calibration = calibrate(plain_network().eval(), images, HighFrequencyMask(**SELECTION), one_level=False)
    calibration.save(tmp_path / 'plain.amsr')
    return {'selection': None, 'calibration': str(tmp_path / 'plain.amsr')}


def resumed(tmp_path, opt, iteration):
    """A model that goes on from what another one saves after its first iterations."""
    model = AMSRModel(copy.deepcopy(opt))
    iterate(model, range(1, iteration + 1))
    model.save(0, iteration)
    state = torch.load(tmp_path / 'training_states' / f'{iteration}.state', weights_only=True)
    # as load_resume_state leaves the options
    opt['resumed'] = {'path': dict(opt['path'])}
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models' / f'net_g_{iteration}.pth')
    model = AMSRModel(opt)
    model.resume_training(state)
    return model
