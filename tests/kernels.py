"""Skips tests where the native kernels are absent: no compiler, or BASICSR_AMSR_NATIVE=0."""
import pytest

from basicsr_amsr.execution.native.library import library

needs_kernels = pytest.mark.skipif(library() is None, reason='no native kernels')
