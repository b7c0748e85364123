"""The native library, and each instruction set that this machine has."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from basicsr_amsr.execution.native.library import Library, library, why_not


@pytest.fixture(scope='session')
def native() -> Library:
    """The library; skips, saying why, where there is none."""
    loaded = library()
    if loaded is None:
        pytest.skip(f'no native kernels: {why_not()}')
    return loaded


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `isa` runs once for each instruction set."""
    if 'isa' in metafunc.fixturenames:
        loaded = library()
        metafunc.parametrize('isa', loaded.available if loaded else ['none'], indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest, native: Library) -> Iterator[str]:
    """The instruction set that kernels use during the test."""
    with native.using(request.param):
        yield request.param
