"""Compiles the native library. Standard library only: setup.py runs this file without the package's requirements.

    python build.py [--output FOLDER] [--compiler COMMAND] [--target TRIPLE] [--sanitize address,undefined|thread]

The library's name holds a hash of its sources, so that a stale one is never loaded. Every instruction set is one object
file; one that the compiler does not know is left out.
"""
from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / 'src'
FLAGS = ['-std=c++17', '-O3', '-fPIC', '-fvisibility=hidden', '-ffp-contract=fast', '-fno-math-errno', '-pthread']
KERNEL_FLAGS = ['-fno-exceptions', '-fno-rtti', '-fno-strict-aliasing']
AVX512 = ['-mavx2', '-mfma', '-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl']
BF16 = [*AVX512, '-mavx512bf16']
SETS: dict[str, dict[str, list[str]]] = {
    'x86_64': {'plain': [], 'avx2': ['-mavx2', '-mfma'], 'avx512': AVX512, 'avx512bf16': BF16,
               'avx512amx': [*BF16, '-mamx-tile', '-mamx-bf16']},
    'aarch64': {'plain': [], 'neon': []},
}
COMMON = ('attention', 'dispatch', 'linear', 'lists', 'memory', 'pool', 'run', 'selection')


class BuildError(Exception):
    """Why there is no library, in one line."""


def machine(target: str | None = None) -> str:
    """The processor's family, as SETS names it, or another name, which gets the plain kernels alone."""
    name = (target or platform.machine()).split('-')[0].lower()
    return {'amd64': 'x86_64', 'arm64': 'aarch64'}.get(name, name)


def library_name(target: str | None = None) -> str:
    """File name of the library that these sources make."""
    digest = hashlib.sha256()
    digest.update(repr((FLAGS, KERNEL_FLAGS, SETS)).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    system = target or sys.platform
    end = 'dll' if 'win' in system.replace('darwin', '') else 'dylib' if 'mac' in system or 'darwin' in system else 'so'
    return f'amsr_{digest.hexdigest()[:12]}.{end}'


def find_compiler() -> list[str] | None:
    """The system's C++ compiler as a command, else that of the ziglang package, else None."""
    if os.environ.get('CXX'):
        return shlex.split(os.environ['CXX'])
    for name in ('c++', 'g++', 'clang++'):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec('ziglang'):
        return [sys.executable, '-m', 'ziglang', 'c++']
    return None


def run(command: list[str]) -> str:
    """Run a compiler; returns its last line of complaint, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True, errors='replace')
    lines = [line for line in done.stderr.splitlines() if 'error' in line.lower()] or done.stderr.splitlines()
    return (lines[-1] if lines else f'{command[0]} failed') if done.returncode else ''


def build(folder: Path, compiler: list[str] | None = None, target: str | None = None,
          sanitize: str | None = None, link: list[str] | None = None) -> Path:
    """Compile into `folder` and return the library's path; raises BuildError.

    Args:
        compiler: a command, by default `find_compiler()`.
        target: a triple, for clang and zig.
        sanitize: what `-fsanitize=` takes.
        link: options in place of -shared, and further sources: a program of its own in place of the library.
    """
    command = compiler or find_compiler()
    if command is None:
        raise BuildError('no C++ compiler: install one (Debian: apt install g++), or pip install ziglang')
    flags = [*FLAGS, *(['-target', target] if target else [])]
    if sanitize:
        flags += [f'-fsanitize={sanitize}', '-fno-omit-frame-pointer', '-g', '-O1', '-fno-sanitize-recover=all']
    sets = SETS.get(machine(target), {'plain': []})
    library = library_name(target)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        work = Path(temporary)

        def compile_one(source: str, output: str, options: list[str]) -> str:
            files = ['-c', str(SOURCES / f'{source}.cpp'), '-o', str(work / f'{output}.o')]
            return run([*command, *flags, *options, *files])

        kernels = {name: pool.submit(compile_one, 'kernels', name, [*KERNEL_FLAGS, *options, f'-DSET={name}'])
                   for name, options in sets.items()}
        failed = {name: job.result() for name, job in kernels.items() if job.result()}
        if 'plain' in failed:
            raise BuildError(f'{" ".join(command)}: {failed["plain"]}')
        built = [name for name in sets if name not in failed]
        for message in pool.map(lambda part: compile_one(part, part, [f'-DHAVE_{one}' for one in built]), COMMON):
            if message:
                raise BuildError(f'{" ".join(command)}: {message}')
        objects = [str(work / f'{one}.o') for one in (*built, *COMMON)]
        strip = [] if sanitize or 'mac' in (target or sys.platform) or sys.platform == 'darwin' else ['-s']
        message = run([*command, *flags, *(link or ['-shared', *strip]), *objects, '-o', str(work / library)])
        if message:
            raise BuildError(f'{" ".join(command)}: {message}')
        os.replace(work / library, folder / library)
    return folder / library


def main(arguments: list[str] | None = None) -> int:
    """Build from the command line; exit code 1 with one line where it fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--output', type=Path, default=SOURCES.parent / 'lib')
    parser.add_argument('--compiler', type=shlex.split, help='command, such as "python -m ziglang c++"')
    parser.add_argument('--target', help='triple to compile for, such as aarch64-linux-gnu (clang and zig)')
    parser.add_argument('--sanitize', help='address,undefined or thread')
    args = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        path = build(args.output, args.compiler, args.target, args.sanitize)
    except BuildError as error:
        print(f'build: error: {error}', file=sys.stderr)
        return 1
    print(f'{path} ({path.stat().st_size / 1e6:.2f} MB, {time.perf_counter() - start:.1f} s)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
