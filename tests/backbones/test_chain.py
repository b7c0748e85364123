"""Networks cut by name."""
import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn

from basicsr_amsr import UserError
from basicsr_amsr.backbones import get_backbone
from basicsr_amsr.backbones.chain import cut_chain
from basicsr_amsr.mga.network import MGA

BLOCKS = 5


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(x.relu())


class Network(nn.Module):
    """A loop over a ModuleList inside a submodule, a long skip, a skip from the image, an enlargement by a function."""

    def __init__(self, upscale=2, width=8, blocks=BLOCKS):
        super().__init__()
        self.upscale = upscale
        self.register_buffer('mean', torch.full((1, 3, 1, 1), 0.4), persistent=False)
        self.head = nn.Conv2d(3, width, 3, 1, 1)
        self.trunk = nn.ModuleDict({'blocks': nn.ModuleList(Block(width) for _ in range(blocks)),
                                    'last': nn.Conv2d(width, width, 3, 1, 1)})
        self.act = nn.ReLU()
        self.up = nn.Conv2d(width, 3 * upscale**2, 3, 1, 1)

    def forward(self, x):
        centred = x - self.mean
        start = features = self.act(self.head(centred))
        for block in self.trunk['blocks']:
            features = block(features)
        features = self.trunk['last'](features) + start
        skip = F.interpolate(centred, scale_factor=self.upscale, mode='bilinear')
        return F.pixel_shuffle(self.act(self.up(features)), self.upscale) + skip + self.mean


def plain(**options):
    torch.manual_seed(0)
    return Network(**options).eval()


CASES = {
    'own': (plain, 'trunk.blocks', 'up'),
    'EDSR': (lambda: get_backbone('EDSR').create(upscale=3, num_feat=8, num_block=BLOCKS).eval(), 'body', 'upsample'),
    'MSRResNet x4': (lambda: MSRResNet(num_feat=8, num_block=BLOCKS, upscale=4).eval(), 'body', 'upconv1'),
    'MSRResNet x3': (lambda: MSRResNet(num_feat=8, num_block=BLOCKS, upscale=3).eval(), 'body', 'upconv1'),
}


def shortened(net, body):
    net = copy.deepcopy(net)
    blocks = net.get_submodule(body)
    for _ in range(2):
        del blocks[len(blocks) - 1]
    return net


@pytest.mark.parametrize('case', CASES)
@torch.no_grad()
def test_base_is_the_network_with_fewer_blocks_and_refine_has_the_others(case):
    build, body, tail = CASES[case]
    net = build()
    parts = cut_chain(copy.deepcopy(net), body, tail, (3, 2))
    for size in ((1, 1), (7, 10)):
        x = torch.rand(2, 3, *size)
        assert torch.equal(parts.base(x), shortened(net, body)(x))
    scale = parts.scale
    assert x.shape[2] * scale == net(x).shape[2]
    assert parts.refine(torch.rand(2, 8, 6, 9)).shape == (2, 3, 4 * scale, 7 * scale)
    assert parts.refine(torch.rand(2, 8, 6, 9), halo=False).shape == (2, 3, 6 * scale, 9 * scale)
    # the refine net's body is that of the plain network, in a copy of its own
    whole = list(net.get_submodule(body).children())
    for block, own in zip(whole[3:], parts.refine.body, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(block.parameters(), own.parameters(), strict=True))
    base, refine = (set(map(id, module.parameters())) for module in parts[:2])
    assert not base & refine


@torch.no_grad()
def test_refine_goes_through_body_long_skip_joints_and_upsampler_without_the_images_skip():
    net = plain()
    parts = cut_chain(copy.deepcopy(net), 'trunk.blocks', 'up', (3, 2))
    feature = torch.rand(1, 8, 6, 7)
    x = feature
    for block in net.trunk['blocks'][3:]:
        x = block(x)
    x = net.trunk['last'](x) + feature
    x = F.leaky_relu(parts.refine.conv.conv1(x), 0.1)
    x = parts.refine.conv.conv2(x)
    black = F.interpolate(torch.zeros(1, 3, 4, 5) - net.mean, scale_factor=2, mode='bilinear')
    expected = F.pixel_shuffle(net.up(x).relu(), 2) + black + net.mean
    assert torch.allclose(parts.refine(feature), expected, atol=1e-6)


def test_buffers_that_are_not_saved_stay_out_of_the_checkpoint():
    parts = cut_chain(plain(), 'trunk.blocks', 'up', (3, 2))
    assert not any('mean' in key for key in {**parts.base.state_dict(), **parts.refine.state_dict()})
    assert any('mean' in name for name, _ in parts.base.named_buffers())


class Particular(Block):
    """Draws at random and normalises by the batch while it trains, and treats small maps differently."""

    def __init__(self, width):
        super().__init__(width)
        self.norm, self.drop = nn.BatchNorm2d(width), nn.Dropout(0.5)

    def forward(self, x):
        y = self.drop(self.norm(self.conv(x)))
        return x + (F.max_pool2d(y, 3, 1, 1) if y.shape[2] > 6 else y)


