"""Builds the native kernels for another processor with the `ziglang` package and runs them there, emulated.

    python -m tests.execution.native.emulated [--target aarch64-linux-musl] [--run qemu-aarch64] [--cases 100]

Debian has qemu-aarch64 in qemu-user. Exit code 1 where a result is wrong.
"""
from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from basicsr_amsr.execution.native import build


def main(arguments: list[str] | None = None) -> int:
    """Build standalone.cpp with every instruction set of the target, run it, return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--target', default='aarch64-linux-musl')
    parser.add_argument('--run', default='qemu-aarch64', type=shlex.split)
    parser.add_argument('--compiler', default=[sys.executable, '-m', 'ziglang', 'c++'], type=shlex.split)
    parser.add_argument('--cases', default='100')
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(__file__).with_name('standalone.cpp')
        link = ['-static', f'-I{build.SOURCES}', str(source)]
        program = build.build(Path(folder), args.compiler, args.target, link=link)
        return subprocess.call([*args.run, str(program), args.cases])


if __name__ == '__main__':
    sys.exit(main())
