"""Whatever building a network, loss, data set, optimizer, scheduler or logger raises is a line with key and values."""
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from basicsr.archs.rcan_arch import RCAN

from basicsr_amsr.errors import UserError
from basicsr_amsr.reasons import building, reason
from basicsr_amsr.registry import REGISTRIES
from tests.cli.conftest import error_line, options_to_test, options_to_train
from tests.faults.lines import mistake, mistakes

NETWORKS = {
    'groups': ({'type': 'CARN_M', 'num_feat': 30}, 'CARN_M cannot be built with num_feat: 30', 'divisible by groups'),
    'empty layer': ({'type': 'RCAN', 'num_feat': 8, 'num_in_ch': 3, 'num_out_ch': 3},
                    'RCAN cannot be built with num_feat: 8', 'a layer would have no weights'),
    'blocks': ({'type': 'MSRResNet', 'num_block': 'many'}, 'MSRResNet', 'num_block'),
    'scale': ({'type': 'RFDN', 'upscale': 5}, 'RFDN', '5 is not among 2, 3, 4'),
}


@pytest.mark.parametrize('case', NETWORKS)
@pytest.mark.parametrize('command', ['train', 'test', 'profile'])
def test_values_that_a_network_refuses(basicsr, command, case):
    network, *parts = NETWORKS[case]
    options = (options_to_train if command == 'train' else options_to_test)(network_g=network)
    options['scale'] = network.get('upscale', 2)
    if command == 'test' and options['scale'] != 2:
        pytest.skip('its images are not of that scale, which is told before')
    if command == 'train':
        options['datasets']['train']['gt_size'] = 20
    line = mistake(basicsr, command, options)
    assert 'network_g: ' in line and all(part in line for part in parts), line


def test_values_that_a_discriminator_refuses(basicsr):
    options = options_to_train(model_type='SRGANModel', network_d={'type': 'VGGStyleDiscriminator', 'num_in_ch': 3,
                                                                   'num_feat': 4, 'input_size': 100})
    options['datasets']['train']['gt_size'] = 100
    options['train'].update(optim_d={'type': 'Adam', 'lr': 1e-4}, gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla'})
    line = mistake(basicsr, 'train', options)
    assert 'network_d: VGGStyleDiscriminator cannot be built with' in line and 'input_size: 100' in line


@pytest.mark.parametrize('name', ['RCAN', 'EDSR', 'RRDBNet'])
def test_each_of_two_missing_keys_has_its_line(basicsr, name):
    lines = mistakes(basicsr, 'test', options_to_test(network_g={'type': name}))
    assert [line.split("'")[1] for line in lines] == ['num_in_ch', 'num_out_ch']


def test_missing_optimizers_have_a_line_each(basicsr):
    options = options_to_train(model_type='SRGANModel', network_d={'type': 'VGGStyleDiscriminator', 'num_in_ch': 3,
                                                                   'num_feat': 4})
    del options['train']['optim_g']
    assert [line.split("'")[1] for line in mistakes(basicsr, 'train', options)] == ['optim_g', 'optim_d']


LOSSES = {
    'reduction': ({'type': 'L1Loss', 'reduction': 'most'}, 'Unsupported reduction mode: most'),
    'gan_type': ({'type': 'GANLoss', 'gan_type': 'best'}, 'best'),
}


@pytest.mark.parametrize('case', LOSSES)
def test_values_that_a_loss_refuses(basicsr, case):
    loss, part = LOSSES[case]
    options = options_to_train()
    options['train']['pixel_opt'] = loss
    line = mistake(basicsr, 'train', options)
    assert f'train: pixel_opt: {loss["type"]} cannot be built with' in line and part in line


def test_values_that_an_optimizer_refuses(basicsr):
    options = options_to_train()
    options['train']['optim_g']['eps'] = -1.0
    line = mistake(basicsr, 'train', options)
    assert 'optimizer Adam' in line and 'eps: -1.0' in line


def test_values_that_a_scheduler_refuses(basicsr):
    options = options_to_train()
    options['train']['scheduler'] = {'type': 'MultiStepRestartLR', 'milestones': [1], 'restart_weights': [1, 0.5]}
    line = mistake(basicsr, 'train', options)
    assert 'train: scheduler: MultiStepRestartLR cannot be built with' in line and 'do not match' in line


def test_a_logger_that_cannot_be_started(basicsr, monkeypatch):
    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('basicsr.train.init_tb_logger', full)
    options = options_to_train()
    options['logger']['use_tb_logger'] = True
    code, _, err = basicsr('train', options)
    line = error_line(err)
    assert code == 2 and 'logger cannot be built with' in line and 'no space left on device' in line.lower()


def test_values_that_a_data_set_refuses(basicsr):
    options = options_to_train()
    Path('data/lq/c.png').unlink()
    line = mistake(basicsr, 'train', options)
    assert 'datasets: train: PairedImageDataset cannot be built: lq and gt datasets have different number' in line


@pytest.mark.parametrize(('logger', 'part'), [({'use_tb_logger': True, 'wandb': {'project': 'x'}}, 'pip install wandb'),
                                              ({'use_tb_logger': True}, 'pip install tensorboard')])
def test_loggers_that_are_not_installed(basicsr, monkeypatch, logger, part):
    monkeypatch.setattr('basicsr_amsr.options.conflicts.importlib.util.find_spec', lambda name: None)
    options = options_to_train()
    options['logger'].update(logger)
    assert part in '\n'.join(mistakes(basicsr, 'train', options))


def test_a_loss_that_wants_to_download_says_which_file_goes_where(basicsr, monkeypatch):
    def no_network(*_, **__):
        raise URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', no_network)
    monkeypatch.setattr('torch.hub.urlopen', no_network)
    monkeypatch.setenv('TORCH_HOME', 'cache')
    options = options_to_train()
    options['train']['perceptual_opt'] = {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1.0}}
    code, _, err = basicsr('train', options)
    line = err.splitlines()[-1]
    assert code == 2 and 'https://download.pytorch.org/models/vgg19-' in line
    assert 'put that file at cache/hub/checkpoints/vgg19-' in line


@pytest.mark.parametrize('error', [KeyError('x'), IndexError(), ZeroDivisionError('division by zero'), MemoryError(),
                                   TypeError('f() got\n an argument'), RecursionError('deep'), OSError('odd'),
                                   ModuleNotFoundError("No module named 'a.b'", name='a.b'), torch.OutOfMemoryError()])
def test_every_kind_of_error_is_one_line(error):
    with (pytest.raises(UserError, match=r'^network_g: X cannot be built with a: 1, b: \[2\]: .+\.$') as raised,
          building('network_g: X', {'type': 'X', 'a': 1, 'b': [2]})):
        raise error
    assert len(raised.value.lines) == 1 and '\n' not in reason(error)


def test_a_network_of_ones_own_that_fails(basicsr, monkeypatch):
    @REGISTRIES['arch'].register()
    class Failing(RCAN):
        def __init__(self, width: int = 8):
            super().__init__(3, 3)
            self.nothing.width = width

    try:
        line = mistake(basicsr, 'test', options_to_test(network_g={'type': 'Failing', 'width': 4}))
    finally:
        del REGISTRIES['arch']._obj_map['Failing']
    assert "network_g: Failing cannot be built with width: 4: AttributeError: 'Failing' object has no attribute" in line
