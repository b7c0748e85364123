"""All network families: published sizes, any image size, types, layouts, and BasicSR's own networks as reference."""
import pytest
import torch
import torch.nn.functional as F
from basicsr.archs import edsr_arch, rcan_arch, rrdbnet_arch, swinir_arch

from basicsr_amsr.backbones import Backbone, get_backbone, register_backbone
from basicsr_amsr.backbones.rfdn_backbone import ESA
from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY
from tests.backbones.tiny import CASES, OPTIONS, image, network

SIZES = [(1, 1), (1, 7), (2, 3), (13, 9), (16, 8)]

# Counts of the publications (CARN's hold three upsamplers: see below), in their precision.
CONV_60 = 60 * 60 * 9 + 60
PARAMETERS = [
    ('FSRCNN', {'upscale': 3, 'num_in_ch': 1, 'num_out_ch': 1}, 12.5e3, 0.4e3),  # 12,464 weights without biases, PReLU
    ('PAN', {'upscale': 2}, 261e3, 0.5e3), ('PAN', {'upscale': 3}, 261e3, 0.5e3), ('PAN', {'upscale': 4}, 272e3, 0.5e3),
    ('RFDN', {'upscale': 4}, 433448, 0),
    ('EDSR', {'upscale': 2}, 40.7e6, 0.05e6), ('EDSR', {'upscale': 3}, 43.7e6, 0.05e6),
    ('EDSR', {'upscale': 4}, 43.1e6, 0.05e6),
    ('EDSR_baseline', {'upscale': 2}, 1.37e6, 5e3), ('EDSR_baseline', {'upscale': 4}, 1.52e6, 5e3),
    ('MSRResNet', {'upscale': 4}, 1.5e6, 0.05e6),
    ('RCAN', {'upscale': 4}, 15.59e6, 5e3),
    ('RRDBNet', {'upscale': 4}, 16.7e6, 0.05e6),
    ('SwinIR', {'upscale': 2}, 11.75e6, 5e3), ('SwinIR', {'upscale': 4}, 11.9e6, 5e3),
    # the paper's 878K, 886K and 897K leave out one 3×3 convolution that the published code has
    ('SwinIR_light', {'upscale': 2}, 878e3 + CONV_60, 500), ('SwinIR_light', {'upscale': 3}, 886e3 + CONV_60, 500),
    ('SwinIR_light', {'upscale': 4}, 897e3 + CONV_60, 500),
    ('DAT', {'upscale': 2}, 553_290, 0), ('DAT', {'upscale': 3}, 561_405, 0), ('DAT', {}, 572_766, 0),
    ('SPAN', {'num_feat': 28}, 150_688, 0), ('SRVGGNetCompact', {}, 621_424, 0),
    ('SRVGGNetCompact', {'num_conv': 32}, 1_213_296, 0),
    ('DnCNN', {'num_layer': 20}, 0.67e6, 5e3), ('DnCNN', {}, 0.56e6, 5e3),
]


def parameters(net) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(('name', 'options', 'published', 'precision'), PARAMETERS)
def test_parameters_are_the_published_ones(name, options, published, precision):
    with torch.device('cpu' if name.startswith(('SwinIR', 'DAT')) else 'meta'):
        net = get_backbone(name).create(**options)
    assert parameters(net) == pytest.approx(published, abs=precision)


@pytest.mark.parametrize(('name', 'published'), [('CARN', 1_592_000), ('CARN_M', 414_811)])
def test_cascading_networks_have_the_published_parameters_with_all_three_upsamplers(name, published):
    with torch.device('meta'):
        nets = [get_backbone(name).create(upscale=scale) for scale in (2, 3, 4)]
    upsamplers = [parameters(net.upsampler) for net in nets]
    common = {parameters(net) - upsampler for net, upsampler in zip(nets, upsamplers, strict=True)}
    assert len(common) == 1
    mean_shift = 2 * (3 * 3 + 3)
    assert common.pop() + sum(upsamplers) + mean_shift == pytest.approx(published, abs=500 if name == 'CARN' else 0)


