"""SPAN: Swift Parameter-free Attention Network (Wan et al., CVPR workshops 2024), as it runs: convolutions merged."""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.backbones.keys import Rule, StateDict, count, identifier, rename
from basicsr_amsr.backbones.layers import check_upscale
from basicsr_amsr.backbones.skips import units_of
from basicsr_amsr.backbones.spec import register_backbone

MEAN = (0.4488, 0.4371, 0.4040)


class SPAB(nn.Module):
    """Three 3×3 convolutions, whose result says by a fixed function how much of it is taken (equations 3 to 5)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(num_feat, num_feat, 3, 1, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same size."""
        return self.attend(x, F.silu(self.conv1(x)))

    def attend(self, x: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        """The rest, with what its first convolution made of x."""
        result = self.conv3(F.silu(self.conv2(middle)))
        return (result + x) * (torch.sigmoid(result) - 0.5)


class SPAN(nn.Module):
    """SPAN with one convolution in place of each group that is trained.

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: image channels.
        num_feat: channels of the body. num_block: blocks, two or more.
        img_range, rgb_mean: inside, images are (x − rgb_mean) · img_range, and results are those of the publication's
            code, in 0–1; None for networks trained without.
    """

    mean: torch.Tensor

    def __init__(self, upscale: int = 4, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 48,
                 num_block: int = 6, img_range: float = 255.0, rgb_mean: Sequence[float] | None = MEAN) -> None:
        super().__init__()
        self.upscale, self.img_range = check_upscale('SPAN', upscale), img_range
        shift = rgb_mean if rgb_mean is not None and num_in_ch == len(rgb_mean) else [0.0] * num_in_ch
        self.normalises = rgb_mean is not None
        self.register_buffer('mean', torch.tensor(list(shift)).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = nn.ModuleList(SPAB(num_feat) for _ in range(num_block))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_fuse = nn.Conv2d(4 * num_feat, num_feat, 1)
        self.conv_up = nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to (N, C, upscale·H, upscale·W)."""
        if self.normalises:
            x = (x - self.mean) * self.img_range
        last = self.body[-1]
        assert isinstance(last, SPAB)
        first = self.conv_first(x)
        x = after_one = self.body[0](first)
        for block in self.body[1:-1]:
            x = block(x)
        middle = F.silu(last.conv1(x))
        x = last.attend(x, middle)
        joined = torch.cat([first, self.conv_after_body(x), after_one, middle], 1)
        return F.pixel_shuffle(self.conv_up(self.conv_fuse(joined)), self.upscale)


# The authors' code; `.sk` and `.conv` of a group of convolutions are merged by `convert`.
PUBLIC_NAMES: list[Rule] = [
    (r'conv_1\.', 'conv_first.'),
    (r'block_(\d+)\.c(\d)_r\.', lambda match: f'body.{int(match[1]) - 1}.conv{match[2]}.'),
    (r'conv_2\.', 'conv_after_body.'),
    (r'conv_cat\.', 'conv_fuse.'),
    (r'upsampler\.0\.', 'conv_up.'),
]
GROUP = re.compile(r'(.+)\.sk\.weight$')


def merged(state_dict: StateDict) -> StateDict:
    """Each group of a 1×1, a 3×3 and a 1×1 convolution with a 1×1 beside it as the 3×3 convolution that it equals."""
    found = {key: value for key, value in state_dict.items() if not re.search(r'\.(sk|conv|eval_conv)\.', key)}
    for key in state_dict:
        group = GROUP.match(key)
        if group is None:
            continue
        one, three, last, beside = (
            [state_dict[f'{group[1]}.{name}.{part}'].double() for part in ('weight', 'bias')]
            for name in ('conv.0', 'conv.1', 'conv.2', 'sk'))
        weight = torch.einsum('om,mnyx,ni->oiyx', last[0].flatten(1), three[0], one[0].flatten(1))
        weight[..., 1, 1] += beside[0].flatten(1)
        bias = last[0].flatten(1) @ (three[0].sum((2, 3)) @ one[1] + three[1]) + last[1] + beside[1]
        found[f'{group[1]}.weight'], found[f'{group[1]}.bias'] = weight.float(), bias.float()
    return found


def convert(state_dict: StateDict, net: nn.Module) -> StateDict:
    """The authors' weights as ours; `no_norm` marks networks trained without normalisation."""
    return {key: value for key, value in merged(rename(state_dict, PUBLIC_NAMES)).items() if key != 'no_norm'}


def read_options(state_dict: StateDict) -> dict[str, Any]:
    """The options that shapes tell; of weights of our own names not whether images are normalised."""
    state = merged(state_dict)
    first, last = state['conv_first.weight'], state['conv_up.weight']
    if 'conv_fuse.weight' not in state or 'body.0.conv3.weight' not in state:
        return {}
    found = {'upscale': round((last.shape[0] / first.shape[1])**0.5), 'num_in_ch': first.shape[1],
             'num_out_ch': first.shape[1], 'num_feat': first.shape[0], 'num_block': count(state, r'body\.(\d+)\.')}
    return {**found, 'rgb_mean': None} if 'no_norm' in state_dict else found


def identify(state_dict: StateDict) -> dict[str, Any]:
    """The options that the shapes of a checkpoint tell, see `Backbone.identify`."""
    renamed = rename(state_dict, PUBLIC_NAMES)
    public = 'conv_first.sk.weight' in renamed
    needed = ['conv_first.sk.weight' if public else 'conv_first.weight', 'conv_fuse.weight', 'conv_up.weight']
    return identifier(read_options, needed)(renamed)


register_backbone(
    'SPAN', SPAN, defaults={'upscale': 4}, convert=convert, identify=identify, skips=units_of(SPAB),
    source='Wan et al., Swift Parameter-free Attention Network for Efficient Super-Resolution, CVPR workshops 2024')
