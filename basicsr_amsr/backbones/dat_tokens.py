"""DAT (Chen et al., ICCV 2023), as spandrel has it, in the layers of `execution.tokens`."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.execution.tokens.cells import Window

DENSE = 2  # blocks at the start that compute everything: what is predicted is predicted of what they make


def holds(net: Any) -> bool:
    """Whether a network is a DAT whose cells fit its windows."""
    first: Any = getattr(next(iter(getattr(net, 'layers', ())), None), 'blocks', ())
    return (hasattr(net, 'before_RG') and len(first) > DENSE and hasattr(first[0].attn, 'attns')
            and isinstance(first[0].ffn.act, nn.GELU) and all(side % 8 == 0 for side in first[0].attn.split_size))


def everywhere(net: Any) -> tuple[str, ...]:
    """Names of layers that run at all tokens begin like these."""
    return ('conv_first', *(f'layers.0.blocks.{number}.' for number in range(DENSE)))


def forward(net: Any, x: torch.Tensor, form: Any) -> torch.Tensor:
    """The images of a network for `x` (B, 3, H, W).

    Args:
        form: a `Reference` or a `Packed` of x.
    """
    height, width = x.shape[-2:]
    net.mean = net.mean.type_as(x)
    first = net.conv_first((x - net.mean) * net.img_range)
    start, whole = net.before_RG(first), form.everywhere()
    tokens = whole.unpack(blocks(net.layers[0].blocks[:DENSE], whole.pack(start), whole))
    form.start(tokens.transpose(1, 2).reshape(len(x), -1, height, width))
    value, group = form.pack(tokens), form.pack(start)
    for number, layer in enumerate(net.layers):
        value = blocks(layer.blocks[0 if number else DENSE:], value, form)
        value = group = group + convolved(layer.conv, value, form)
    value = convolved(net.conv_after_body, net.norm(value), form) + form.pack(first.flatten(2).transpose(1, 2))
    if net.upsampler == 'pixelshuffledirect':
        value = form.conv(value, net.upsample[0]) / net.img_range
        return form.picture(value + net.mean.flatten().repeat_interleave(net.upscale**2), net.upscale)
    image: torch.Tensor = net.conv_last(net.upsample(net.conv_before_upsample(form.whole(value))))
    return image / net.img_range + net.mean


def blocks(modules: Any, value: torch.Tensor, form: Any) -> torch.Tensor:
    """Blocks, one after the other."""
    for block in modules:
        attend = between_channels if hasattr(block.attn, 'temperature') else within_windows
        value = attend(block.attn, value, block.norm1, form)
        value = feed_forward(block.ffn, value, block.norm2, form)
    return value


def within_windows(attn: Any, value: torch.Tensor, norm: nn.LayerNorm, form: Any) -> torch.Tensor:
    """A block's Adaptive_Spatial_Attention, added to its input."""
    channels = value.shape[-1]
    query, keys = form.linear(value, attn.qkv, norm).tensor_split((channels,), -1)
    own, store = keys[..., channels:], form.keys(keys)
    half = query.shape[-1] // 2
    shifted = (attn.b_idx > 0 and (attn.b_idx - 2) % 4 == 0) if attn.rg_idx % 2 == 0 else attn.b_idx % 4 == 0
    down, right = attn.shift_size if shifted else (0, 0)
    parts = []
    for number, branch in enumerate(attn.attns):
        shift = (right, down) if number else (down, right)
        window = Window(branch.H_sp, branch.W_sp, *shift, multiple=(max(attn.split_size),) * 2)
        first = number * half
        parts.append(form.attention(
            query[..., first:first + half], store[..., first:first + half], store[..., 2 * half + first:][..., :half],
            window, branch.num_heads, branch.scale, lambda branch=branch: positions(branch), branch))
    attended = torch.cat(parts, -1)
    local = F.gelu(normed(attn.dwconv[1], form.conv(own, attn.dwconv[0])))
    gate = form.spread(of_channels(attn, form.mean(local)))
    attended, local = attended * gate.sigmoid(), local * of_tokens(attn, attended, form).sigmoid()
    result: torch.Tensor = form.linear(attended + local, attn.proj, add=value)
    return result


def between_channels(attn: Any, value: torch.Tensor, norm: nn.LayerNorm, form: Any) -> torch.Tensor:
    """A block's Adaptive_Channel_Attention, added to its input."""
    query, key, own = form.linear(value, attn.qkv, norm).chunk(3, -1)
    found = form.moments(query, key, attn.num_heads)
    lengths = [each.sqrt().clamp(min=1e-12).view(len(each), attn.num_heads, -1) for each in (found.queries, found.keys)]
    scores = found.products / lengths[0][..., None] / lengths[1][:, :, None] * attn.temperature
    matrices = scores.softmax(-1)
    attended = form.times(own, matrices)
    mean = form.mean(own).view(*lengths[0].shape, 1)
    local = F.gelu(normed(attn.dwconv[1], form.conv(own, attn.dwconv[0])))
    channels = form.spread(of_channels(attn, (matrices @ mean).flatten(1)))
    attended, local = attended * of_tokens(attn, local, form).sigmoid(), local * channels.sigmoid()
    result: torch.Tensor = form.linear(attended + local, attn.proj, add=value)
    return result


def feed_forward(ffn: Any, value: torch.Tensor, norm: nn.LayerNorm, form: Any) -> torch.Tensor:
    """A block's SGFN, added to its input."""
    kept, gate = form.linear(value, ffn.fc1, norm, gelu=True).chunk(2, -1)
    result: torch.Tensor = form.linear(kept * form.conv(ffn.sg.norm(gate), ffn.sg.conv), ffn.fc2, add=value)
    return result


def convolved(module: nn.Module, value: torch.Tensor, form: Any) -> torch.Tensor:
    """A convolution or several, with activations."""
    for each in module if isinstance(module, nn.Sequential) else (module,):
        if not isinstance(each, nn.Conv2d):
            value = each(value)
        elif each.kernel_size == (1, 1):
            value = form.linear(value, each)
        else:
            value = form.conv(value, each)
    return value


def positions(branch: Any) -> torch.Tensor:
    """Biases of relative positions, (heads, tokens of a window, the same)."""
    tokens = branch.H_sp * branch.W_sp
    found: torch.Tensor = branch.pos(branch.rpe_biases)[branch.relative_position_index.flatten()]
    return found.view(tokens, tokens, -1).permute(2, 0, 1)


def of_channels(attn: Any, mean: torch.Tensor) -> torch.Tensor:
    """channel_interaction, of the average (B, C) over the image."""
    found: torch.Tensor = attn.channel_interaction[1:](mean[..., None, None])
    return found.flatten(1)


def of_tokens(attn: Any, value: torch.Tensor, form: Any) -> torch.Tensor:
    """spatial_interaction."""
    narrow, norm, act, wide = attn.spatial_interaction
    found: torch.Tensor = form.linear(act(normed(norm, form.linear(value, narrow))), wide)
    return found


def normed(norm: nn.BatchNorm2d, value: torch.Tensor) -> torch.Tensor:
    """Batch normalisation of tokens."""
    rows = value.reshape(-1, value.shape[-1])
    return F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training,
                        norm.momentum or 0.0, norm.eps).view(value.shape)
