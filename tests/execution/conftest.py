"""Triton on machines without a GPU."""
import pytest


@pytest.fixture
def interpreter(monkeypatch):
    """Kernels run on the CPU, under Triton's interpreter; skips where Triton is not installed.

    Triton is imported before, so that nothing else in the process is interpreted.
    """
    pytest.importorskip('triton')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
