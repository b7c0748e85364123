"""Triton's kernel against cuDNN channels-last and torch.compile, with the share of the roofline. Needs an NVIDIA GPU.

    python -m benchmarks.triton_conv --json triton_conv.json          # within --minutes, 8 by default
    python -m benchmarks.triton_conv --tune --dtype fp16 --size 540x960

For each type, size, number of channels, side of the patches and share of active ones (drawn at random) it times a 3×3
convolution with ReLU, and a residual unit of two: dense by cuDNN channels-last, dense by
torch.compile, listed patches by torch operators and by Triton. First all are compared with double precision, or the
dense form. Two medians over paired rounds: of a CUDA graph, which is the GPU's time alone, and of plain calls, with
Python. Speed-up is over the faster dense form, by graphs; efficiency is speed-up times active share. The roofline is
the larger of bytes / bandwidth and FLOPs / peak, every row read and written once; its share is that over the graph's
time. Peaks are those of the maker for the devices in PEAKS, dense matrices; else give --bandwidth and --tflops. --tune
times block sizes for the convolution and prints the fastest in place of the comparison. The file is written after each
case.
"""
from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import TORCH, TRITON
from basicsr_amsr.execution.backends.interface import Read
from basicsr_amsr.execution.fusion import Activation, Epilogue
from basicsr_amsr.execution.gather import pixel_rows
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.execution.torch_sparse.layout import Layout
from basicsr_amsr.execution.torch_sparse.run_unit import run_unit
from basicsr_amsr.execution.torch_sparse.unit import read_unit
from basicsr_amsr.profiling.subject import parse_size

DTYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16, 'fp32': torch.float32}
# Device name: TB/s, and TFLOP/s of dense matrices in half precision, in TF32 and in single precision.
PEAKS = {'H200': (4.8, 989, 494, 67), 'H100 PCIe': (2.0, 756, 378, 51), 'H100': (3.35, 989, 494, 67),
         'A100': (2.0, 312, 156, 19.5)}
RELU = Epilogue(before=Activation(0.0))
WARPS, STAGES = (4, 8), (2, 3, 4)
Calls = dict[str, Callable[[torch.Tensor], torch.Tensor]]


class Case(NamedTuple):
    """What is timed. `size` is the map's, `keep` the share of active patches."""

    dtype: str
    size: tuple[int, int]
    channels: int
    patch_size: int
    keep: float

    def __str__(self) -> str:
        return (f'{self.channels} channels, {self.size[0]}x{self.size[1]}, {self.dtype}, '
                f'{f"patches {self.patch_size}" if self.patch_size > 1 else "pixels"}, {self.keep:.0%} active')


class Residual(nn.Sequential):
    """x and what a chain makes of it, added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + super().forward(x)


class Prepared:
    """A case on a device: a map, patches, the lists, a residual unit."""

    def __init__(self, case: Case, device: str) -> None:
        torch.manual_seed(0)
        (height, width), dtype = case.size, DTYPES[case.dtype]
        where = {'device': device, 'dtype': dtype}
        self.case = case
        self.x = torch.randn(1, case.channels, height, width, **where).to(memory_format=torch.channels_last)
        grid = (-(-height // case.patch_size), -(-width // case.patch_size))
        patches = torch.zeros(grid[0] * grid[1], dtype=torch.bool, device=device)
        patches[torch.randperm(len(patches))[:round(case.keep * len(patches))].to(device)] = True
        self.layout = Layout(patches.view(1, *grid), case.patch_size, height, width, 0, whole=True)
        every, around = slice(0, self.layout.active), range(-1, case.patch_size + 1)
        self.own = self.layout.own(self.layout.groups[0], every)
        self.gather = self.layout.gather(False, 1, (around, around), self.layout.groups[0], every)
        self.first, self.second = (nn.Conv2d(case.channels, case.channels, 3, padding=1, **where).to(
            memory_format=torch.channels_last) for _ in range(2))
        self.block = Residual(self.first, nn.ReLU(), self.second)
        self.unit = read_unit(self.block)

    def convolutions(self, compiled: bool) -> Calls:
        """One convolution with ReLU."""
        def dense(x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.first(x))

        def listed(backend: Any) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda x: backend.convolve(self.first, [Read(pixel_rows(x), self.gather)], self.case.patch_size,
                                              RELU)

        return {'dense': dense, **({'dense compiled': torch.compile(dense, dynamic=False)} if compiled else {}),
                'torch': listed(TORCH), 'triton': listed(TRITON)}

    def units(self, compiled: bool) -> Calls:
        """A residual unit."""
        def listed(backend: str) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda x: run_unit(self.unit, self.block, x, self.layout, backend)

        dense = self.block
        return {'dense': dense, **({'dense compiled': torch.compile(dense, dynamic=False)} if compiled else {}),
                'torch': listed('torch'), 'triton': listed('triton')}

    def check(self) -> None:
        """UserError where Triton's convolution is wrong."""
        own = self.own
        rows = self.convolutions(False)['triton'](self.x)[own.index >= 0].float()
        expected = pixel_rows(F.relu(self.first(self.x)))[own.rows[own.index >= 0].long()].float()
        allowed = 1e-2 if self.case.dtype == 'fp32' else 4 * torch.finfo(DTYPES[self.case.dtype]).eps  # TF32
        wrong = ((rows - expected).abs().max() / expected.abs().max()).item()
        if not wrong <= allowed:
            raise UserError(f'{self.case}: the kernel differs from cuDNN by {wrong:.2g} of the largest value.')

    def work(self, dense: bool) -> tuple[float, float]:
        """Bytes and FLOPs of a convolution, every row once."""
        pixels = self.x.shape[2] * self.x.shape[3]
        read, written, listed = pixels, pixels, 0
        if not dense:
            index = self.gather.index
            read, written, listed = len(index[index >= 0].unique()), len(self.own.rows), len(index)
        weights = self.first.weight.numel()
        return ((read + written) * self.case.channels + weights) * self.x.element_size() + 4 * listed, (
            2.0 * written * weights)


