"""Triton's interpreter, which runs kernels on the CPU, for tests. Imports no Triton."""
from __future__ import annotations

import os


def interpreted() -> bool:
    """Whether kernels run on the CPU, under Triton's interpreter."""
    return os.environ.get('TRITON_INTERPRET') == '1'
