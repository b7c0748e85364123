"""No process is started where a test does not ask for one."""
import pytest

from basicsr_amsr.bench import comparisons, processes
from tests.bench.tiny import launched


@pytest.fixture
def in_process(monkeypatch):
    """Contenders run in the test's own process, without the one that is absent where there is no compiler."""
    monkeypatch.setattr(processes, 'launch', launched)
    monkeypatch.setattr(comparisons, 'native_form', lambda net: [])
