"""Which networks the graph reads: every checkpoint of a folder, and every architecture of spandrel with random weights.

    python -m benchmarks.readable [--weights FOLDER] [--only NAME …] [--side 48] [--out table.md]

A row says whether all of a network was read as ops of the graph, or in part (then the share of its MACs in ops, and
which operators run in torch on whole maps), or why it was refused; the seconds that it took; and the largest difference
to the network itself, in parts of its range. Needs spandrel (`python install.py --extras tests`).
"""
from __future__ import annotations

import argparse
import importlib
import inspect
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from basicsr_amsr.backbones.checkpoint import identified, strip_prefixes, unwrap
from basicsr_amsr.backbones.spec import get_backbone
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.graph.count import macs
from basicsr_amsr.execution.graph.from_export import image_channels, read
from basicsr_amsr.execution.graph.ops import Graph, Torch
from basicsr_amsr.execution.graph.run_by_torch import run
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.weights.pretrained import load_pretrained

WEIGHTS = Path(os.environ.get('BASICSR_AMSR_SHARED', Path(__file__).resolve().parents[2] / 'shared')) / 'weights'
REQUIRED = {'MMRRDBNet_test': {'num_in_ch': 3, 'num_out_ch': 3}, 'SPAN': {'num_in_ch': 3, 'num_out_ch': 3},
            'SAFMN': {'dim': 36}, 'SAFMN_BCIE': {'dim': 36}, 'HAT': {'window_size': 16}, 'SwinIR': {'window_size': 8},
            'Swin2SR': {'window_size': 8},
            'UnetUpsampler': {'dim': 16, 'image_size': 64, 'input_image_size': 16}}


def checkpoints(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """The networks of all files: of a family that the project knows, else by spandrel."""
    from spandrel import ModelLoader
    for path in sorted(folder.glob('*.pth')):
        if not asked(path.stem, only):
            continue
        state = unwrap(read_weights_only(path))
        family = identified(strip_prefixes(state)) if state else None
        if family:
            held = get_backbone(family).identify(strip_prefixes(state))  # type: ignore[misc, arg-type]
            options = {key: value[-1] if isinstance(value, tuple) else value for key, value in held.items()}
            yield path.stem, load_pretrained(path, type=family, **options)
        else:
            yield path.stem, ModelLoader('cpu').load_from_file(path).model.eval()


def architectures(only: Sequence[str]) -> Iterator[tuple[str, nn.Module | str]]:
    """All of spandrel's, by their defaults, or why one cannot be built."""
    from spandrel import MAIN_REGISTRY
    for support in MAIN_REGISTRY.architectures():
        architecture = getattr(support, 'architecture', support)
        module = importlib.import_module(type(architecture).__module__)
        for name, cls in sorted(vars(module).items()):
            own = inspect.isclass(cls) and issubclass(cls, nn.Module) and cls.__module__.startswith('spandrel.arch')
            if own and asked(f'spandrel {name}', only):
                torch.manual_seed(0)
                try:
                    yield f'spandrel {name}', cls(**REQUIRED.get(cls.__name__, {})).eval()
                except Exception as error:  # whatever a constructor raises
                    yield f'spandrel {name}', f'cannot be built: {type(error).__name__}: {error}'


def asked(name: str, only: Sequence[str]) -> bool:
    """Whether a row is wanted: all are where none is named."""
    return not only or any(word in name for word in only)


def verdict(graph: Graph, side: int) -> tuple[str, str]:
    """How far a network was read."""
    costs = macs(graph, (1, side, side))
    others = Counter(str(op.target).removeprefix('aten.').split('.')[0] for op in graph.ops if isinstance(op, Torch))
    if not others:
        return 'read', f'{len(graph.ops)} ops'
    inside = sum(cost for cost, op in zip(costs, graph.ops, strict=True) if not isinstance(op, Torch))
    shown = ', '.join(f'{name} ({number})' for name, number in others.most_common(5))
    more = f' and {len(others) - 5} more' if len(others) > 5 else ''
    return f'in part: {100 * inside / max(sum(costs), 1):.0f} % of the MACs', f'in torch: {shown}{more}'


def row(name: str, net: nn.Module | str, side: int) -> str:
    """A line of the table."""
    if isinstance(net, str):
        return f'| {name} | refused | {net} | | |'
    x = torch.rand(1, image_channels(net), side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        try:
            wanted = net(x.clone())  # some change what they are given
        except Exception as error:  # some want larger images, masks, or several inputs
            return f'| {name} | refused | does not run on {side}x{side}: {" ".join(str(error).split())[:90]} | | |'
        start = time.perf_counter()
        try:
            graph = read(net, x)
        except UserError as error:
            return f'| {name} | refused | {str(error)[:160]} | | |'
        seconds = time.perf_counter() - start
        error = float((run(graph, net, x) - wanted).abs().max() / (wanted.max() - wanted.min()))
    how, detail = verdict(graph, side)
    return f'| {name} | {how} | {detail} | {seconds:.1f} | {error:.0e} |'


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--only', nargs='*', default=[])
    parser.add_argument('--side', type=int, default=48)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    lines = ['| network | read | how | seconds | difference |', '|---|---|---|---|---|']
    print(*lines, sep='\n')
    for source in (checkpoints(args.weights, args.only), architectures(args.only)):
        for name, net in source:
            lines.append(row(name, net, args.side))
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text('\n'.join(lines) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
