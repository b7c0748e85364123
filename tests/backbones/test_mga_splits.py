"""The five networks cut for MGA: parameters and costs of table 1, sizes, value range."""
import csv
from functools import cache

import pytest
import torch
from torch import nn

from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.mga.halo_patches import all_patches, gather_patches, pad_to_grid
from basicsr_amsr.mga.mask import MaskPrediction
from tests.backbones.tiny import SPLIT, split_options

PATCH = 4
K = 1000


@cache
def split(name: str, scale: int):
    with torch.device('meta'):
        return get_backbone(name).split(upscale=scale)


def tiny(name: str, scale: int):
    torch.manual_seed(0)
    return get_backbone(name).split(1, 1, upscale=scale, **split_options(name, 2))


def table(shared, scale: int) -> dict:
    with open(shared / 'paper' / 'mga_table1.csv', encoding='utf-8') as file:
        return {row['method']: row for row in csv.DictReader(file) if row['scale'] == str(scale)}


def printed(parameters: int) -> str:
    return f'{parameters / 1e6:.2f}M' if parameters >= 1e6 else f'{parameters / 1e3:.0f}K'


def macs_paper(module: nn.Module, call) -> int:
    """The paper's count of one call: convolutions (at their output size), and one per element of an activation."""
    total = 0

    def count(layer, _, output):
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            total += output.numel() * layer.in_channels // layer.groups * layer.weight[0, 0].numel()
        elif isinstance(layer, nn.ReLU | nn.LeakyReLU | nn.PReLU):
            total += output.numel()

    handles = [layer.register_forward_hook(count) for layer in module.modules()]
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return total


def base_macs(parts, height: int, width: int) -> int:
    image = torch.empty(1, 3, height, width, device='meta')
    return macs_paper(parts.base, lambda: parts.base.reconstruct(parts.base.extract(image), image))


def refine_macs(parts, height: int, width: int, halo: bool) -> int:
    feature = torch.empty(1, parts.num_feat, height + 2 * halo, width + 2 * halo, device='meta')
    return macs_paper(parts.refine, lambda: parts.refine(feature, halo=halo))


def over_sizes(macs, sizes, linear: bool) -> dict:
    """Costs of each size; of a network that is linear in the area (RFDN's strides are not) from two small maps."""
    if not linear:
        return {size: macs(*size) for size in set(sizes)}
    small, large = macs(16, 16), macs(32, 32)
    per_pixel = (large - small) / (32 * 32 - 16 * 16)
    return {size: small + per_pixel * (size[0] * size[1] - 16 * 16) for size in set(sizes)}


@pytest.mark.parametrize('scale', [3, 4])
@pytest.mark.parametrize('name', SPLIT)
def test_parameters_are_those_of_table_1(shared, name, scale):
    # the paper prints SRResNet x2's parameters in the rows of x3
    parts = split(name, 2 if (name, scale) == ('SRResNet', 3) else scale)
    base, refine = (sum(p.numel() for p in net.parameters()) for net in (parts.base, parts.refine))
    mask = sum(p.numel() for p in MaskPrediction(parts.num_feat).parameters())
    counts = {'B': base, 'D': base + refine, 'A': base + refine, 'M': base + refine + mask}
    rows = table(shared, scale)
    assert {v: printed(n) for v, n in counts.items()} == {v: rows[f'{name}-{v}']['params'] for v in 'BDAM'}