def test_every_family_is_tested():
    ours = {name for name, backbone in BACKBONE_REGISTRY if backbone.origin.startswith('basicsr_amsr.')}
    assert ours == set(OPTIONS)


@pytest.mark.parametrize(('name', 'scale'), CASES)
@torch.no_grad()
def test_output_is_exactly_scale_times_the_input(name, scale):
    net = network(name, scale)
    channels = get_backbone(name).channels
    for height, width in SIZES:
        result = net(image(2, channels, height, width))
        assert result.shape == (2, channels, scale * height, scale * width)
        assert result.isfinite().all()


@pytest.mark.parametrize(('name', 'scale'), CASES)
@torch.no_grad()
def test_images_of_one_batch_do_not_meet(name, scale):
    net = network(name, scale)
    x = image(3, get_backbone(name).channels, 9, 12)
    together = net(x)
    apart = torch.cat([net(one[None]) for one in x])
    assert torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', OPTIONS)
@torch.no_grad()
def test_half_precision_stays_near_single(name, dtype):
    scale = get_backbone(name).scales[-1]
    net = network(name, scale)
    x = image(1, get_backbone(name).channels, 15, 10)
    expected = net(x)
    result = net.to(dtype)(x.to(dtype))
    assert result.dtype == dtype
    # units in the last place of the output's own range, times the rounding that a few layers pile up
    tolerance = 8 * torch.finfo(dtype).eps * max(expected.abs().max().item(), 1)
    assert (result.float() - expected).abs().max() < tolerance


@pytest.mark.parametrize('name', OPTIONS)
@torch.no_grad()
def test_memory_layout_does_not_matter(name):
    scale = get_backbone(name).scales[0]
    net = network(name, scale)
    x = image(2, get_backbone(name).channels, 9, 12)
    expected = net(x)
    result = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize('name', [n for n in OPTIONS if n not in ('DnCNN', 'SwinIR', 'SwinIR_light', 'DAT')])
@torch.no_grad()
def test_gray_networks(name):
    scale = get_backbone(name).scales[0]
    assert network(name, scale, num_in_ch=1, num_out_ch=1)(image(1, 1, 6, 5)).shape == (1, 1, scale * 6, scale * 5)


@pytest.mark.parametrize('name', OPTIONS)
def test_every_parameter_learns(name):
    scale = get_backbone(name).scales[-1]
    net = network(name, scale).train()
    net(image(2, get_backbone(name).channels, 16, 16)).square().mean().backward()
    silent = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


@pytest.mark.parametrize('name', ['FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN', 'EDSR', 'CARN'])
@torch.no_grad()
def test_a_network_that_stops_at_its_feature_goes_on_from_there(name):
    net = network(name, 3)
    x = image(1, 3, 7, 10)
    feature = net.extract(x)
    assert feature.shape[-2:] == x.shape[-2:]
    assert torch.equal(net.reconstruct(feature, x), net(x))


@pytest.mark.parametrize(('name', 'theirs', 'options'), [
    ('EDSR', edsr_arch.EDSR, {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'res_scale': 0.1}),
    ('RCAN', rcan_arch.RCAN, {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_group': 2, 'num_block': 1,
                              'squeeze_factor': 1}),
])
@torch.no_grad()
def test_edsr_and_rcan_compute_what_basicsr_does(name, theirs, options):
    ours, reference = network(name, 3), theirs(upscale=3, **options)
    reference.load_state_dict(ours.state_dict())
    x = image(1, 3, 8, 11)
    assert torch.allclose(ours(x), reference(x), atol=1e-5)


def test_swinir_computes_what_basicsr_does_and_pads_other_sizes_by_reflection():
    ours = network('SwinIR', 2)
    reference = swinir_arch.SwinIR(img_size=8, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4, mlp_ratio=2,
                                upscale=2, upsampler='pixelshuffle').eval()
    reference.load_state_dict(ours.state_dict())
    x = image(1, 3, 8, 12)
    assert torch.equal(ours(x), reference(x))  # with gradients; without, attention is fused (test_swinir_attention.py)
    x = image(1, 3, 7, 10)
    assert torch.equal(ours(x), reference(F.pad(x, (0, 2, 0, 1), mode='reflect'))[..., :14, :20])


