"""Fixtures shared by the tests."""
import gc
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
QUICK = ('selection/', 'sfm/', 'transforms/', 'test_layers.py', 'test_newcomer.py', 'test_safe_load.py',
         'test_compat_models.py', 'amsr/test_budget.py', 'amsr/test_structure.py', 'backbones/test_checkpoint.py',
         'backbones/test_swinir_attention.py', 'bench/test_figures.py', 'bench/test_images.py', 'bench/test_rounds.py',
         'cli/test_flags.py', 'cli/test_progress.py', 'data/test_bicubic.py',
         'execution/test_sparse.py', 'execution/test_timer.py', 'execution/test_windows.py', 'infer/test_picture.py',
         'mga/test_gate.py', 'mga/test_halo_patches.py', 'mga/test_schedule.py', 'mga/test_selection.py',
         'models/test_mga_model.py', 'options/test_check.py', 'profiling/test_breakdown.py',
         'profiling/test_per_image.py', 'profiling/test_subject.py', 'training/test_log.py', 'training/test_order.py',
         'weights/test_shipping.py')
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


def is_quick(path: Path) -> bool:
    """Whether the tests of a file are for `pytest -m quick`."""
    return str(path.relative_to(REPOSITORY / 'tests')).startswith(QUICK)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without quick tests where only these are wanted: reading all of them takes as long as those."""
    left_out = config.option.markexpr == 'quick' and collection_path.is_file() and not is_quick(collection_path)
    return True if left_out else None


def pytest_collection_finish() -> None:
    """Let the search for garbage pass over what was imported, which takes a third of a second each time."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is quick, and skip what is marked cuda where there is no GPU."""
    for item in items:
        if is_quick(item.path) and not item.get_closest_marker('slow'):
            item.add_marker('quick')
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker('cuda'):
                item.add_marker(pytest.mark.skip(reason='needs an NVIDIA GPU'))