@pytest.mark.parametrize('scale', [3, 4])
@pytest.mark.parametrize('name', SPLIT)
def test_costs_on_urban100_are_those_of_table_1(shared, name, scale):
    parts = split(name, scale)
    with open(shared / 'paper' / 'urban100_sizes.csv', encoding='utf-8') as file:
        sizes = [tuple(int(row[side]) // scale // PATCH * PATCH for side in ('height', 'width'))
                 for row in csv.DictReader(file)]
    base = over_sizes(lambda *size: base_macs(parts, *size), sizes, linear=name != 'RFDN')
    whole = over_sizes(lambda *size: refine_macs(parts, *size, halo=False), sizes, linear=name != 'RFDN')
    patch = refine_macs(parts, PATCH, PATCH, halo=True)
    mask = 9 * parts.num_feat**2  # per pixel: all that the paper counts of the mask module
    costs = {
        'B': [base[s] for s in sizes],
        'D': [base[s] + whole[s] for s in sizes],
        'A': [base[s] + patch * (s[0] * s[1] // PATCH**2) for s in sizes],
        'M': [base[s] + patch * K + mask * s[0] * s[1] for s in sizes],
    }
    rows = table(shared, scale)
    for variant, values in costs.items():
        expected = float(rows[f'{name}-{variant}']['urban100_gflops'])
        assert sum(values) / len(values) / 1e9 == pytest.approx(expected, rel=1e-3), variant


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', SPLIT)
@torch.no_grad()
def test_refine_gives_the_image_of_any_patch_with_and_without_halo(name, scale):
    parts = tiny(name, scale)
    for height, width in [(1, 1), (1, 5), (2, 3), (4, 4), (16, 17)]:
        feature = torch.rand(2, parts.num_feat, height + 2, width + 2)
        assert parts.refine(feature).shape == (2, 3, scale * height, scale * width)
        assert parts.refine(feature, halo=False).shape == (2, 3, scale * (height + 2), scale * (width + 2))


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', ['FSRCNN', 'PAN', 'SRResNet'])
@torch.no_grad()
def test_patches_far_from_the_border_of_a_uniform_feature_agree_with_the_whole_map(name, scale):
    # a constant feature, refined by 1×1-like kernels (centre taps alone): what a patch gives must not depend on where
    # the halo was consumed, or pixels would be shifted against the coarse image
    parts = tiny(name, scale)
    for layer in parts.refine.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            centre = torch.zeros_like(layer.weight)
            middle = layer.kernel_size[0] // 2
            centre[..., middle, middle] = layer.weight[..., middle, middle]
            layer.weight.copy_(centre)
    feature = torch.rand(1, parts.num_feat, 8, 12)
    index = all_patches(1, 2, 3, feature.device)
    patches = parts.refine(gather_patches(pad_to_grid(feature, PATCH), index, PATCH))
    whole = parts.refine(feature, halo=False)
    side = PATCH * scale
    for patch, row, col in zip(patches, index.row, index.col, strict=True):
        expected = whole[0, :, row * side:(row + 1) * side, col * side:(col + 1) * side]
        if name == 'FSRCNN':  # its 9×9 transposed convolution reaches into the neighbouring patch
            reach = 4
            patch, expected = patch[:, reach:-reach, reach:-reach], expected[:, reach:-reach, reach:-reach]
        assert torch.allclose(patch, expected, atol=1e-5)


@pytest.mark.parametrize('name', ['RFDN', 'RCAN'])
@torch.no_grad()
def test_refine_undoes_the_range_that_images_have_inside(name):
    # with the refine body at zero, only its upsampler's bias is left: it must come out as in the base net's upsampler
    parts = tiny(name, 2)
    for net in (parts.base, parts.refine):
        for parameter in net.parameters():
            parameter.zero_()
    image = torch.rand(1, 3, 5, 5)
    coarse = parts.base(image)
    assert torch.equal(parts.refine(parts.base.extract(image), halo=False), coarse)
    last = {'RFDN': 'upsampler.0.bias', 'RCAN': 'conv_last.bias'}[name]
    for net in (parts.base, parts.refine):
        net.get_parameter(last).fill_(51.0)
    assert torch.allclose(parts.base(image) - coarse, torch.tensor(0.2))
    assert torch.equal(parts.refine(parts.base.extract(image), halo=False), parts.base(image))


@pytest.mark.parametrize('name', SPLIT)
def test_the_base_net_is_the_published_network_with_fewer_blocks(name):
    backbone = get_backbone(name)
    parts, full = tiny(name, 2), backbone.create(upscale=2, **split_options(name, 2))
    theirs = {key: value.shape for key, value in full.state_dict().items()}
    ours = {key: value.shape for key, value in parts.base.state_dict().items()}
    assert set(ours) < set(theirs)
    # RFDN fuses the outputs of all its blocks, so that one layer depends on their number
    assert [key for key in ours if ours[key] != theirs[key]] == (['body.fuse.0.weight'] if name == 'RFDN' else [])


@pytest.mark.parametrize('name', SPLIT)
def test_the_papers_split_is_the_default(name):
    backbone = get_backbone(name)
    counts = [sum(p.numel() for p in net.parameters()) for net in split(name, 4)[:2]]
    with torch.device('meta'):
        explicit = backbone.split(*backbone.split_blocks, upscale=4)
    assert counts == [sum(p.numel() for p in net.parameters()) for net in explicit[:2]]