def test_pieces_behave_as_the_networks_own_modules():
    net = plain()
    for index in range(BLOCKS):
        net.trunk['blocks'][index] = Particular(8)
    net.act, net.trunk['last'] = nn.Dropout(0.5), Particular(8)
    whole = shortened(net, 'trunk.blocks')
    parts = cut_chain(net, 'trunk.blocks', 'up', (3, 2))
    for base in (parts.base, copy.deepcopy(parts.base), pickle.loads(pickle.dumps(parts.base))):
        twin = copy.deepcopy(whole)
        for training, side in ((False, 9), (False, 5), (True, 9), (True, 5), (False, 9)):
            base.train(training), twin.train(training)
            x = torch.rand(2, 3, side, 8)
            torch.manual_seed(1)
            found = base(x)
            torch.manual_seed(1)
            assert torch.equal(found, twin(x))
    parts.base.middle.get_submodule('trunk.last').register_forward_hook(lambda *_: 0 * parts.base.stem(x))
    assert torch.equal(parts.base.extract(x), parts.base.stem(x))  # a hook counts


@pytest.mark.parametrize('name', ['EDSR', 'EDSR_baseline', 'MSRResNet'])
@pytest.mark.parametrize('scale', [2, 3, 4])
@torch.no_grad()
def test_our_backbones_that_are_cut_by_name(name, scale):
    net = MGA({'type': name, 'upscale': scale, 'num_feat': 8, 'num_block': 5}, split_blocks=(3, 2), k=2).eval()
    for size in ((1, 1), (9, 6)):
        assert net(torch.rand(2, 3, *size)).shape == (2, 3, scale * size[0], scale * size[1])
    with torch.device('meta'):
        full = get_backbone(name)
        parts = full.cut(upscale=scale, num_feat=8)
    assert (len(parts.base.body), len(parts.refine.body)) == full.split_blocks


@torch.no_grad()
def test_a_network_of_basicsr_is_cut_in_the_options():
    net = MGA({'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': BLOCKS, 'upscale': 2},
              cut={'body': 'body', 'tail': 'upsample'}, split_blocks=(3, 2))
    assert net.scale == 2
    # a name that only BasicSR's ARCH registry has
    other = {'type': 'ECBSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 4, 'num_channel': 8,
                     'with_idt': False, 'act_type': 'relu', 'scale': 2}
    with pytest.raises(UserError, match='no backbone: say where to cut it') as caught:
        MGA(other)
    assert '\n' not in str(caught.value)


class Fused(Network):
    def forward(self, x):
        outputs = [self.head(x)]
        for block in self.trunk['blocks']:
            outputs.append(block(outputs[-1]))
        return F.pixel_shuffle(self.up(sum(outputs)), 2)


class Skipping(Network):
    def forward(self, x):
        start = features = self.head(x)
        for block in self.trunk['blocks']:
            features = block(features)
        return F.pixel_shuffle(self.up(features), 2) + F.interpolate(start[:, :3], scale_factor=2)


class Branching(Network):
    def forward(self, x):
        return super().forward(x if x.mean() > 0.5 else x + 1)


class Enlarged(Network):
    def forward(self, x):
        features = self.head(x)
        for block in self.trunk['blocks']:
            features = block(features)
        return self.head.weight.sum() + self.up(F.interpolate(features, scale_factor=2))


class Unpadded(Network):
    def __init__(self):
        super().__init__()
        self.trunk['blocks'][4].forward = nn.Conv2d(8, 8, 3)


@pytest.mark.parametrize(('kind', 'options', 'words'), [
    (Network, {'body': 'trunk.block'}, 'trunk.blocks'),
    (Network, {'tail': 'upp'}, "tail 'upp' is none of its modules. Did you mean up"),
    (Network, {'body': 'head'}, 'no list of blocks'),
    (Network, {'split_blocks': (3, 1)}, 'add up to 5'),
    (Network, {'split_blocks': (5, 0)}, 'add up to 5'),
    (Network, {'tail': 'act'}, 'called 2 times'),
    (Fused, {}, 'no plain chain'),
    (Skipping, {}, r'what another part has computed \(head\)'),
    (Branching, {}, 'depends on the image'),
    (Enlarged, {}, 'is given 16x16'),
    (Unpadded, {}, 'does not run when it is cut|do not keep the size'),
])
def test_networks_that_cannot_be_cut_by_name_are_one_line(kind, options, words):
    with pytest.raises(UserError, match=words) as caught:
        cut_chain(kind(), **{'body': 'trunk.blocks', 'tail': 'up', 'split_blocks': (3, 2), **options})
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('options', 'words'), [
    ({'cut': {'bodi': 'body', 'tail': 'upsample'}}, 'body'), ({'cut': {'body': 'body'}}, 'no tail'),
    ({'cut': {'body': 'body', 'tail': 'upsample'}}, 'split_blocks'),
])
def test_senseless_cuts_are_one_line(options, words):
    with pytest.raises(UserError, match=words) as caught:
        MGA({'type': 'EDSR', 'upscale': 2, 'num_feat': 8, 'num_block': 3}, **options)
    assert '\n' not in str(caught.value)
