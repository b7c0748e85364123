"""All checks and tables of a GPU within a quarter of an hour, on a machine that has PyTorch and reaches no registry.

    python benchmarks/gpu.py wheels --python 3.12 --out .whl      # where registries are reached
    python benchmarks/gpu.py run --wheels .whl --out results      # on the GPU machine, in the checkout

`wheels` fetches what PACKAGES names and builds BasicSR and this package; `run` installs what the machine lacks of them
into a folder of its own and runs STEPS one after another, each within its minutes and all within --minutes, whatever
fails. OUT gets a log of each step, json files, and summary.txt: a line for each step with its seconds. On a machine
without a GPU everything runs that needs none, on the CPU and small: so the script is tried before a GPU is paid for.
Standard library only.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# What an image with PyTorch, torchvision, OpenCV, SciPy and pytest lacks: ours, BasicSR, and what they import.
PACKAGES = ('pydantic', 'pydantic_core', 'typing_inspection', 'annotated_types', 'lmdb', 'mmengine', 'thop', 'addict',
            'termcolor', 'yapf', 'platformdirs', 'future', 'rich', 'markdown_it_py', 'mdurl', 'pygments', 'filelock',
            'spandrel')
BASICSR = 'basicsr==1.4.2'
PLATFORMS = [f'manylinux_2_{minor}_x86_64' for minor in (39, 35, 34, 31, 28, 27, 24, 17)] + ['manylinux2014_x86_64']


class Step(NamedTuple):
    """A command, the same on a GPU and, with `small` added, on a CPU; {out} is the folder of results."""

    name: str
    minutes: float
    command: str
    small: str = ''


STEPS = (
    Step('machine', 0.5, 'python -m basicsr_amsr doctor'),
    Step('tests', 3, 'python -m pytest -q -x --maxfail=20 -m cuda -p no:cacheprovider tests'),
    Step('kernels', 3,
         'python -m benchmarks.triton_conv --minutes 2.5 --dtype fp16 fp32 --size 540x960 --patch-size 4 16 '
                       '--seconds 1 --json {out}/kernels.json'),
    *(Step(f'network {name}', 2.3,
           f'python -m basicsr_amsr bench -opt options/test/amsr_{name}.yml --keep-by-level 0.35 0.5 '
                                   '--dtype fp16 --size 540x960 --device cuda --rivals compile --rounds 3 '
                                   f'--json {{out}}/{name}.json',
           '--device cpu --dtype fp32 --size 48x64 --rounds 1') for name in ('carn_m_x4', 'rfdn_x4')),
    Step('network edsr', 2.3, 'python -m basicsr_amsr bench --network EDSR_baseline --keep 0.5 --dtype fp16 '
                              '--size 540x960 --device cuda --rivals compile --rounds 3 --json {out}/edsr.json',
         '--device cpu --dtype fp32 --size 48x64 --rounds 1'),
    *(Step(f'training {name}', 0.7, f'python -m basicsr_amsr train -opt options/{name}.yml --demo')
      for name in ('mga_fsrcnn_x4', 'amsr_rcan_x4', 'sfm_rfdn_x4')),
)


def fetch(python: str, out: Path) -> None:
    """Wheels of PACKAGES for another machine, and those that are built here."""
    out.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, '-m', 'pip']
    platforms = [word for platform in PLATFORMS for word in ('--platform', platform)]
    subprocess.run([*pip, 'download', '--quiet', '--no-deps', '--only-binary=:all:', '--python-version', python,
                    '--implementation', 'cp', *platforms, '-d', str(out), *PACKAGES], check=True)
    subprocess.run([*pip, 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(out), BASICSR, str(ROOT)],
                   check=True)
    total = sum(wheel.stat().st_size for wheel in out.glob('*.whl'))
    print(f'{len(list(out.glob("*.whl")))} wheels, {total / 2**20:.1f} MiB in {out}')


def install(wheels: Path, site: Path) -> None:
    """Into a folder, with nothing but the wheels that the machine lacks."""
    from importlib import metadata
    there = {distribution.metadata['Name'].lower().replace('-', '_') for distribution in metadata.distributions()}
    missing = [str(wheel) for wheel in sorted(wheels.glob('*.whl'))
               if wheel.name.split('-')[0].lower() not in there]
    if missing:
        subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps', '--no-compile',
                        '--no-cache-dir', '--target', str(site), *missing], check=True)


def run(out: Path, wheels: Path | None, minutes: float, only: list[str]) -> int:
    """Run the steps; 1 where one failed."""
    began = time.monotonic()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    site = out.parent / 'site-packages'
    if wheels is not None:
        install(wheels, site)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(site)]), 'PYTHONUNBUFFERED': '1'}
    gpu = subprocess.run([sys.executable, '-c', 'import torch; raise SystemExit(not torch.cuda.is_available())'],
                         check=False).returncode == 0
    failed = False
    for step in STEPS:
        if only and step.name not in only:
            continue
        left = 60 * minutes - (time.monotonic() - began)
        if left < 10:
            line = f'{step.name}: left out, {minutes:g} minutes are over'
            failed = True
        else:
            line, good = run_step(step, out, min(left, 60 * step.minutes), environment, gpu)
            failed |= not good
        print(line, flush=True)
        with (out / 'summary.txt').open('a', encoding='utf-8') as file:
            file.write(line + '\n')
    return int(failed)


def run_step(step: Step, out: Path, seconds: float, environment: dict[str, str], gpu: bool) -> tuple[str, bool]:
    """A line on it, and whether it succeeded. Without a GPU, what needs one is expected to say so."""
    words = [sys.executable if word == 'python' else word.replace('{out}', str(out)) for word in step.command.split()]
    if not gpu:
        words += step.small.split()
    log, start = out / f'{step.name.replace(" ", "_")}.log', time.monotonic()
    with log.open('w', encoding='utf-8') as file:
        try:
            code = subprocess.run(words, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
                                  timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            return f'{step.name}: over {seconds:.0f} s, see {log.name}', False
    lines = log.read_text(encoding='utf-8').strip().splitlines()
    needs_gpu = not gpu and (code == 5 or (code == 2 and 'needs an NVIDIA GPU' in lines[-1]))
    state = 'needs a GPU' if needs_gpu else 'done' if code == 0 else f'exit code {code}'
    return f'{step.name}: {state}, {time.monotonic() - start:.0f} s: {lines[-1][:100] if lines else ""}', (
        code == 0 or needs_gpu)


def main() -> int:
    """Fetch or run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    wheels = commands.add_parser('wheels')
    wheels.add_argument('--python', default='3.12', help='of the GPU machine')
    wheels.add_argument('--out', type=Path, default=Path('.whl'))
    running = commands.add_parser('run')
    running.add_argument('--wheels', type=Path, help='installed where the machine lacks them')
    running.add_argument('--out', type=Path, default=Path('results'))
    running.add_argument('--minutes', type=float, default=13.0)
    running.add_argument('--only', nargs='+', default=[], choices=[step.name for step in STEPS], metavar='STEP')
    args = parser.parse_args()
    if args.command == 'wheels':
        fetch(args.python, args.out)
        return 0
    return run(args.out, args.wheels, args.minutes, args.only)


if __name__ == '__main__':
    sys.exit(main())
