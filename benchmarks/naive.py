"""Whole networks by the paper's recipe, unfold of the whole image and a 1×1 convolution, beside dense and ours.

    python -m benchmarks.naive --network CARN_M EDSR_baseline --image photo.jpg --size 128x128 --threads 2

The recipe runs in the same units, on the same masks of single pixels, as ours, and first its image is
compared with that form's. All run in turn in one process: a figure is the median over the rounds of the plain network's
time / time. Weights are random.
"""
from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.backbones.skipping import Skipping
from basicsr_amsr.backbones.skips import SkipUnit
from basicsr_amsr.bench.networks import by_name
from basicsr_amsr.execution.graph.ops import Conv, Mean
from basicsr_amsr.execution.graph.run_by_torch import Weights, average_of_active, call
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.profiling.subject import input_image, parse_size
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask


def unfold_conv(conv: Conv, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor,
                mask: torch.Tensor) -> torch.Tensor:
    """The convolution at the active pixels, 0 elsewhere; unfolds the whole image, so it is a reference, not fast.

    Args:
        conv: stride 1, zero padding that keeps height and width. weight, bias: its own.
        x: (B, C, H, W).
        mask: bool (B, 1, H, W).

    Returns:
        (B, out channels, H, W).
    """
    columns = F.unfold(x, weight.shape[2:], conv.dilation, conv.padding)  # (B, C·k·k, H·W)
    chosen = columns.transpose(1, 2)[mask.flatten(1)]
    # A 1×1 convolution of a list of pixels, group by group.
    values = torch.matmul(chosen.unflatten(1, (conv.groups, -1)).transpose(0, 1),
                          weight.flatten(1).unflatten(0, (conv.groups, -1)).transpose(1, 2))
    values = values.transpose(0, 1).flatten(1)
    if bias is not None:
        values = values + bias
    out = x.new_zeros(x.shape[0], x.shape[2] * x.shape[3], len(weight))
    out[mask.flatten(1)] = values
    return out.transpose(1, 2).reshape(x.shape[0], len(weight), *x.shape[-2:])


class Unfolded(SkipUnit):
    """A unit whose convolutions unfold the whole image, choose the active pixels and multiply."""

    def forward(self, module: nn.Module, skipping: Skipping, x: torch.Tensor) -> torch.Tensor:
        """The unit on the active pixels."""
        values, graph = [x], self.unit.graph
        weights, mask = Weights(module, graph), skipping.mask(*x.shape[-2:])
        for op in graph.ops:
            source = values[op.inputs[0]]
            if isinstance(op, Conv) and source.shape[-2:] == x.shape[-2:]:  # the others are of averages
                values.append(unfold_conv(op, weights[op.weight], weights.get(op.bias), source, mask))
            elif isinstance(op, Mean):
                values.append(average_of_active(source, mask))
            else:
                values.append(call(op, values, weights, (len(x), *x.shape[-2:]), x))
        return torch.where(mask, values[-1], x)


def converted(net: nn.Module, patch_size: int, keep: float, unfold: bool = False) -> Any:
    """A copy of a network that skips, by our executors or by the recipe."""
    own: Any = copy.deepcopy(net)
    accelerate_(own, AMSRConfig(HighFrequencyMask(patch_size=patch_size, keep=keep), mode='sparse'))
    if unfold:
        for module in own.modules():
            if isinstance(vars(module).get('skip'), SkipUnit):
                module.skip = Unfolded(module.skip.unit)
    return own


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network', nargs='+', default=['CARN_M', 'EDSR_baseline'], metavar='NAME')
    parser.add_argument('--image', help='photograph that the masks are of, resized to the size; default: a bundled one')
    parser.add_argument('--size', type=parse_size, nargs='+', default=[(128, 128)], metavar='HxW')
    parser.add_argument('--keep', type=float, nargs='+', default=[0.25, 0.5, 0.75])
    parser.add_argument('--patch-size', type=int, nargs='+', default=[1, 4, 16], help='of our forms, 1 for pixels')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    console = Console()
    for name in args.network:
        net: Any = restore_(by_name(name, 4).build().net).eval().to(memory_format=torch.channels_last)
        for size in args.size:
            x = input_image(args.image, size, 3)[0].to(memory_format=torch.channels_last)
            table = Table('', *(f'{keep:.0%}' for keep in args.keep), title=f'{name}, LR {size[0]}x{size[1]}')
            rows: dict[str, list[str]] = {}
            for keep in args.keep:
                forms = {'unfold + 1x1': converted(net, 1, keep, unfold=True)}
                torch.testing.assert_close(forms['unfold + 1x1'](x), converted(net, 1, keep)(x), rtol=1e-4, atol=1e-4)
                forms |= {f'patches {patch_size}' if patch_size > 1 else 'pixels': converted(net, patch_size, keep)
                          for patch_size in args.patch_size}
                calls = {'dense': partial(net, x), **{form: partial(own, x) for form, own in forms.items()}}
                times = time_paired(calls, budget=0, min_rounds=args.rounds, max_rounds=args.rounds, warmup=1,
                                    num_threads=args.threads)
                rows.setdefault('dense, ms', []).append(f'{times.latency("dense").median:.0f}')
                for form in forms:
                    rows.setdefault(form, []).append(f'{times.ratio("dense", form).median:.2f}')
            for form, cells in rows.items():
                table.add_row(form, *cells)
            console.print(table)


if __name__ == '__main__':
    main()
