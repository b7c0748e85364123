"""Tiny networks: a second thread would only be waited for."""
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """One thread inside a test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
