"""Native kernels on listed patches against oneDNN on the whole map, layer by layer.

    python -m benchmarks.native_kernels [--threads 2] [--isa avx2] [--dtype float32] [--layers 0 4] [--json FILE]

oneDNN runs through torch: channels last, allocator tuned (no memory is given back to the system). Both sides are
processes of their own and take turns, `--rounds` times. `ours / oneDNN` is the quotient of the rates: 1.0 where half of
the patches takes half of oneDNN's time for all.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import torch

from basicsr_amsr.allocator import tune

HEIGHT, WIDTH = 272, 480
LAYERS = [(64, 64, 3, 1), (50, 50, 3, 1), (32, 32, 3, 1), (64, 64, 3, 4), (64, 64, 1, 1), (192, 64, 1, 1),
          (3, 64, 3, 1), (64, 48, 3, 1), (64, 256, 3, 1), (64, 3, 3, 1)]  # in, out, kernel, groups
MASKS = [('all', 1.), ('connected', .75), ('random', .75), ('connected', .5), ('random', .5), ('connected', .25),
         ('random', .25)]
REPEATS, WARM_UP = 3, 2  # of one turn
PAUSE = .02  # seconds until the threads of the turn before have gone to sleep


def patches_of(kind: str, share: float) -> np.ndarray:
    """Positions of patches: single ones at random, or connected regions (smoothed noise over a threshold)."""
    rows, columns = HEIGHT // 4, WIDTH // 4
    noise = np.random.default_rng(0).random((rows, columns))
    if kind == 'connected':
        for axis in (0, 1):
            for _ in range(3):
                noise = sum(np.roll(noise, shift, axis) for shift in range(-5, 6))
    mask = noise >= np.quantile(noise, 1 - share) if share < 1 else np.ones_like(noise, bool)
    return np.ascontiguousarray(np.argwhere(mask).astype(np.int16))


class OneDNN:
    """The whole map, whatever the mask."""

    def __init__(self) -> None:
        tune()
        self.made: dict[tuple, tuple] = {}

    def __call__(self, layer: tuple, dtype: str, method: str, mask: tuple) -> float:
        inputs, outputs, kernel, groups = layer
        if (layer, dtype) not in self.made:
            form = {'dtype': getattr(torch, dtype), 'memory_format': torch.channels_last}
            self.made = {(layer, dtype): (torch.randn(1, inputs, HEIGHT, WIDTH).to(**form),
                                          torch.randn(outputs, inputs // groups, kernel, kernel).to(**form),
                                          torch.randn(outputs).to(form['dtype']))}
        x, weight, bias = self.made[layer, dtype]
        with torch.inference_mode():
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, bias, padding=kernel // 2, groups=groups)
            return time.perf_counter() - start


class Ours:
    """One convolution from map to map for the mask's patches."""

    def __init__(self) -> None:
        from basicsr_amsr.execution.native.library import library, why_not
        self.library = library()
        if self.library is None:
            raise SystemExit(f'no native kernels: {why_not()}')
        self.made: dict[tuple, tuple] = {}

    def __call__(self, layer: tuple, dtype: str, method: str, mask: tuple) -> float:
        from basicsr_amsr.execution.native.program import Program
        from basicsr_amsr.execution.native.runner import Runner
        inputs, outputs, kernel, groups = layer
        if (layer, dtype, method) not in self.made:
            program = Program()
            listed = program.patches()
            maps = program.map(inputs, dtype='float32' if inputs < 8 else dtype), program.map(outputs, dtype=dtype)
            weight = torch.randn(outputs, inputs // groups, kernel, kernel)
            program.conv(maps[0], weight, torch.randn(outputs), maps[1], out_channels=outputs, kernel=kernel,
                         groups=groups, method=method, compute='float32' if inputs < 8 else dtype, patches=listed)
            if (layer, dtype) not in {key[:2] for key in self.made}:
                self.made.clear()  # memory of the layer before
            runner = Runner(program, self.library)
            runner.run({}, {listed: patches_of('all', 1.)}, (HEIGHT, WIDTH))
            runner.view(maps[0]).normal_()  # what was never written is one page of zeros that stays in the L1
            self.made[layer, dtype, method] = (runner, listed)
        runner, listed = self.made[layer, dtype, method]
        lists = {listed: patches_of(*mask)}
        start = time.perf_counter()
        runner.run({}, lists, (HEIGHT, WIDTH))
        return time.perf_counter() - start


def serve(side: str, threads: int) -> None:
    """A contender's process: reads what to time, a JSON line each, and answers with seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    contender = {'oneDNN': OneDNN, 'ours': Ours}[side]()
    print('ready', flush=True)
    for line in sys.stdin:
        layer, dtype, method, mask = json.loads(line)
        time.sleep(PAUSE)
        taken = [contender(tuple(layer), dtype, method, tuple(mask)) for _ in range(WARM_UP + REPEATS)]
        print(json.dumps(taken[WARM_UP:]), flush=True)


class Contender:
    """The other end of `serve`."""

    def __init__(self, side: str, threads: int, environment: dict[str, str]) -> None:
        command = [sys.executable, '-m', 'benchmarks.native_kernels', '--serve', side, '--threads', str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **environment, 'OMP_NUM_THREADS': str(threads)})
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit('a contender ended: see its message above')
        return line

    def time(self, *what: object) -> list[float]:
        """Seconds of some runs."""
        assert self.process.stdin
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def compare(args: argparse.Namespace) -> list[dict]:
    """Time every layer; one row for each layer, dtype and method."""
    ours = Contender('ours', args.threads, {'BASICSR_AMSR_NATIVE': args.isa} if args.isa else {})
    rival = Contender('oneDNN', args.threads, {'ONEDNN_MAX_CPU_ISA': args.isa.upper()} if args.isa else {})
    rows = []
    for dtype in args.dtype:
        for layer in [LAYERS[i] for i in args.layers]:
            methods = ['direct', 'winograd'] if layer[2] == 3 and layer[0] >= 16 and layer[1] >= 16 else ['direct']
            times: dict[tuple, list[float]] = {}
            for _ in range(args.rounds):
                times.setdefault(('oneDNN',), []).extend(rival.time(layer, dtype, '', ('all', 1.)))
                for method in methods:
                    for mask in MASKS:
                        times.setdefault((method, *mask), []).extend(ours.time(layer, dtype, method, mask))
            dense = float(np.median(times['oneDNN',]))
            macs = layer[0] * layer[1] // layer[3] * layer[2] ** 2 * HEIGHT * WIDTH
            for method in methods:
                rates = {f'{kind} {share:.0%}': dense * share / float(np.median(times[method, kind, share]))
                         for kind, share in MASKS}
                quartiles = [float(q) * 1e3 for q in np.percentile(times[method, 'all', 1.], [25, 50, 75])]
                rows.append({'layer': layer, 'dtype': dtype, 'method': method, 'threads': args.threads,
                             'oneDNN_ms': dense * 1e3, 'oneDNN_gflops': 2 * macs / dense / 1e9, 'ours_ms': quartiles,
                             'rates': rates})
                print(text_of(rows[-1]), flush=True)
    ours.close()
    rival.close()
    return rows


def text_of(row: dict) -> str:
    """A row of the table."""
    inputs, outputs, kernel, groups = row['layer']
    name = f'{kernel}x{kernel} {inputs}->{outputs}{f" g{groups}" if groups > 1 else ""}'
    rates = ' '.join(f'{rate:6.2f}' for rate in row['rates'].values())
    return (f'{name:16} {row["dtype"]:9} {row["method"]:9} {row["oneDNN_ms"]:7.2f} ms {row["oneDNN_gflops"]:5.0f} GF '
            f'{row["ours_ms"][1]:7.2f} ms | {rates}')


def main() -> None:
    """The table, and a JSON file of it where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--isa', default='', help='limit both sides to it, such as avx2')
    parser.add_argument('--dtype', nargs='+', default=['float32', 'bfloat16'])
    parser.add_argument('--layers', type=int, nargs='+', default=list(range(len(LAYERS))))
    parser.add_argument('--json')
    parser.add_argument('--serve', choices=['ours', 'oneDNN'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.threads)
    print(f'{"":27}          oneDNN                ours all | ours / oneDNN: '
          + ' '.join(f'{kind[:4]}{share:.0%}' for kind, share in MASKS))
    rows = compare(args)
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump({'torch': torch.__version__, 'machine': os.uname().machine, 'rows': rows}, file, indent=1)
    return None


if __name__ == '__main__':
    main()
