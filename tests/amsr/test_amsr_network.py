"""`network_g: {type: AMSR}`: options, the plain network's checkpoints, training, testing, profiling."""
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from basicsr_amsr import UserError, load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.amsr_network import AMSROptions
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.backbones.checkpoint import find_backbone
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.training.trained_model import TrainedModel
from tests.backbones.tiny import OPTIONS, image
from tests.cli.conftest import basicsr, error_line, options_to_test, options_to_train, project  # noqa: F401

TINY = {'type': 'AMSR', 'backbone': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2},
        'selection': {'keep': 0.25, 'patch_size': 4}}


def test_the_options_are_those_of_the_class():
    fields = {field.name: field.default for field in dataclasses.fields(AMSRConfig)
              if field.name not in ('selection', 'calibration')}
    assert {name: field.default for name, field in AMSROptions.model_fields.items() if name in fields} == fields
    assert AMSROptions.model_fields.keys() - fields.keys() == {'backbone', 'selection', 'keep', 'calibration'}
    assert AMSROptions.model_fields['tile'].description.startswith('at inference, images that are larger')


@pytest.mark.parametrize('name', ['CARN_M', 'RFDN', 'SwinIR_light', 'RRDBNet'])
def test_it_is_the_plain_network_converted(name):
    torch.manual_seed(0)
    net = build_network({'type': 'AMSR', 'backbone': {'type': name, 'upscale': 2, **OPTIONS[name]},
                         'selection': {'keep': 0.5, 'patch_size': 4}}).eval()
    plain = get_backbone(name).create(upscale=2, **OPTIONS[name]).eval()
    assert list(plain.state_dict()) == list(net.state_dict())
    plain.load_state_dict(net.state_dict())
    x = image(2, 3, 17, 22)
    with torch.no_grad():
        expected = plain(x)
        accelerate_(plain, AMSRConfig(HighFrequencyMask(keep=0.5, patch_size=4)))
        torch.testing.assert_close(net(x), plain(x), rtol=1e-5, atol=1e-5)
        assert find_backbone(net) is find_backbone(restore_(plain))
        torch.testing.assert_close(restore_(net)(x), expected, rtol=1e-5, atol=1e-5)


def test_a_public_checkpoint_loads_by_the_model(repository):
    net = build_network({'type': 'AMSR', 'backbone': {'type': 'CARN_M', 'upscale': 3}})
    weights = repository / 'pretrained' / 'CARN_M_x234.pth'
    TrainedModel({'num_gpu': 0, 'is_train': False}).load_network(net, str(weights), True, 'params')
    plain = load_pretrained('CARN_M_x234', upscale=3)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in net.state_dict().items())
    small = build_network({'type': 'AMSR', 'backbone': {'type': 'CARN_M', 'upscale': 3, 'num_feat': 32}})
    with pytest.raises(UserError, match='CARN_M with num_feat 64'):
        TrainedModel({'num_gpu': 0, 'is_train': False}).load_network(small, str(weights), True, 'params')


def test_networks_of_basicsr_without_a_backbone():
    net = build_network({'type': 'AMSR', 'backbone': {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 64,
                                                      'out_channels': 3, 'num_block': 1}}).eval()
    x = image(1, 3, 12, 16)
    with torch.no_grad():
        assert net(x).shape == x.shape
    assert float(net.last_keep) == 0.5


def test_training_starts_from_the_plain_network_and_ends_as_one(basicsr):  # noqa: F811
    code, _, _ = basicsr('train', options_to_train(network_g=dict(TINY['backbone'])))
    assert code == 0
    weights = 'experiments/tiny/models/net_g_2.pth'
    start = torch.load(weights, weights_only=True)['params']
    val = options_to_test()['val']
    options = options_to_train(network_g=TINY, name='masked', path={'pretrain_network_g': weights}, val={
        'val_freq': 1, 'save_img': False, 'metrics': val['metrics']})
    options['datasets']['val'] = options_to_test()['datasets']['test_1']
    options['train']['ema_decay'] = 0.5
    code, _, _ = basicsr('train', options)
    assert code == 0
    trained = torch.load('experiments/masked/models/net_g_2.pth', weights_only=True)['params']
    assert list(trained) == list(start) and any(not torch.equal(trained[key], start[key]) for key in start)
    for network in (TINY, TINY['backbone']):
        code, _, _ = basicsr('test', options_to_test(network_g=network, path={
            'pretrain_network_g': 'experiments/masked/models/net_g_2.pth'}))
        assert code == 0


def test_a_test_says_what_share_of_each_image_was_computed(basicsr):  # noqa: F811
    code, out, _ = basicsr('test', options_to_test(network_g={**TINY, 'selection': {'keep': 0.3, 'patch_size': 4}}))
    assert code == 0 and 'keep' in out and 'None' not in out
    entries = json.loads(Path('results/tiny/metrics.json').read_text())['Three']
    assert list(entries) == ['psnr', 'ssim', 'keep']
    keep = 5 / 16  # 0.3 of the 4×4 patches, rounded
    assert entries['keep'] == {'mean': keep, 'images': dict.fromkeys('abc', keep), 'computed': {
        'metric_type': 'keep', 'lr_source': 'images given in data/lq'}}
    basicsr('test', options_to_test(network_g=TINY['backbone']))
    assert list(json.loads(Path('results/tiny/metrics.json').read_text())['Three']) == ['psnr', 'ssim']


def test_profile_gives_keep_and_macs_beside_the_dense_network(basicsr):  # noqa: F811
    code, out, _ = basicsr('profile', options_to_test(network_g=TINY), '--no-timing', '--size', '16x24', '--json',
                           'profile.json')
    assert code == 0, out
    report = json.loads(Path('profile.json').read_text())
    assert report['keep'] == 0.25 and report['dense']['keep'] == 1.0
    skipped = 0.75 * 16 * 24 * (2 * 2 * 8 * 8 * 9)  # two blocks of two 3×3 convolutions, 8 channels
    assert report['dense']['macs'] - report['macs'] == skipped


@pytest.mark.parametrize(('change', 'words'), [
    ({'backbone': {'type': 'MSRResNett'}}, 'Did you mean MSRResNet'), ({'selection': {'keep': 1.5}}, 'keep'),
    ({'selection': {'keep': 0.5, 'dilation': 1}}, 'dilation'), ({'selection': {'size': 4}}, 'odd'),
    ({'selection': {'patches': 4}}, 'patch_size'), ({'mode': 'fast'}, 'sparse'),
    ({'backbone': {'type': 'MSRResNet', 'num_blocks': 2}}, 'num_block'), ({'dense_first': 2}, 'none is left')])
def test_mistakes_get_one_line(basicsr, change, words):  # noqa: F811
    code, _, err = basicsr('test', options_to_test(network_g={**TINY, **change}))
    assert code == 2
    assert words in error_line(err)