def roofline(work: tuple[float, float], peaks: tuple[float, float]) -> float:
    """Milliseconds below which no time can be, of (bytes, FLOPs) at (TB/s, TFLOP/s)."""
    return max(work[0] / peaks[0], work[1] / peaks[1]) * 1e-9


def peaks_of(name: str, dtype: str, args: argparse.Namespace) -> tuple[float, float]:
    """TB/s and TFLOP/s of a device: of the flags, else of the table.

    Raises:
        UserError: neither has them.
    """
    known = next((peaks for key, peaks in PEAKS.items() if key.replace(' ', '') in name.replace(' ', '')), None)
    if known is None and not (args.bandwidth and args.tflops):
        raise UserError(f'the peaks of {name} are not known here: give --bandwidth in TB/s and --tflops.')
    bandwidth, *flops = known or (0.0, 0.0, 0.0, 0.0)
    return args.bandwidth or bandwidth, args.tflops or flops[0 if dtype != 'fp32' else 2 if args.ieee else 1]


def graph_of(call: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Callable[[], Any]:
    """What a call launches for x, as a CUDA graph, which repeats it without Python."""
    graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream(x.device)
    aside.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(aside):
        for _ in range(3):  # allocator, cuDNN's choices and compilation are to be over
            call(x)
    torch.cuda.current_stream(x.device).wait_stream(aside)
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # what it keeps of weights dies with the caller's autocast
    try:
        with torch.cuda.graph(graph):
            call(x)
    finally:
        torch.set_autocast_cache_enabled(cached)
    return graph.replay


def recorded(calls: Calls, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Each as a CUDA graph, on a CPU as it is; what does not run is named and left out."""
    found: dict[str, Callable[[], Any]] = {}
    for name, call in calls.items():
        try:
            call(x)
            found[name] = graph_of(call, x) if x.is_cuda else (lambda call=call: call(x))
        except Exception as error:  # whatever compilers and CUDA raise
            print(f'{name} left out: {" ".join(str(error).split())[:200]}', file=sys.stderr)
    return found


def measure(prepared: Prepared, calls: Calls, peaks: tuple[float, float] | None, seconds: float,
            ) -> list[dict[str, Any]]:
    """The rows of a table. `peaks` where the calls are convolutions."""
    x = prepared.x
    replays = recorded(calls, x)
    calls = {name: calls[name] for name in replays}
    graphs = time_paired(replays, x.device, seconds / 2)
    eager = time_paired({name: (lambda call=call: call(x)) for name, call in calls.items()}, x.device, seconds / 2)
    best = min((name for name in calls if name.startswith('dense')), key=lambda name: graphs.latency(name).median)
    rows = []
    for name in calls:
        dense, milliseconds = name.startswith('dense'), graphs.latency(name).median
        faster = graphs.ratio(best, name).median
        rows.append({'name': name, 'graph_ms': milliseconds, 'eager_ms': eager.latency(name).median,
                     'speed_up': faster, 'efficiency': None if dense else faster * prepared.case.keep,
                     'roofline': roofline(prepared.work(dense), peaks) / milliseconds if peaks else None})
    return rows


def tune(prepared: Prepared, seconds: float) -> list[dict[str, Any]]:
    """Milliseconds of the convolution by block sizes, the fastest first; what does not compile is left out."""
    from basicsr_amsr.execution.triton.operator import Blocks, blocks_for, launch

    case, conv = prepared.case, prepared.first
    rows, pixels = pixel_rows(prepared.x), len(prepared.own.rows)
    out = rows.new_empty(pixels, case.channels)
    calls: Calls = {}
    own = blocks_for(case.channels, case.channels, conv.weight.dtype)
    width = [size for size in (16, 32, 64, 128) if size <= max(own.out, 16)][-2:]
    steps = [size for size in (16, 32, 64) if size <= max(own.channels, 16)]
    for blocks in dict.fromkeys([own, *(Blocks(*each) for each in itertools.product(
            (64, 128, 256), width, steps, WARPS, STAGES))]):
        def call(x: torch.Tensor, blocks: Blocks = blocks) -> torch.Tensor:
            launch([rows], [prepared.gather.index], conv.weight, conv.bias, case.patch_size, [1, 1], 1, 0.0, None, 1.0,
                   None,
                   None, 0, 0.0, None, out, None, pixels, blocks)
            return out

        calls[f'{tuple(blocks)}{" (own)" if blocks == own else ""}'] = call
    times = time_paired(recorded(calls, prepared.x), prepared.x.device, seconds)
    return sorted(({'name': name, 'graph_ms': times.latency(name).median} for name in times.milliseconds),
                  key=lambda row: row['graph_ms'])


def table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """For people."""
    found = Table('', *(key for key in rows[0] if key != 'name'), title=title, title_justify='left')
    for row in rows:
        found.add_row(row['name'], *('' if value is None else f'{value:.3f}' for key, value in row.items()
                                     if key != 'name'))
    return found


def parser() -> argparse.ArgumentParser:
    """The flags."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument('--dtype', nargs='+', choices=DTYPES, default=['fp16', 'bf16', 'fp32'])
    found.add_argument('--size', nargs='+', type=parse_size, default=[(540, 960), (1080, 1920)], metavar='HxW')
    found.add_argument('--channels', nargs='+', type=int, default=[64])
    found.add_argument('--patch-size', nargs='+', type=int, default=[1, 8, 16], help='1 for pixels')
    found.add_argument('--keep', nargs='+', type=float, default=[0.5, 0.25])
    found.add_argument('--minutes', type=float, default=8.0, help='then it ends, with the cases that are done')
    found.add_argument('--seconds', type=float, default=2.0, help='of timing for each table')
    found.add_argument('--no-compile', action='store_true', help='without torch.compile')
    found.add_argument('--ieee', action='store_true', help='fp32 without TF32')
    found.add_argument('--bandwidth', type=float, help="TB/s, in place of the table's")
    found.add_argument('--tflops', type=float, help="TFLOP/s, in place of the table's")
    found.add_argument('--tune', action='store_true', help='times block sizes instead')
    found.add_argument('--json', type=Path, metavar='FILE')
    return found


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Time and print; exit code 2 where there is no GPU."""
    args = parser().parse_args(argv)
    if not torch.cuda.is_available():
        print('benchmarks.triton_conv: needs an NVIDIA GPU, and there is none.', file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = not args.ieee
    torch.backends.cudnn.benchmark = True
    name, started, found = torch.cuda.get_device_name(), time.monotonic(), []
    console = Console(width=150)
    console.print(f'{name}, PyTorch {torch.__version__}')
    cases = [Case(dtype, size, channels, patch_size, keep)
             for dtype, size, channels, patch_size, keep in itertools.product(
        args.dtype, args.size, args.channels, args.patch_size, args.keep)]
    for number, case in enumerate(cases):
        if time.monotonic() - started > 60 * args.minutes:
            console.print(f'{args.minutes:g} minutes are over: {len(cases) - number} of {len(cases)} cases left out.')
            break
        peaks, prepared = peaks_of(name, case.dtype, args), Prepared(case, 'cuda')
        prepared.check()
        torch.compiler.reset()  # each case is compiled for itself
        if args.tune:
            results = {'tune': tune(prepared, args.seconds)}
        else:
            results = {'convolution, ReLU': measure(prepared, prepared.convolutions(not args.no_compile), peaks,
                                                    args.seconds),
                       'residual unit, masked': measure(prepared, prepared.units(not args.no_compile), None,
                                                        args.seconds)}
        for what, rows in results.items():
            console.print(table(f'{case}: {what}', rows[:12]))
        found.append({**case._asdict(), 'device': name, 'peaks': peaks, **results})
        if args.json:
            args.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
