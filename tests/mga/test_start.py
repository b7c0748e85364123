"""A plain pretrained network as the start."""
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.start import start_from_backbone
from tests.backbones.tiny import OPTIONS, SPLIT, split_options

NAMES = (*SPLIT, 'EDSR')
BLOCKS = (3, 2)
JOINTS = {'conv.conv1.weight', 'conv.conv1.bias', 'conv.conv2.weight', 'conv.conv2.bias'}


def saved(tmp_path, name, scale=2, blocks=5, **changes):
    """A plain network with random weights, and its file."""
    torch.manual_seed(1)
    counted = {get_backbone(name).blocks: blocks}
    plain = get_backbone(name).create(**{**OPTIONS[name], 'upscale': scale, **counted, **changes}).eval()
    file = tmp_path / f'{name}.pth'
    torch.save({'params': plain.state_dict()}, file)
    return plain.to(memory_format=torch.channels_last), file


def network(name, scale=2, split_blocks=BLOCKS, **changes):
    torch.manual_seed(0)
    return MGA({'type': name, 'upscale': scale, **split_options(name, 5), **changes}, split_blocks=split_blocks,
               variant='D').eval()


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', NAMES)
def test_only_the_joints_are_new(tmp_path, name, scale):
    plain, file = saved(tmp_path, name, scale)
    net = network(name, scale)
    mask = {key: value.clone() for key, value in net.mask.state_dict().items()}
    new = start_from_backbone(net, file)
    extra = {'upsampler.conv_extra.weight', 'upsampler.conv_extra.bias'} if (name, scale) == ('PAN', 3) else set()
    joints = extra if name == 'PAN' else JOINTS
    assert set(new) == {f'refine.{key}' for key in joints}
    assert all(torch.equal(mask[key], value) for key, value in net.mask.state_dict().items())
    # nothing of the plain network is lost: each of its tensors is somewhere
    held = {(tuple(value.shape), float(value.double().sum())) for value in net.state_dict().values()}
    lost = [key for key, value in plain.state_dict().items()
            if (tuple(value.shape), float(value.double().sum())) not in held]
    assert lost == (['body.fuse.0.weight'] if name == 'RFDN' else [])


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_the_base_net_is_the_plain_network_without_its_last_blocks(tmp_path, name):
    plain, file = saved(tmp_path, name)
    net = network(name)
    start_from_backbone(net, file)
    if name == 'RFDN':  # their outputs are fused: leave out what they add
        plain.body.fuse[0].weight[:, 3 * 8:] = 0
    elif name == 'FSRCNN':
        plain.mapping = plain.mapping[:6]
    else:
        plain.body = plain.body[:3]
    x = torch.rand(2, 3, 11, 14)
    assert torch.allclose(net.base(x), plain(x), atol=1e-5)


@pytest.mark.parametrize('name', ['FSRCNN', 'PAN', 'RFDN', 'SRResNet'])
@torch.no_grad()
def test_a_network_no_deeper_than_the_base_net_becomes_the_base_net(tmp_path, name):
    plain, file = saved(tmp_path, name, blocks=3)
    net = network(name)
    new = start_from_backbone(net, file)
    net.set_variant('B')
    x = torch.rand(2, 3, 11, 14)
    assert torch.allclose(net(x), plain(x), atol=1e-6)
    assert not any(key.startswith('base.') or 'upsampler.' in key for key in new)
    assert any('refine.body.' in key or 'refine.mapping.' in key for key in new)


@torch.no_grad()
def test_fsrcnn_d_starts_as_the_plain_network(tmp_path):
    plain, file = saved(tmp_path, 'FSRCNN')
    net = network('FSRCNN')
    start_from_backbone(net, file)
    x = torch.rand(2, 3, 11, 14)
    assert torch.allclose(net.double()(x.double()), plain.double()(x.double()), atol=1e-9)


@pytest.mark.parametrize('name', ['FSRCNN', 'SRResNet', 'RCAN', 'EDSR'])
@pytest.mark.parametrize('halo', [False, True])
@torch.no_grad()
def test_joints_start_as_the_identity_for_what_they_see(tmp_path, name, halo):
    _, file = saved(tmp_path, name)
    net = network(name).train()
    start_from_backbone(net, file)
    assert (net.variant, net.training) == ('D', True)
    seen = []
    net.eval().refine.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.set_variant('A' if halo else 'D')
    net(torch.rand(1, 3, 24, 20))
    assert seen[0].min() < -1e-3 < 1e-3 < seen[0].max()
    inner = seen[0][..., 1:-1, 1:-1] if halo else seen[0]
    assert torch.allclose(net.refine.conv(seen[0], halo), inner, atol=1e-5 * float(seen[0].abs().max()))


