"""No process is started where a test does not ask for one."""
import pytest

from basicsr_amsr.bench import processes
from tests.bench.tiny import launched


@pytest.fixture
def in_process(monkeypatch):
    """Contenders run in the test's own process."""
    monkeypatch.setattr(processes, 'launch', launched)
