"""Tiny networks of every family, quick to run."""
import torch

from basicsr_amsr.backbones import get_backbone

OPTIONS = {
    'FSRCNN': {'num_feat': 6, 'num_shrink': 4, 'num_block': 2},
    'PAN': {'num_feat': 8, 'num_up_feat': 6, 'num_block': 2},
    'RFDN': {'num_feat': 8, 'num_block': 2},
    'SRResNet': {'num_feat': 8, 'num_block': 2},
    'RCAN': {'num_feat': 8, 'num_group': 2, 'num_block': 1, 'squeeze_factor': 1},
    'CARN': {'num_feat': 8},
    'CARN_M': {'num_feat': 8},
    'DnCNN': {'num_feat': 8, 'num_layer': 5},
    'EDSR': {'num_feat': 8, 'num_block': 2},
    'EDSR_baseline': {'num_feat': 8, 'num_block': 2},
    'MSRResNet': {'num_feat': 8, 'num_block': 2},
    'RRDBNet': {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    'SRVGGNetCompact': {'num_feat': 8, 'num_conv': 2},
    'SPAN': {'num_feat': 8, 'num_block': 3},
    'SwinIR': {'embed_dim': 8, 'depths': (2, 2), 'num_heads': (2, 2), 'window_size': 4, 'img_size': 8},
    'SwinIR_light': {'embed_dim': 8, 'depths': (2,), 'num_heads': (2,), 'window_size': 4, 'img_size': 8},
    'DAT': {'embed_dim': 64, 'depth': (3,), 'num_heads': (4,), 'split_size': (8, 16), 'img_size': 16},
}
SPLIT = ('FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN')  # by the MGA paper
CASES = [(name, scale) for name in OPTIONS for scale in get_backbone(name).scales]


def network(name: str, scale: int = 1, **options):
    """A tiny network in evaluation mode, seeded."""
    torch.manual_seed(0)
    if scale > 1:
        options['upscale'] = scale
    return get_backbone(name).create(**{**OPTIONS[name], **options}).eval()


def split_options(name: str, total: int) -> dict:
    """The options of a tiny network for MGA; one that is cut by names gets its `total` of body blocks."""
    blocks, body = get_backbone(name).blocks, get_backbone(name).body
    options = {key: value for key, value in OPTIONS[name].items() if key != blocks}
    return {**options, blocks: total} if body else options


def image(*shape: int) -> torch.Tensor:
    """A random image in 0–1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))
