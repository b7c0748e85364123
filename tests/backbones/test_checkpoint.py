"""Checkpoints load whatever their wrapping, prefixes and names; a wrong variant is named."""
import logging
import re

import pytest
import torch
from basicsr.archs import build_network, edsr_arch, swinir_arch

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.backbones.checkpoint import (
    canonicalize,
    describe_misfit,
    find_backbone,
    load_checkpoint,
    load_into,
    prepare_state_dict,
)
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.training.trained_model import TrainedModel
from tests.backbones.tiny import CASES, OPTIONS, image, network

WEIGHTS = {'a.weight': torch.ones(2), 'b.bias': torch.zeros(1)}
OTHER = {'a.weight': torch.zeros(2), 'b.bias': torch.ones(1)}


def prefixed(prefix: str, state_dict=WEIGHTS) -> dict:
    return {prefix + key: value for key, value in state_dict.items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('content', [
    WEIGHTS,
    {'params': WEIGHTS},
    {'params': OTHER, 'params_ema': WEIGHTS},
    {'state_dict': WEIGHTS, 'epoch': 3, 'optimizer': {'lr': 0.1}},
    {'model': {'state_dict': prefixed('module.')}},
    {'net': prefixed('module._orig_mod.')},
    {'generator': prefixed('_orig_mod.module.')},
    {'model_state_dict': prefixed('model.net_g.')},
    {'state_dict': prefixed('net_g.module.'), 'pytorch-lightning_version': '2.0'},
])
def test_weights_are_found_in_any_wrapping(content):
    assert same(canonicalize(content), WEIGHTS)


def test_the_key_that_is_asked_for_comes_first():
    both = {'params': OTHER, 'params_ema': WEIGHTS}
    assert same(canonicalize(both, 'params'), OTHER)
    assert same(canonicalize(both, 'params_ema'), WEIGHTS)
    assert same(canonicalize({'params_ema': WEIGHTS}, 'params'), WEIGHTS)


def test_a_prefix_that_only_some_keys_have_belongs_to_the_network():
    mixed = {**prefixed('model.'), 'head.weight': torch.ones(1)}
    assert same(canonicalize(mixed), mixed)


@pytest.mark.parametrize('content', [{}, {'epoch': 3}, [1, 2], {'params': {}}])
def test_a_file_without_weights_says_what_it_holds(content):
    with pytest.raises(UserError, match=r'x\.pth holds no network weights'):
        canonicalize(content, source='x.pth')


def test_a_file_is_read_and_canonicalized(tmp_path):
    torch.save({'params_ema': prefixed('module.')}, tmp_path / 'x.pth')
    assert same(load_checkpoint(tmp_path / 'x.pth'), WEIGHTS)


@pytest.mark.parametrize('name', OPTIONS)
def test_a_networks_own_weights_load_back(name, tmp_path):
    scale = get_backbone(name).scales[-1]
    net = network(name, scale)
    torch.save({'params': {'module.' + k: v for k, v in net.state_dict().items()}}, tmp_path / 'x.pth')
    other = network(name, scale)
    for parameter in other.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    load_into(other, tmp_path / 'x.pth')
    assert same(dict(other.state_dict()), dict(net.state_dict()))


@pytest.mark.parametrize(('name', 'scale'), CASES)
def test_the_options_of_a_network_are_read_off_its_shapes(name, scale):
    read = get_backbone(name).identify(dict(network(name, scale).state_dict()))
    given = {**OPTIONS[name], **({'upscale': scale} if scale > 1 else {})}
    for key, value in read.items():
        if key in given:
            assert scale in value if key == 'upscale' and isinstance(value, tuple) else value == (
                list(given[key]) if isinstance(given[key], tuple) else given[key])
    open_to_shapes = {'FSRCNN': {'upscale'}, 'SwinIR': {'img_size'}, 'SwinIR_light': {'img_size'}}.get(name, set())
    assert given.keys() - read.keys() == open_to_shapes


def test_no_family_takes_another_ones_weights_for_its_own():
    aliases = [{'CARN', 'CARN_M'}, {'EDSR', 'EDSR_baseline'}, {'SwinIR', 'SwinIR_light'}]
    for name in OPTIONS:
        state_dict = dict(network(name, get_backbone(name).scales[-1]).state_dict())
        claimed = {other for other in OPTIONS if get_backbone(other).identify(state_dict)}
        assert claimed == next((a for a in aliases if name in a), {name})


# Names of public checkpoints, written down from the authors' code, and what they are here.
PUBLIC = {
    'EDSR': [('head.0.weight', 'conv_first.weight'), ('body.1.body.2.bias', 'body.1.conv2.bias'),
             ('body.2.weight', 'conv_after_body.weight'), ('tail.0.2.weight', 'upsample.2.weight'),
             ('tail.1.bias', 'conv_last.bias')],
    'RCAN': [('head.0.bias', 'conv_first.bias'),
             ('body.1.body.0.body.2.weight', 'body.1.residual_group.0.rcab.2.weight'),
             ('body.0.body.0.body.3.conv_du.2.bias', 'body.0.residual_group.0.rcab.3.attention.3.bias'),
             ('body.0.body.1.weight', 'body.0.conv.weight'), ('body.2.bias', 'conv_after_body.bias')],
    'RRDBNet': [('RRDB_trunk.0.RDB2.conv3.weight', 'body.0.rdb2.conv3.weight'), ('trunk_conv.bias', 'conv_body.bias'),
                ('upconv2.weight', 'conv_up2.weight'), ('HRconv.weight', 'conv_hr.weight'),
                ('1.sub.0.RDB3.conv5.0.bias', 'body.0.rdb3.conv5.bias'), ('1.sub.1.weight', 'conv_body.weight'),
                ('8.bias', 'conv_hr.bias')],
    'MSRResNet': [('recon_trunk.1.conv2.weight', 'body.1.conv2.weight'), ('HRconv.bias', 'conv_hr.bias')],
    'FSRCNN': [('first_part.1.weight', 'feature.1.weight'), ('mid_part.0.weight', 'shrink.0.weight'),
               ('mid_part.3.weight', 'mapping.1.weight'), ('mid_part.6.bias', 'upsampler.expand.0.bias'),
               ('mid_part.7.weight', 'upsampler.expand.1.weight'), ('last_part.weight', 'upsampler.deconv.weight')],
}


@pytest.mark.parametrize('name', PUBLIC)
def test_public_names(name):
    net = network(name, 4)
    own = net.state_dict()
    public = {theirs: own[ours] for theirs, ours in PUBLIC[name]}
    if name in ('EDSR', 'RCAN'):
        public['add_mean.weight'] = torch.ones(1)
    prepared = prepare_state_dict(net, public)
    assert prepared.keys() == {ours for _, ours in PUBLIC[name]}
    assert all(prepared[ours] is own[ours] for _, ours in PUBLIC[name])


def test_swinir_weights_load_whatever_image_size_their_masks_are_for():
    net = network('SwinIR', 2, img_size=12)
    saved = network('SwinIR', 2, img_size=8).state_dict()
    load_into(net, {'params': saved})
    x = image(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.allclose(net(x), network('SwinIR', 2, img_size=8)(x), atol=1e-6)


@pytest.mark.parametrize(('file', 'options', 'held', 'wanted'), [
    (('RFDN', 4, {}), ('RFDN', 2, {}), 'RFDN with upscale 4', 'upscale 2'),
    (('RCAN', 4, {'num_block': 2}), ('RCAN', 4, {}), 'num_block 2', 'num_block 1'),
    (('EDSR', 3, {'num_feat': 12}), ('EDSR', 3, {}), 'num_feat 12', 'num_feat 8'),
    (('PAN', 3, {}), ('PAN', 4, {}), 'PAN with upscale 2 or 3', 'upscale 4'),
    (('PAN', 4, {}), ('PAN', 2, {}), 'PAN with upscale 4', 'upscale 2.'),
    (('PAN', 4, {}), ('RFDN', 4, {}), 'PAN', 'RFDN'),
    (('CARN_M', 4, {}), ('CARN', 4, {}), 'group 4, recursive True', 'group 1, recursive False'),
    (('SwinIR', 2, {}), ('SwinIR', 2, {'window_size': 8}), 'window_size 4', 'window_size 8'),
    (('DnCNN', 1, {'num_layer': 6}), ('DnCNN', 1, {}), 'num_layer 6', 'num_layer 5'),
])
def test_a_wrong_variant_is_named_in_one_line(tmp_path, file, options, held, wanted):
    name, scale, extra = file
    torch.save({'params': network(name, scale, **extra).state_dict()}, tmp_path / 'some.pth')
    name, scale, extra = options
    with pytest.raises(UserError) as error:
        load_into(network(name, scale, **extra), tmp_path / 'some.pth')
    message = str(error.value)
    assert '\n' not in message
    assert re.match(rf'some\.pth holds .*{held}, but the network (has|is) .*{wanted}', message)


def test_what_no_option_explains_lists_the_first_keys(tmp_path):
    net = network('RFDN', 2)
    state_dict = dict(net.state_dict())
    del state_dict['body.conv.bias']
    state_dict['extra'] = torch.ones(1)
    with pytest.raises(UserError, match=r'1 missing \(body\.conv\.bias\); 1 unexpected \(extra\)'):
        load_into(net, state_dict)
    load_into(net, state_dict, strict=False)
    assert describe_misfit(net, net.state_dict(), 'x.pth') is None


def test_pan_of_another_scale_fits_but_warns(tmp_path, caplog):
    torch.save(network('PAN', 3).state_dict(), tmp_path / 'PAN_x3.pth')
    with caplog.at_level(logging.WARNING, logger='basicsr'):
        logger = logging.getLogger('basicsr')
        logger.addHandler(caplog.handler)
        try:
            load_into(network('PAN', 3), tmp_path / 'PAN_x3.pth')
            assert not caplog.records
            load_into(network('PAN', 2), tmp_path / 'PAN_x3.pth')
        finally:
            logger.removeHandler(caplog.handler)
    assert 'named x3, but the network has upscale 2' in caplog.records[0].getMessage()


def test_families_are_found_by_the_networks_class():
    assert find_backbone(network('CARN_M', 2)).name == 'CARN_M'
    assert find_backbone(edsr_arch.EDSR(3, 3, 8, 1)).name == 'EDSR'
    assert find_backbone(swinir_arch.SwinIR(img_size=8, embed_dim=8, depths=(1,), num_heads=(1,))).name == 'SwinIR'
    assert find_backbone(torch.nn.Linear(1, 1)) is None


def test_networks_of_no_family_keep_prefixes_that_are_their_own():
    net = torch.nn.ModuleDict({'model': torch.nn.Linear(2, 1)})
    assert prepare_state_dict(net, {'params': net.state_dict()}).keys() == net.state_dict().keys()
    wrapped = {'module.' + key: value for key, value in net.state_dict().items()}
    assert prepare_state_dict(net, wrapped).keys() == net.state_dict().keys()
    mga = MGA({'type': 'FSRCNN', 'upscale': 2}, k=1)
    assert same(prepare_state_dict(mga, {'params': mga.state_dict()}), dict(mga.state_dict()))


@pytest.mark.parametrize(('name', 'file', 'scale'), [
    ('RFDN', 'RFDN_x4', 4), ('CARN_M', 'CARN_M_x234', 3), ('PAN', 'PAN_x4', 4), ('DnCNN', 'DnCNN_gray_SFM', None)])
def test_public_files_are_identified_by_their_published_options(shared, name, file, scale):
    backbone = get_backbone(name)
    published = backbone.create(**({'upscale': scale} if scale else {}))
    held = backbone.identify(load_checkpoint(shared / 'weights' / f'{file}.pth'))
    own = backbone.identify(dict(published.state_dict()))
    if name == 'CARN_M':
        assert held.pop('upscale') == (2, 3, 4)
        assert own.pop('upscale') == (3,)
    assert held == own


@pytest.mark.parametrize(('options', 'file'), [
    ({'type': 'RFDN', 'upscale': 4}, 'RFDN_x4'), ({'type': 'CARN_M', 'upscale': 2}, 'CARN_M_x234'),
    ({'type': 'PAN', 'upscale': 3}, 'PAN_x3'), ({'type': 'DnCNN'}, 'DnCNN_gray_regular')])
def test_basicsr_loads_public_files_into_network_g(shared, options, file):
    path = shared / 'weights' / f'{file}.pth'
    net = build_network(dict(options))
    TrainedModel({'num_gpu': 0, 'is_train': False}).load_network(net, str(path))
    options = dict(options)
    expected = load_into(get_backbone(options.pop('type')).create(**options), path)
    assert same(dict(net.state_dict()), dict(expected.state_dict()))
