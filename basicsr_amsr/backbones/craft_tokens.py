"""CRAFT (Li et al., ICCV 2023), as spandrel has it, in the layers of `execution.tokens`."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from basicsr_amsr.execution.tokens.cells import Window

DENSE = 1  # fusion blocks at the start that compute everything


def holds(net: Any) -> bool:
    """Whether a network is a CRAFT whose cells of 2x2 fit its windows and shifts."""
    first = getattr(next(iter(getattr(net, 'layers', ())), None), 'residual_group', None)
    return (hasattr(first, 'srwa_blocks') and hasattr(first, 'hf_blocks') and net.layers[0].residual_group.depth > DENSE
            and all(side % 4 == 0 and net.window_size % side == 0 for side in net.split_size))


def everywhere(net: Any) -> tuple[str, ...]:
    """Names of layers that run at all tokens begin like these."""
    group = 'layers.0.residual_group.'
    return ('conv_first', *(f'{group}srwa_blocks.{number}.' for number in range(2 * DENSE)),
            *(f'{group}{kind}.{number}.' for kind in ('hfer_blocks', 'hf_blocks') for number in range(DENSE)))


def pad(net: Any, x: torch.Tensor) -> torch.Tensor:
    """The images with what the network puts below and on their right: at least a row and a column of their mirror."""
    height, width = ((side // net.window_size + 1) * net.window_size for side in x.shape[-2:])
    x = torch.cat([x, x.flip(2)], 2)[:, :, :height]
    return torch.cat([x, x.flip(3)], 3)[..., :width]


def forward(net: Any, x: torch.Tensor, form: Any) -> torch.Tensor:
    """The images of a network for `x`, padded by `pad`.

    Args:
        form: a `Reference` or a `Packed` of x.
    """
    net.mean = net.mean.type_as(x)
    first = net.conv_first((x - net.mean) * net.img_range)
    start, whole = first.flatten(2).transpose(1, 2), form.everywhere()
    tokens = whole.unpack(fused(net, net.layers[0].residual_group, range(DENSE), whole.pack(start), whole))
    form.start(tokens.transpose(1, 2).reshape(first.shape))
    value, group = form.pack(tokens), form.pack(start)
    for number, layer in enumerate(net.layers):
        inner = layer.residual_group
        value = fused(net, inner, range(0 if number else DENSE, inner.depth), value, form)
        value = group = form.conv(value, layer.conv) + group
    body = net.norm.body(value)
    value = (body if isinstance(net.conv_after_body, torch.nn.Identity) else form.conv(body, net.conv_after_body))
    value = form.conv(value + form.pack(start), net.upsample[0]) / net.img_range
    image: torch.Tensor = form.picture(value + net.mean.flatten().repeat_interleave(net.upscale**2), net.upscale)
    return image


def fused(net: Any, group: Any, numbers: range, value: torch.Tensor, form: Any) -> torch.Tensor:
    """Cross-refinement fusion blocks of a group."""
    for number in numbers:
        low = value
        for block in group.srwa_blocks[2 * number:2 * number + 2]:
            low = within_windows(net, block, low, form)
            low = form.linear(form.linear(low, block.mlp.fc1, block.norm2, gelu=True), block.mlp.fc2, add=low)
        high = enhanced(group.hfer_blocks[number], value, form)
        block = group.hf_blocks[number]
        low = low + between_channels(block.attn, block.norm1.body(low), high, form)
        value = low + feed_forward(block.ffn, block.norm2.body(low), form)
    return value


def within_windows(net: Any, block: Any, value: torch.Tensor, form: Any) -> torch.Tensor:
    """SRWAB's attention, added to its input; shifted windows attend to all that they hold."""
    channels = value.shape[-1]
    query, keys = form.linear(value, block.qkv, block.norm1).tensor_split((channels,), -1)
    own, store = keys[..., channels:], form.keys(keys)
    half = channels // 2
    parts = []
    for number, (branch, way) in enumerate(zip(block.attns, 'hv', strict=True)):
        down, right = block.shift_size[::-1] if number else block.shift_size
        window = Window(branch.H_sp, branch.W_sp, down, right, masked=False)
        first = number * half
        parts.append(form.attention(
            query[..., first:first + half], store[..., first:first + half], store[..., 2 * half + first:][..., :half],
            window, branch.num_heads, branch.scale,
            lambda branch=branch, way=way: positions(net, branch, way), branch))
    result: torch.Tensor = form.linear(torch.cat(parts, -1) + form.conv(own, block.get_v), block.proj, add=value)
    return result


def positions(net: Any, branch: Any, way: str) -> torch.Tensor:
    """Biases of relative positions, (heads, tokens of a window, the same)."""
    tokens = branch.H_sp * branch.W_sp
    index = getattr(net, f'relative_position_index_{way}').flatten()
    found: torch.Tensor = branch.pos(getattr(net, f'biases_{way}'))[index]
    return found.view(tokens, tokens, -1).permute(2, 0, 1)


def enhanced(block: Any, value: torch.Tensor, form: Any) -> torch.Tensor:
    """HFERB."""
    local = block.act(form.conv(value[..., :block.mid_dim], block.conv))
    strong = form.linear(form.max_pool(value[..., block.mid_dim:], 3), block.fc, gelu=True)
    result: torch.Tensor = form.linear(torch.cat([local, strong], -1), block.last_fc, add=value)
    return result


def between_channels(attn: Any, low: torch.Tensor, high: torch.Tensor, form: Any) -> torch.Tensor:
    """Attention of channels: queries of what is high, keys and values of what is low."""
    query = form.conv(form.linear(high, attn.q), attn.q_dwconv)
    key, own = form.conv(form.linear(low, attn.kv), attn.kv_dwconv).chunk(2, -1)
    found = form.moments(query, key, attn.num_heads)
    lengths = [each.sqrt().clamp(min=1e-12).view(len(each), attn.num_heads, -1) for each in (found.queries, found.keys)]
    scores = found.products / lengths[0][..., None] / lengths[1][:, :, None] * attn.temperature
    result: torch.Tensor = form.linear(form.times(own, scores.softmax(-1)), attn.project_out)
    return result


def feed_forward(ffn: Any, value: torch.Tensor, form: Any) -> torch.Tensor:
    """Gated, with a depthwise convolution."""
    gate, kept = form.conv(form.linear(value, ffn.project_in), ffn.dwconv).chunk(2, -1)
    result: torch.Tensor = form.linear(F.gelu(gate) * kept, ffn.project_out)
    return result
