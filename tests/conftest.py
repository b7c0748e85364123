"""Fixtures shared by the tests."""
import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # the processes of pytest -n share the cores; OpenMP reads it once
import torch

import basicsr_amsr.register  # noqa: F401  # mends BasicSR before it is imported

from basicsr.utils import logger as basicsr_logger  # isort: skip

# The same examples in every run, and no limit of time: one collection of garbage takes longer than the usual 200 ms.
settings.register_profile('suite', deadline=None, derandomize=True)
settings.load_profile('suite')
REPOSITORY = Path(__file__).resolve().parents[1]
QUICK = ('selection/', 'sfm/', 'transforms/', 'options/test_check.py', 'test_layers.py', 'test_newcomer.py',
         'mga/test_gate.py', 'mga/test_halo_patches.py', 'mga/test_schedule.py', 'mga/test_selection.py',
         'amsr/test_budget.py', 'amsr/test_structure.py', 'execution/test_sparse.py', 'execution/test_windows.py',
         'data/test_bicubic.py', 'training/test_order.py', 'training/test_log.py',
         'execution/test_timer.py', 'cli/test_progress.py')
os.environ['BASICSR_AMSR_COSTS'] = 'off'  # accelerated networks skip, whatever is faster on this machine
os.environ['BASICSR_AMSR_GRAPHS'] = 'off'  # every test traces
os.environ['BASICSR_AMSR_ALLOCATOR'] = 'stock'  # tests that run commands in this process leave its memory alone
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


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's kernels run on the CPU, under its interpreter; skips where Triton is not installed.

    Triton is imported before, so that nothing else in the process is interpreted.
    """
    pytest.importorskip('triton')
    monkeypatch.setenv('TRITON_INTERPRET', '1')


@pytest.fixture(autouse=True)
def fresh_log():
    """Let BasicSR's log begin anew after each test: a run adds its file to it only where there is none yet."""
    yield
    basicsr_logger.initialized_logger.pop('basicsr', None)
    logger = logging.getLogger('basicsr')
    logger.setLevel(logging.NOTSET)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is quick, and skip what is marked cuda where there is no GPU."""
    for item in items:
        if str(item.path.relative_to(REPOSITORY / 'tests')).startswith(QUICK) and not item.get_closest_marker('slow'):
            item.add_marker('quick')
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker('cuda'):
                item.add_marker(pytest.mark.skip(reason='needs an NVIDIA GPU'))
