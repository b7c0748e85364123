"""Weights from whatever file people have: found, or a line; nothing that loads nothing or not-a-number ends well."""
import logging

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils import logger
from safetensors.torch import save_file

from basicsr_amsr.backbones.checkpoint import load_into
from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only
from tests.cli.conftest import NETWORK, options_to_test, options_to_train
from tests.faults.lines import mistake


def weights(seed=0):
    torch.manual_seed(seed)
    return build_network(dict(NETWORK)).state_dict()


def prefixed(state, prefix):
    return {f'{prefix}{key}': value for key, value in state.items()}


def held(net):
    return dict(net.state_dict())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


OTHERS = {'discriminator.conv.weight': torch.zeros(3), 'step_counter': torch.tensor(3)}
MIXED = {
    'mmagic': lambda first, second: {**prefixed(first, 'generator.'), **prefixed(second, 'generator_ema.'), **OTHERS},
    'mmagic without average': lambda first, second: {**prefixed(second, 'generator.'), **OTHERS},
    'Lightning': lambda first, second: {**prefixed(second, 'model.'), 'loss.weight': torch.zeros(2)},
    'compiled Lightning': lambda first, second: {**prefixed(second, 'model._orig_mod.'), 'loss.weight': torch.zeros(2)},
    'wrapped': lambda first, second: {**prefixed(first, 'module.net_g.'), **prefixed(second, 'module.net_g_ema.')},
}


@pytest.mark.parametrize('kind', MIXED)
def test_the_generator_among_other_networks(kind):
    first, second = weights(1), weights(2)
    net = build_network(dict(NETWORK))
    load_into(net, {'state_dict': MIXED[kind](first, second), 'meta': {'iter': 5}})
    assert same(held(net), second)


def test_the_log_says_what_was_taken(basicsr):
    torch.save({'state_dict': MIXED['mmagic'](weights(1), weights(2))}, 'mmagic.pth')
    logger.initialized_logger.pop('basicsr')  # the run's own log
    code, _, log = basicsr('test', options_to_test(path={'pretrain_network_g': 'mmagic.pth'}))
    assert code == 0 and 'with param key: [state_dict: generator_ema.…]' in log
    torch.save({'params': weights()}, 'plain.pth')
    options = options_to_test(path={'pretrain_network_g': 'plain.pth', 'param_key_g': 'params_ema'})
    code, _, log = basicsr('test', options)
    assert code == 0 and 'with param key: [params]' in log


@pytest.mark.parametrize('strict', [True, False])
def test_a_file_of_which_nothing_fits(basicsr, strict):
    torch.save({'params': prefixed(weights(), 'other_')}, 'other.pth')
    options = options_to_test(path={'pretrain_network_g': 'other.pth', 'strict_load_g': strict})
    line = mistake(basicsr, 'test', options)
    assert 'other.pth' in line and 'nothing of it fits' in line


def test_a_file_that_fits_in_part_says_how_much(basicsr):
    state = weights()
    state['conv_last.weight'] = state['conv_last.weight'][:1]
    del state['conv_last.bias']
    torch.save({'params': state}, 'part.pth')
    options = options_to_test(path={'pretrain_network_g': 'part.pth'})
    assert 'strict_load_g: false to load what fits' in mistake(basicsr, 'test', options)
    options['path']['strict_load_g'] = False
    code, _, log = basicsr('test', options)
    assert code == 0 and '10 of 12 tensors of MSRResNet are loaded, the others stay as they are' in log


@pytest.mark.parametrize('name', ['net.safetensors', 'net.pth'])
def test_safetensors(basicsr, name):
    save_file(weights(3), name)
    assert basicsr('test', options_to_test(path={'pretrain_network_g': name}))[0] == 0
    net = build_network(dict(NETWORK))
    assert same(held(load_into(net, name)), weights(3))


def test_damaged_safetensors(tmp_path):
    save_file(weights(), tmp_path / 'net.safetensors')
    whole = (tmp_path / 'net.safetensors').read_bytes()
    (tmp_path / 'net.safetensors').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match=r'net\.safetensors is no readable checkpoint .* truncated'):
        read_weights_only(tmp_path / 'net.safetensors')


def test_one_flipped_bit_anywhere_in_a_tensor(tmp_path):
    torch.save({'params': {'weight': torch.zeros(1000)}}, tmp_path / 'net.pth')
    data = bytearray((tmp_path / 'net.pth').read_bytes())
    data[data.index(bytes(4000)) + 1234] ^= 16
    (tmp_path / 'net.pth').write_bytes(data)
    with pytest.raises(UserError, match='damaged'):
        read_weights_only(tmp_path / 'net.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('command', ['test', 'train'])
def test_weights_that_are_not_finite(basicsr, command, value):
    state = weights()
    state['conv_first.weight'][0, 0, 0, 0] = value
    torch.save({'params': state}, 'broken.pth')
    options = (options_to_test if command == 'test' else options_to_train)(path={'pretrain_network_g': 'broken.pth'})
    assert ('broken.pth: 1 of 12 tensors hold values that are not finite (conv_first.weight)'
            in mistake(basicsr, command, options))


def test_a_partial_load_warns_in_python_too(caplog):
    state = weights()
    del state['conv_last.bias']
    with caplog.at_level(logging.WARNING, 'basicsr'):
        load_into(build_network(dict(NETWORK)), state, strict=False)
    assert 'tensors of MSRResNet are loaded' in caplog.text
