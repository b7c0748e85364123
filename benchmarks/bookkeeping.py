"""What selecting and bookkeeping take of an accelerated network's time.

    python -m benchmarks.bookkeeping --image photo.jpg --sizes 128x128 270x480 --threads 1

In the same pass of a network functions are timed where they are called, each without those that it calls:

- mask: the map of high frequencies, or MGA's mask prediction; choosing: 2-means, the largest patches, top-K;
- lists: of active patches, windows, pixels, and of what they read around themselves;
- decision: whether skipping is faster than the plain network, once costs are measured.

Their sum stands under `selecting and bookkeeping`, the median over the passes. By PyTorch's profiler, from one more
pass: the shares of operators that gather rows, write them back, and copy; those of the lists are among them. `plain` is
the dense network's time in the same rounds. Weights are random, but for the calibrated CARN_M.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from basicsr_amsr import load_pretrained
from basicsr_amsr.amsr import AMSRConfig, accelerate_, decision
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.backbones import get_backbone, skipping
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.native import selection as native_selection
from basicsr_amsr.execution.skipping import lists as calibrated_lists
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.execution.torch_sparse import layout, patches
from basicsr_amsr.mga.mask import MaskPrediction
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import variant_of
from basicsr_amsr.profiling.subject import input_image, parse_size
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection import keep, topk, two_means
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask

MASK = HighFrequencyMask(keep=0.5, patch_size=8, smooth=5)
PATCHES = 0.25
COLUMNS = ('mask', 'choosing', 'lists', 'decision')
FUNCTIONS: dict[str, Sequence[tuple[Any, str]]] = {
    'mask': ((HighFrequencyMask, 'score'), (HighFrequencyMask, 'patches'), (HighFrequencyMask, 'windows'),
             (native_selection, '_detail'), (MaskPrediction, 'forward')),
    'choosing': ((two_means, 'two_means'), (keep, 'top_keep'), (topk, 'topk')),
    'lists': ((layout.Layout, '__init__'), (layout.Layout, 'gather'), (patches.Patches, '__init__'),
              (patches.Patches, 'places'),
              (skipping, 'places_of'),
              (calibrated_lists, 'lists_of')),
    'decision': ((decision, 'form_for'), (decision, 'keep_of')),
}
OPERATORS = {'gather': ('aten::index_select', 'aten::index'), 'copy': ('aten::copy_', 'aten::cat'),
             'write': ('aten::index_copy_', 'aten::_index_put_impl_', 'aten::index_fill_')}


class Stopwatch:
    """Seconds of functions, each without those that it calls, by column."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(COLUMNS, 0.0)
        self.inner = [0.0]

    def timed(self, column: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""
        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.perf_counter() - start
                self.seconds[column] += taken - self.inner.pop()
                self.inner[-1] += taken
        return watched


@contextmanager
def watching(stopwatch: Stopwatch) -> Iterator[None]:
    """Inside, the functions of every column are timed, by whatever module they are called."""
    undo: list[tuple[Any, str, Any]] = []
    ours = [module for name, module in sys.modules.items() if name.startswith('basicsr_amsr')]
    for column, places in FUNCTIONS.items():
        for owner, name in places:
            function = getattr(owner, name)
            watched = stopwatch.timed(column, function)
            owners = [owner] if isinstance(owner, type) else [m for m in ours if vars(m).get(name) is function]
            for each in owners:
                undo.append((each, name, function))
                setattr(each, name, watched)
    try:
        yield
    finally:
        for each, name, function in undo:
            setattr(each, name, function)


def networks() -> Mapping[str, Callable[[], Any]]:
    """What is measured, by name."""
    def by_mask(name: str, **config: Any) -> Any:
        torch.manual_seed(0)
        net = get_backbone(name).create(upscale=4).eval().to(memory_format=torch.channels_last)
        accelerate_(net, AMSRConfig(selection=MASK, **config))
        return net

    def calibrated() -> Any:
        net = load_pretrained('CARN_M_x234', upscale=4).eval().to(memory_format=torch.channels_last)
        accelerate_(net, AMSRConfig(calibration=Calibration.load(resolve('pretrained/CARN_M_x4.amsr'))))
        return net

    def by_patches() -> Any:
        torch.manual_seed(0)
        return MGA({'type': 'RFDN', 'upscale': 4}, k=PATCHES).eval()

    return {'CARN_M calibrated': calibrated, 'MGA-RFDN': by_patches,
            **{name: partial(by_mask, name) for name in ('CARN_M', 'EDSR_baseline', 'RCAN', 'SwinIR_light')}}


class AlwaysSparse:
    """A cost model in which costs are known and skipping is the faster form: what is timed is asking it."""

    def __init__(self) -> None:
        self.model = model.CostModel()

    def costs(self, subject: Any, x: torch.Tensor, probe_of: Any) -> Costs | None:
        """As the model does where it knows them."""
        self.model.known.setdefault((subject.identity, model.machine(x)), [Costs(1, 1.0, 0.0, 0.0, limited=True)])
        return self.model.costs(subject, x, probe_of)


@torch.no_grad()
def measure(net: Any, x: torch.Tensor, budget: float, threads: int) -> dict[str, Any]:
    """Milliseconds of the network and the plain one, and shares in percent."""
    passes: list[tuple[dict[str, float], float]] = []

    def watched() -> None:
        stopwatch = Stopwatch()
        with watching(stopwatch):
            start = time.perf_counter()
            net(x)
            passes.append((stopwatch.seconds, time.perf_counter() - start))

    calls = {'net': watched, 'plain': partial(variant_of(net, 'D'), x)}
    times = time_paired(calls, 'cpu', budget, warmup=1, min_rounds=3, max_rounds=30, num_threads=threads)
    shares = {column: 100 * median(seconds[column] / whole for seconds, whole in passes[1:]) for column in COLUMNS}
    with profile(activities=[ProfilerActivity.CPU]) as record:
        net(x)
    events = {event.key: event.self_cpu_time_total for event in record.key_averages()}
    total = sum(events.values())
    moved = {name: 100 * sum(events.get(key, 0) for key in keys) / total for name, keys in OPERATORS.items()}
    return {'ms': times.latency('net').median, 'plain': times.latency('plain').median, 'rounds': times.rounds,
            'selecting and bookkeeping': sum(shares.values()), **shares, **moved}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--image', type=Path, help='whose mask it is; default: noise')
    parser.add_argument('--networks', nargs='+', default=list(networks()), choices=list(networks()), metavar='NAME')
    parser.add_argument('--sizes', type=parse_size, nargs='+', default=[(128, 128), (270, 480)], metavar='HxW')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--budget', type=float, default=20.0, metavar='SECONDS', help='of a network and size')
    args = parser.parse_args(argv)
    model.MODEL = AlwaysSparse()  # type: ignore[assignment]
    table = Table(title=f'Shares in % of the time, {args.threads} threads')
    names = ('ms', 'plain', 'rounds', 'selecting and bookkeeping', *COLUMNS, *OPERATORS)
    for name in ('network', *names):
        table.add_column(name, justify='left' if name == 'network' else 'right')
    torch.set_num_threads(args.threads)
    for name in args.networks:
        net = networks()[name]()
        for size in args.sizes:
            x = input_image(args.image and str(args.image), size, 3)[0].contiguous(memory_format=torch.channels_last)
            row = measure(net, x, args.budget, args.threads)
            table.add_row(f'{name} {size[0]}x{size[1]}', *(f'{row[key]:.4g}' if key in ('ms', 'plain', 'rounds')
                                                           else f'{row[key]:.2f}' for key in names))
    Console(width=150).print(table)


if __name__ == '__main__':
    main()
