"""Fixtures shared by the tests."""
import os
from pathlib import Path

import pytest

import basicsr_amsr  # noqa: F401  # mends BasicSR before a test module imports it

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get('BASICSR_AMSR_SHARED', REPOSITORY.parent / 'shared'))


@pytest.fixture(scope='session')
def repository() -> Path:
    """The checkout that the tests belong to."""
    return REPOSITORY


@pytest.fixture(scope='session')
def shared() -> Path:
    """Folder with benchmark images, public weights and paper tables; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f'{SHARED} is absent (set BASICSR_AMSR_SHARED to the folder with data/, weights/ and paper/)')
    return SHARED