@torch.no_grad()
def test_rrdbnet_computes_what_basicsr_does_and_pads_odd_sizes_at_x2():
    for scale in (2, 4):
        ours = network('RRDBNet', scale)
        reference = rrdbnet_arch.RRDBNet(3, 3, scale, 8, 1, 4)
        reference.load_state_dict(ours.state_dict())
        x = image(1, 3, 6, 8)
        assert torch.equal(ours(x), reference(x))
        x = image(1, 3, 5, 7)
        padded = F.pad(x, (0, 1, 0, 1), mode='reflect') if scale == 2 else x
        assert torch.equal(ours(x), reference(padded)[..., :5 * scale, :7 * scale])


@torch.no_grad()
def test_esa_pools_where_the_window_fits_and_nowhere_else():
    torch.manual_seed(0)
    pooling, plain = ESA(8), ESA(8, pool=False)
    plain.load_state_dict(pooling.state_dict())
    differs = {}
    for side in (14, 15, 16):  # the strided convolution makes 6, 7, 7 of these
        x = image(1, 8, side, 20)
        differs[side] = not torch.equal(pooling(x), plain(x))
    assert differs == {14: False, 15: True, 16: True}


def test_dncnn_takes_its_noise_away():
    net = network('DnCNN')
    x = image(1, 1, 6, 6)
    last = net.body[-1]
    torch.nn.init.zeros_(last.weight)
    assert torch.equal(net(x), x)


def test_names_free_in_basicsr_are_registered_there_too():
    for name in OPTIONS:
        assert name in ARCH_REGISTRY
    for name in ('EDSR', 'RCAN', 'MSRResNet', 'SwinIR', 'RRDBNet'):
        assert ARCH_REGISTRY.get(name).__module__.startswith('basicsr.archs.')
    assert isinstance(ARCH_REGISTRY.get('SwinIR_light')(upscale=2, img_size=8), get_backbone('SwinIR_light').build)
    assert ARCH_REGISTRY.get('RFDN') is get_backbone('RFDN').build


@pytest.mark.parametrize(('name', 'options', 'words'), [
    ('RFDN', {'upscale': 5}, 'upscale 5'),
    ('RRDBNet', {'upscale': 3}, 'upscale 3'),
    ('PAN', {'num_feats': 3}, "'num_feats'.* num_feat"),
    ('SwinIR', {'upsampler': 'nearest'}, "'nearest'"),
    ('SwinIR', {'depths': (6, 6)}, 'depths'),
    ('RCAN', {'rgb_mean': (0.5, 0.5)}, 'rgb_mean'),
])
def test_options_that_make_no_sense_are_named(name, options, words):
    with pytest.raises(UserError, match=words):
        get_backbone(name).create(**options)


def test_networks_built_through_basicsr_refuse_other_scales_too():
    with pytest.raises(UserError, match='upscale 5'):
        ARCH_REGISTRY.get('PAN')(upscale=5)


def test_an_unknown_backbone_lists_the_near_ones():
    with pytest.raises(UserError, match='Did you mean RFDN'):
        get_backbone('rfdm')


def test_a_missing_option_is_named():
    backbone = Backbone('Own', build=lambda width: torch.nn.Conv2d(3, width, 1))
    assert backbone.create(width=2).out_channels == 2
    with pytest.raises(UserError, match="backbone Own: missing a required argument: 'width'"):
        backbone.create()


def test_a_name_taken_in_basicsr_is_still_a_backbone(monkeypatch):
    monkeypatch.setattr(ARCH_REGISTRY, '_obj_map', {**ARCH_REGISTRY._obj_map, 'TakenByAnother': torch.nn.Identity})
    monkeypatch.setattr(BACKBONE_REGISTRY, '_obj_map', dict(BACKBONE_REGISTRY._obj_map))
    register_backbone('TakenByAnother', torch.nn.Linear)
    assert ARCH_REGISTRY.get('TakenByAnother') is torch.nn.Identity
    assert get_backbone('TakenByAnother').build is torch.nn.Linear
    with pytest.raises(UserError, match='is taken by'):
        register_backbone('TakenByAnother', torch.nn.Linear)