@torch.no_grad()
def test_a_new_refine_body_of_fsrcnn_starts_by_changing_nothing(tmp_path):
    plain, file = saved(tmp_path, 'FSRCNN', blocks=3)
    net = network('FSRCNN')
    new = start_from_backbone(net, file)
    assert {key.split('.')[1] for key in new if key.startswith('refine.')} == {'mapping', 'conv'}
    assert not any(key.startswith('base.') for key in new)
    x = torch.rand(2, 3, 11, 14)
    expected = plain.double()(x.double())
    assert expected.std() > 1e-4
    assert torch.allclose(net.double()(x.double()), expected, atol=1e-9)
    net.set_variant('B')
    assert torch.allclose(net(x.double()), expected, atol=1e-12)


@torch.no_grad()
def test_public_weights_of_rfdn_are_the_base_net(repository):
    net = MGA({'type': 'RFDN', 'upscale': 4}, variant='B').eval()
    start_from_backbone(net, repository / 'pretrained' / 'RFDN_x4.pth')
    plain = get_backbone('RFDN').create(upscale=4).eval().to(memory_format=torch.channels_last)
    from basicsr_amsr.backbones.checkpoint import load_into
    load_into(plain, repository / 'pretrained' / 'RFDN_x4.pth')
    x = torch.rand(1, 3, 24, 30)
    assert torch.equal(net(x), plain(x))


@pytest.mark.parametrize(('height', 'width'), [(12, 16), (11, 14)])
@torch.no_grad()
def test_a_new_refine_body_of_rfdn_starts_by_changing_nothing(tmp_path, height, width):
    plain, file = saved(tmp_path, 'RFDN', blocks=3, num_feat=16)
    net = network('RFDN', num_feat=16)
    new = start_from_backbone(net, file)
    assert not any('conv1' in key.split('.')[:3] or 'conv2' in key or 'upsampler' in key for key in new)
    x = torch.rand(2, 3, height, width)
    expected = plain(x).clamp(0, 1)
    assert expected.std() > 0.05
    for variant in 'BDA':
        net.set_variant(variant)
        assert torch.allclose(net(x).clamp(0, 1), expected, atol=1e-6), variant


@torch.no_grad()
def test_an_upsampler_that_does_not_fit_into_the_joints_stays_where_it_is(tmp_path):
    plain, file = saved(tmp_path, 'RFDN', blocks=3)  # 12 outputs of 8 channels
    net = network('RFDN')
    assert {f'refine.{key}' for key in JOINTS} <= set(start_from_backbone(net, file))
    assert torch.equal(net.refine.upsampler[0].weight, plain.upsampler[0].weight)


def test_public_weights_of_pan_divide_into_12_and_4(shared):
    net = MGA({'type': 'PAN', 'upscale': 4})
    assert start_from_backbone(net, shared / 'weights' / 'PAN_x4.pth') == []


@pytest.mark.parametrize(('name', 'changes', 'other', 'words'), [
    ('RFDN', {'blocks': 4}, {}, 'num_block 4, but split_blocks'),
    ('RCAN', {'blocks': 4}, {}, 'num_group 4, but split_blocks'),
    ('EDSR', {'blocks': 4}, {}, 'num_block 4'),
    ('SRResNet', {'scale': 3}, {}, 'upscale 3, but the network has upscale 2'),
    ('RFDN', {'num_feat': 12}, {}, 'num_feat 12'),
])
def test_weights_that_do_not_fit_are_one_line(tmp_path, name, changes, other, words):
    _, file = saved(tmp_path, name, **changes)
    with pytest.raises(UserError, match=words) as caught:
        start_from_backbone(network(name, **other), file)
    assert '\n' not in str(caught.value)


def test_weights_of_another_family_are_one_line(tmp_path):
    _, file = saved(tmp_path, 'PAN')
    with pytest.raises(UserError, match='holds PAN, but the network is RFDN') as caught:
        start_from_backbone(network('RFDN'), file)
    assert '\n' not in str(caught.value)
