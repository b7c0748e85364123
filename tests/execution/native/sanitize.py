"""Runs the tests of the native kernels under sanitizers.

    python -m tests.execution.native.sanitize [--thread] [--quick] [pytest arguments]

Without --thread: AddressSanitizer and UndefinedBehaviorSanitizer over all tests (--quick: few examples of each
property); with it: ThreadSanitizer over those with threads. A finding ends the run with the sanitizer's report and an
exit code other than 0.
Needs gcc and its sanitizer libraries (Debian: part of g++).
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from basicsr_amsr.execution.native import build

HERE = Path(__file__).resolve().parent


def runtime(name: str) -> str:
    """What must be loaded before Python: a sanitizer's library, and that of the exceptions that it intercepts."""
    return ' '.join(subprocess.run(['g++', f'-print-file-name={file}'], capture_output=True, text=True,
                                   check=True).stdout.strip() for file in (f'lib{name}.so', 'libstdc++.so.6'))


def main(arguments: list[str] | None = None) -> int:
    """Build, run pytest with the sanitized library, return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--thread', action='store_true', help='ThreadSanitizer instead')
    parser.add_argument('--quick', action='store_true', help='few examples of each property')
    args, rest = parser.parse_known_args(arguments)
    sanitizer, library = ('thread', 'tsan') if args.thread else ('address,undefined', 'asan')
    with tempfile.TemporaryDirectory() as folder:
        build.build(Path(folder), ['g++'], sanitize=sanitizer)
        environment = {
            **os.environ, 'BASICSR_AMSR_NATIVE_FOLDER': folder, 'LD_PRELOAD': runtime(library),
            'BASICSR_AMSR_EXAMPLES': '4' if args.quick else '40',
            'ASAN_OPTIONS': 'detect_leaks=0:allocator_may_return_null=1',  # Python and torch leave memory to the system
            'UBSAN_OPTIONS': 'print_stacktrace=1', 'PYTHONMALLOC': 'malloc',
            'TSAN_OPTIONS': f'suppressions={HERE / "tsan.txt"}:ignore_noninstrumented_modules=1:'
                            'die_after_fork=0:exitcode=66'}
        tests = [str(HERE / f'test_{name}.py') for name in ('stages', 'scatter')] if args.thread else [str(HERE)]
        return subprocess.call([sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider', *(rest or tests)],
                               env=environment)


if __name__ == '__main__':
    sys.exit(main())
