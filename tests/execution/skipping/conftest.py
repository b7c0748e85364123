"""Tiny networks: a second thread would only be waited for."""
from tests.execution.one_thread import one_thread

__all__ = ['one_thread']
